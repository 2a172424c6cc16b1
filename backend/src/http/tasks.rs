//! `/v1/tasks`, as ScreenshotMAX has it: `GET` lists a key's tasks and `POST` makes one; `GET`, `PATCH` and `DELETE` of
//! `…/{id}` show, change and remove one. What tasks have made is in `/v1/requests?task={id}`.

use std::sync::Arc;

use bytes::Buf;
use futures::Stream;
use http::{HeaderMap, Method};
use serde_json::{Value as Json, json};
use snaphook_shared::code::{Code, Problem};
use snaphook_shared::dialect::{Dialect, Reply};
use snaphook_shared::limits::{BODY_BYTES_MAX, TASKS_MAX};
use snaphook_shared::options::fields::Fields;
use snaphook_shared::request::{Head, gate_body};
use snaphook_shared::route;
use snaphook_shared::target::NativeUrlParser;
use snaphook_shared::task::{Checks, Plan, TaskError, TaskView, plan};
use warp::Filter;
use warp::filters::BoxedFilter;

use super::{Api, Response, body, owner, raw_query, reply, with};
use crate::domain::task::{NextTime, Task};
use crate::schedule::Calendar;

/// Two callers who change one task at the same time take turns; nobody is kept waiting by more than a few.
const CHANGES_TRIED: u32 = 5;

pub(super) fn routes(api: Arc<Api>) -> BoxedFilter<(Response,)> {
    let all = warp::path!("v1" / "tasks").map(|| None);
    let one = warp::path!("v1" / "tasks" / String).map(Some);
    all.or(one)
        .unify()
        .and(with(api))
        .and(warp::method())
        .and(raw_query())
        .and(warp::header::headers_cloned())
        .and(warp::body::stream())
        .then(handle)
        .boxed()
}

async fn handle(
    id: Option<String>,
    api: Arc<Api>,
    method: Method,
    query: String,
    headers: HeaderMap,
    body: impl Stream<Item = Result<impl Buf, warp::Error>>,
) -> Response {
    let not_found = || Problem::new(Code::NotFound);
    let path = if id.is_some() { "/v1/tasks/0" } else { "/v1/tasks" };
    let answer = async {
        match (method.as_str(), id) {
            ("GET" | "HEAD", None) => list(&api, &query, &headers).await.map(|json| (200, json)),
            ("GET" | "HEAD", Some(id)) => {
                let (access_key, fields) = owner::authenticate(&api, &query, &headers).await?;
                owner::nothing_else(&fields)?;
                let task = find(&api, &access_key, id.parse().map_err(|_| not_found())?).await?;
                Ok((200, to_json(&task)?))
            }
            ("POST", None) => {
                let (access_key, fields, _room) = read(&api, &method, &query, &headers, body).await?;
                create(&api, access_key, &fields).await.map(|json| (201, json))
            }
            ("PATCH", Some(id)) => {
                let (access_key, fields, _room) = read(&api, &method, &query, &headers, body).await?;
                let id = id.parse().map_err(|_| not_found())?;
                change(&api, &access_key, id, &fields).await.map(|json| (200, json))
            }
            ("DELETE", Some(id)) => {
                let access_key = owner::live_key(&api, None, &query, &headers).await?.access_key;
                let id = id.parse().map_err(|_| not_found())?;
                let removed = api.tasks.remove_task(&access_key, id).await.map_err(owner::unavailable)?;
                if removed { Ok((204, Json::Null)) } else { Err(not_found()) }
            }
            _ => Err(Problem::method_not_allowed(route::methods(path).unwrap_or_default())),
        }
    };
    match answer.await {
        Ok((204, _)) => reply::from_shared(Reply::json(204, String::new())),
        Ok((status, json)) => reply::from_shared(Reply::json(status, json.to_string())),
        Err(problem) => reply::problem(Dialect::ScreenshotMax, &problem, &api.links),
    }
}

/// Whose body it is, and what it says.
async fn read(
    api: &Api,
    method: &Method,
    query: &str,
    headers: &HeaderMap,
    body: impl Stream<Item = Result<impl Buf, warp::Error>>,
) -> Result<(String, Fields, body::Room), Problem> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    gate_body(Head {
        method: method.as_str(),
        path: "/v1/tasks",
        query,
        content_type: text("content-type"),
        content_length: text("content-length").and_then(|length| length.parse().ok()),
    })?;
    let (body, room) = body::read(body, BODY_BYTES_MAX, api.body_timeout).await?;
    let mut fields =
        Fields::from_json(&body).map_err(|error| Problem::with_detail(Code::RequestNotValid, "", error.to_string()))?;
    let record = owner::live_key(api, fields.take("access_key"), query, headers).await?;
    Ok((record.access_key, fields, room))
}

async fn list(api: &Api, query: &str, headers: &HeaderMap) -> Result<Json, Problem> {
    let (access_key, fields) = owner::authenticate(api, query, headers).await?;
    owner::nothing_else(&fields)?;
    let tasks = api.tasks.tasks(&access_key).await.map_err(owner::unavailable)?;
    let tasks = tasks.iter().map(to_json).collect::<Result<Vec<_>, _>>()?;
    Ok(json!({ "tasks": tasks }))
}

/// Another key's task is not there, as far as this one can tell.
async fn find(api: &Api, access_key: &str, id: u64) -> Result<Task, Problem> {
    let task = api.tasks.task(access_key, id).await.map_err(owner::unavailable)?;
    task.ok_or_else(|| Problem::new(Code::NotFound))
}

async fn create(api: &Api, access_key: String, fields: &Fields) -> Result<Json, Problem> {
    let calendar = Calendar { now_ms: api.clock.now_ms() };
    let plan = checked(api, &access_key, None, fields, &calendar)?;
    let task = Task {
        id: new_id()?,
        due_ms: due(&plan, calendar),
        access_key,
        plan,
        created_ms: calendar.now_ms,
        runs: 0,
        last_run: None,
        revision: 0,
    };
    if !api.tasks.add_task(task.clone()).await.map_err(owner::unavailable)? {
        let message = format!("an access key may have {TASKS_MAX} tasks, and has them");
        return Err(Problem::with_detail(Code::RequestNotValid, "", message));
    }
    to_json(&task)
}

async fn change(api: &Api, access_key: &str, id: u64, fields: &Fields) -> Result<Json, Problem> {
    for _ in 0..CHANGES_TRIED {
        let mut task = find(api, access_key, id).await?;
        let calendar = Calendar { now_ms: api.clock.now_ms() };
        let plan = checked(api, access_key, Some(&task.plan), fields, &calendar)?;
        let when = |plan: &Plan| (plan.crontab.clone(), plan.time_zone.clone(), plan.enabled);
        let mut next = NextTime::Kept;
        if when(&plan) != when(&task.plan) {
            task.due_ms = due(&plan, calendar);
            next = NextTime::Set(task.due_ms);
        }
        task.plan = plan.clone();
        let changed = api.tasks.change_task(access_key, id, task.revision, plan, next).await;
        if changed.map_err(owner::unavailable)? {
            return to_json(&task);
        }
    }
    Err(Problem::unavailable())
}

fn checked(
    api: &Api,
    access_key: &str,
    current: Option<&Plan>,
    fields: &Fields,
    calendar: &Calendar,
) -> Result<Plan, Problem> {
    plan(current, fields, &Checks { access_key, urls: &NativeUrlParser, policies: &api.policies, calendar })
}

fn due(plan: &Plan, calendar: Calendar) -> Option<u64> {
    plan.enabled.then(|| calendar.next(&plan.crontab, &plan.time_zone)).flatten()
}

/// A number as the vendor gives them: large, and still one that JavaScript can hold.
fn new_id() -> Result<u64, Problem> {
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(|error| {
        tracing::error!(%error, "no randomness");
        Problem::new(Code::InternalApplicationError)
    })?;
    Ok((1 << 52) | (u64::from_le_bytes(random) >> 12))
}

fn to_json(task: &Task) -> Result<Json, Problem> {
    let Task { plan, last_run, .. } = task;
    let last_run = last_run.as_ref();
    let error = last_run.and_then(|run| {
        Some(TaskError { code: run.error_code.as_deref()?, message: run.error_message.as_deref().unwrap_or_default() })
    });
    let view = TaskView {
        id: task.id,
        name: &plan.name,
        api: plan.api(),
        query: &plan.query,
        frequency: plan.frequency.name(),
        crontab: &plan.crontab,
        timezone: &plan.time_zone,
        enabled: plan.enabled,
        created: task.created_ms / 1000,
        last_run: last_run.map(|run| run.at_ms / 1000),
        runs: task.runs,
        next_run: task.due_ms.map(|due_ms| due_ms / 1000),
        last_status: last_run.map(|run| run.status.as_str()),
        last_request_id: last_run.and_then(|run| run.request_id.as_deref()),
        last_error: error,
    };
    serde_json::to_value(view).map_err(|error| {
        tracing::error!(%error, task = task.id, "a task could not be shown");
        Problem::new(Code::InternalApplicationError)
    })
}
