//! `/v1/tasks` of ScreenshotMAX: renders that are asked for by the clock. What a task may say, and how it is shown.
//!
//! A task keeps the query of a render as it was given. It is checked by the render's own table when the task is made,
//! and again each time that it runs: what a task may ask is what a caller may ask, today.

use std::fmt;

use serde::Serialize;
use zeroize::Zeroizing;

use crate::code::{Code, Detail, Problem};
use crate::limits::{ERRORS_MAX, QUERY_BYTES_MAX, TASK_NAME_CHARACTERS_MAX};
use crate::options::fields::{Field, Fields};
use crate::options::{Kind, Value};
use crate::request::{CheckedRequest, Endpoint, Method, Policies, RawRequest};
use crate::target::ParseUrl;

/// The routes that a task may call, by the vendor's names for them.
pub const APIS: &[(&str, Endpoint)] = &[
    ("screenshot", Endpoint::Screenshot),
    ("screencast", Endpoint::Screencast),
    ("pdf", Endpoint::Pdf),
    ("scrape", Endpoint::Scrape),
];

const API_NAMES: [&str; APIS.len()] = api_names();

#[expect(clippy::indexing_slicing, reason = "the compiler runs this, and what it cannot index does not compile")]
const fn api_names() -> [&'static str; APIS.len()] {
    let mut names = [""; APIS.len()];
    let mut index = 0;
    while index < APIS.len() {
        names[index] = APIS[index].0;
        index += 1;
    }
    names
}

/// One property of a task's body.
pub struct Property {
    pub name: &'static str,
    pub kind: Kind,
    /// A new task must have it.
    pub required: bool,
    /// One line for the reference.
    pub about: &'static str,
}

const fn property(name: &'static str, kind: Kind, required: bool, about: &'static str) -> Property {
    Property { name, kind, required, about }
}

/// What a body may say: all of it when a task is made, any part of it when one is changed.
#[rustfmt::skip]
pub const PROPERTIES: &[Property] = &[
    property("name", Kind::Text, true, "Name of the task, up to 100 characters."),
    property("api", Kind::Enum { of: &API_NAMES, fold: true }, true, "Which route is called."),
    property("query", Kind::Text, true, "Query of the call, escaped as in a link, without access key and signature."),
    property("frequency", Kind::Enum { of: Frequency::NAMES, fold: true }, true, "How often; `custom` needs `crontab`, and `crontab` alone means `custom`. The others run at the minute, hour and day at which they were set."),
    property("crontab", Kind::Text, false, "Five fields of cron: minute, hour, day of the month, month, day of the week."),
    property("timezone", Kind::Text, false, "IANA name of the zone whose clock it is; Etc/UTC where nothing is said."),
    property("enabled", Kind::Bool, false, "Whether it runs; true where nothing is said."),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frequency {
    EveryMinute,
    EveryHour,
    EveryDay,
    EveryMonth,
    /// As the crontab says.
    Custom,
}

impl Frequency {
    pub const NAMES: &'static [&'static str] = &["every_minute", "every_hour", "every_day", "every_month", "custom"];

    pub const fn name(self) -> &'static str {
        match self {
            Frequency::EveryMinute => "every_minute",
            Frequency::EveryHour => "every_hour",
            Frequency::EveryDay => "every_day",
            Frequency::EveryMonth => "every_month",
            Frequency::Custom => "custom",
        }
    }

    pub fn from_name(name: &str) -> Option<Frequency> {
        [Frequency::EveryMinute, Frequency::EveryHour, Frequency::EveryDay, Frequency::EveryMonth, Frequency::Custom]
            .into_iter()
            .find(|frequency| frequency.name() == name)
    }

    /// As cron writes it, for a task that is set at this time; None if that does not say it.
    fn crontab(self, now: WallTime) -> Option<String> {
        let WallTime { minute, hour, day } = now;
        // A later day is not in every month.
        let day = day.min(28);
        match self {
            Frequency::EveryMinute => Some("* * * * *".to_owned()),
            Frequency::EveryHour => Some(format!("{minute} * * * *")),
            Frequency::EveryDay => Some(format!("{minute} {hour} * * *")),
            Frequency::EveryMonth => Some(format!("{minute} {hour} {day} * *")),
            Frequency::Custom => None,
        }
    }
}

/// What the clock on the wall of a time zone shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WallTime {
    pub minute: u8,
    pub hour: u8,
    /// Of the month, from 1.
    pub day: u8,
}

/// Time zones and cron, at the present time: they need a clock and a table of zones, which whoever asks must bring.
pub trait Calendar {
    /// A time zone in its own spelling; None if there is none of this name.
    fn time_zone(&self, name: &str) -> Option<String>;
    /// The present time there.
    fn wall_time(&self, time_zone: &str) -> Option<WallTime>;
    /// # Errors
    /// Says, to go after a name, what is wrong with an expression, or that its time never comes.
    fn check_crontab(&self, crontab: &str) -> Result<(), String>;
}

/// What a task's owner decides about it; valid as a whole. The query is not in `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Plan {
    pub name: String,
    pub endpoint: Endpoint,
    /// Still escaped. May hold credentials for a page.
    pub query: Zeroizing<String>,
    pub frequency: Frequency,
    /// What decides, whatever the frequency.
    pub crontab: String,
    /// IANA name.
    pub time_zone: String,
    pub enabled: bool,
}

impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plan")
            .field("name", &self.name)
            .field("endpoint", &self.endpoint)
            .field("query_bytes", &self.query.len())
            .field("crontab", &self.crontab)
            .field("time_zone", &self.time_zone)
            .field("enabled", &self.enabled)
            .finish_non_exhaustive()
    }
}

impl Plan {
    /// The vendor's name of the route.
    pub fn api(&self) -> &'static str {
        APIS.iter().find(|(_, endpoint)| *endpoint == self.endpoint).map_or("", |(name, _)| name)
    }
}

/// What a plan is checked by.
#[derive(Clone, Copy)]
pub struct Checks<'a> {
    pub access_key: &'a str,
    pub urls: &'a dyn ParseUrl,
    pub policies: &'a Policies,
    pub calendar: &'a dyn Calendar,
}

/// The request that a task makes when it runs: as if its owner had asked, and did not wait.
///
/// # Errors
/// Those of a direct call.
pub fn request(
    endpoint: Endpoint,
    query: &str,
    access_key: &str,
    urls: &dyn ParseUrl,
    policies: &Policies,
) -> Result<CheckedRequest, Problem> {
    let raw = RawRequest {
        endpoint,
        method: Method::Get,
        query: query.to_owned(),
        access_key_header: Some(access_key.to_owned()),
        idempotency_key: None,
        priority: None,
        body: Vec::new(),
    };
    let mut checked = raw.read()?.check(urls, policies)?;
    checked.options.delivery.asynchronous = true;
    Ok(checked)
}

/// The plan that a body asks for: a new one, or a changed one if there is one already.
///
/// # Errors
/// `request_not_valid` with all that is wrong, or `target_not_allowed` when only addresses in the query are.
pub fn plan(current: Option<&Plan>, fields: &Fields, checks: &Checks<'_>) -> Result<Plan, Problem> {
    let mut details = Vec::new();
    let mut given = Given::default();
    for field in fields.iter() {
        if let Err(message) = given.read(field, checks) {
            details.push(detail(&field.name, message));
        }
    }
    if current.is_none() {
        // `crontab` alone says the frequency.
        let says = |name: &str| {
            fields.iter().any(|field| field.name == name || (name, &*field.name) == ("frequency", "crontab"))
        };
        for missing in PROPERTIES.iter().filter(|property| property.required && !says(property.name)) {
            details.push(detail(missing.name, format!("\"{}\" is required", missing.name)));
        }
    }
    let query = given.query.map(Zeroizing::new).or_else(|| current.map(|plan| plan.query.clone()));
    let endpoint = given.endpoint.or_else(|| current.map(|plan| plan.endpoint));
    let time_zone = given.time_zone.or_else(|| current.map(|plan| plan.time_zone.clone()));
    let time_zone = time_zone.unwrap_or_else(|| "Etc/UTC".to_owned());
    // What has been refused already needs no second complaint.
    let is_refused = details.iter().any(|detail| matches!(detail.parameter.as_str(), "crontab" | "frequency"));
    let schedule = match is_refused {
        true => None,
        false => schedule(current, given.frequency, given.crontab, &time_zone, checks.calendar)
            .map_err(|message| details.push(detail("crontab", message)))
            .ok()
            .flatten(),
    };

    let mut code = Code::RequestNotValid;
    if let (Some(endpoint), Some(query)) = (endpoint, &query)
        && let Err(problem) = check_query(endpoint, query, checks)
    {
        if details.is_empty() {
            code = problem.code;
        }
        details.extend(problem.details);
    }
    details.truncate(ERRORS_MAX);
    let name = given.name.or_else(|| current.map(|plan| plan.name.clone()));
    let enabled = given.enabled.or_else(|| current.map(|plan| plan.enabled)).unwrap_or(true);
    match (name, endpoint, query, schedule) {
        (Some(name), Some(endpoint), Some(query), Some((frequency, crontab))) if details.is_empty() => {
            Ok(Plan { name, endpoint, query, frequency, crontab, time_zone, enabled })
        }
        _ => Err(Problem { details, ..Problem::new(code) }),
    }
}

/// What a body said and what could be read.
#[derive(Default)]
struct Given {
    name: Option<String>,
    endpoint: Option<Endpoint>,
    query: Option<String>,
    frequency: Option<Frequency>,
    crontab: Option<String>,
    time_zone: Option<String>,
    enabled: Option<bool>,
}

impl Given {
    fn read(&mut self, field: &Field, checks: &Checks<'_>) -> Result<(), String> {
        let name = field.name.as_str();
        let property = PROPERTIES.iter().find(|property| property.name == name);
        let property = property.ok_or_else(|| format!("\"{name}\" is not allowed"))?;
        let value = property.kind.read(field, checks.urls)?;
        if let Value::Bool(flag) = value {
            self.enabled = Some(flag);
            return Ok(());
        }
        let text = value.text();
        match name {
            "name" if text.chars().count() > TASK_NAME_CHARACTERS_MAX => {
                let most = TASK_NAME_CHARACTERS_MAX;
                return Err(format!("\"name\" length must be less than or equal to {most} characters long"));
            }
            "name" => self.name = Some(text),
            "api" => self.endpoint = APIS.iter().find(|(api, _)| *api == text).map(|(_, endpoint)| *endpoint),
            "query" => self.query = Some(text),
            "frequency" => self.frequency = Frequency::from_name(&text),
            "crontab" => {
                let words: Vec<&str> = text.split_ascii_whitespace().collect();
                if words.len() != 5 {
                    return Err("\"crontab\" must have five fields: minute, hour, day, month, weekday".to_owned());
                }
                let crontab = words.join(" ");
                checks.calendar.check_crontab(&crontab).map_err(|message| format!("\"crontab\" {message}"))?;
                self.crontab = Some(crontab);
            }
            _ => {
                let zone = checks.calendar.time_zone(&text);
                self.time_zone =
                    Some(zone.ok_or("\"timezone\" must be the IANA name of a time zone, like Europe/Berlin")?);
            }
        }
        Ok(())
    }
}

/// When a task runs; None for a new one of which nothing is known.
fn schedule(
    current: Option<&Plan>,
    frequency: Option<Frequency>,
    crontab: Option<String>,
    time_zone: &str,
    calendar: &dyn Calendar,
) -> Result<Option<(Frequency, String)>, String> {
    let is_current = |frequency: Frequency| current.filter(|plan| plan.frequency == frequency);
    Ok(match (frequency, crontab) {
        (None, None) => current.map(|plan| (plan.frequency, plan.crontab.clone())),
        (None, Some(crontab)) => match current.filter(|plan| plan.crontab == crontab) {
            Some(plan) => Some((plan.frequency, crontab)),
            None => Some((Frequency::Custom, crontab)),
        },
        (Some(Frequency::Custom), Some(crontab)) => Some((Frequency::Custom, crontab)),
        (Some(Frequency::Custom), None) => match current {
            Some(plan) => Some((Frequency::Custom, plan.crontab.clone())),
            None => return Err("\"crontab\" is required".to_owned()),
        },
        // Whoever sends a task back as it was shown changes nothing.
        (Some(frequency), Some(crontab)) => match is_current(frequency).filter(|plan| plan.crontab == crontab) {
            Some(_) => Some((frequency, crontab)),
            None => return Err("\"crontab\" is not allowed unless \"frequency\" is custom".to_owned()),
        },
        (Some(frequency), None) => match is_current(frequency) {
            Some(plan) => Some((frequency, plan.crontab.clone())),
            None => {
                calendar.wall_time(time_zone).and_then(|now| frequency.crontab(now)).map(|crontab| (frequency, crontab))
            }
        },
    })
}

fn check_query(endpoint: Endpoint, query: &str, checks: &Checks<'_>) -> Result<(), Problem> {
    if query.len() > QUERY_BYTES_MAX {
        let message = format!("\"query\" must have at most {QUERY_BYTES_MAX} bytes");
        return Err(Problem::with_detail(Code::RequestNotValid, "query", message));
    }
    let mut fields = Fields::from_query(query);
    let no_option = ["access_key", "signature", "expires"].into_iter().filter(|name| fields.take(name).is_some());
    let refused: Vec<Detail> =
        no_option.map(|name| detail("query", format!("\"query\" must not contain \"{name}\""))).collect();
    let checked = request(endpoint, query, checks.access_key, checks.urls, checks.policies);
    let Err(problem) = checked else {
        return match refused.is_empty() {
            true => Ok(()),
            false => Err(Problem { details: refused, ..Problem::new(Code::RequestNotValid) }),
        };
    };
    let code = if refused.is_empty() { problem.code } else { Code::RequestNotValid };
    let inner = problem.details.iter().map(|inner| detail("query", format!("\"query\": {}", inner.message)));
    Err(Problem { details: refused.into_iter().chain(inner).collect(), ..Problem::new(code) })
}

fn detail(parameter: &str, message: String) -> Detail {
    Detail { parameter: parameter.to_owned(), message }
}

/// A task as its owner reads it. The fields down to `runs` are the vendor's; times are Unix seconds.
#[derive(Clone, Serialize)]
pub struct TaskView<'a> {
    pub id: u64,
    pub name: &'a str,
    pub api: &'a str,
    pub query: &'a str,
    pub frequency: &'a str,
    pub crontab: &'a str,
    pub timezone: &'a str,
    pub enabled: bool,
    pub created: u64,
    pub last_run: Option<u64>,
    /// Requests made.
    pub runs: u64,
    /// Ours: when it runs next.
    pub next_run: Option<u64>,
    /// Ours: the state of the last run's request, or `refused` if there could be none.
    pub last_status: Option<&'a str>,
    /// Ours: the last run's request.
    pub last_request_id: Option<&'a str>,
    /// Ours: why the last run failed.
    pub last_error: Option<TaskError<'a>>,
}

#[derive(Clone, Debug, Serialize)]
pub struct TaskError<'a> {
    pub code: &'a str,
    pub message: &'a str,
}

#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests {
    use super::*;
    use crate::target::NativeUrlParser;

    struct AtNine;

    impl Calendar for AtNine {
        fn time_zone(&self, name: &str) -> Option<String> {
            ["Etc/UTC", "Europe/Berlin"].into_iter().find(|zone| zone.eq_ignore_ascii_case(name)).map(str::to_owned)
        }

        fn wall_time(&self, time_zone: &str) -> Option<WallTime> {
            let hour = if time_zone == "Etc/UTC" { 9 } else { 10 };
            Some(WallTime { minute: 34, hour, day: 31 })
        }

        fn check_crontab(&self, crontab: &str) -> Result<(), String> {
            if crontab.starts_with("60") { Err("is odd".to_owned()) } else { Ok(()) }
        }
    }

    fn read(current: Option<&Plan>, body: &str) -> Result<Plan, Problem> {
        let checks =
            Checks { access_key: "AK", urls: &NativeUrlParser, policies: &Policies::default(), calendar: &AtNine };
        plan(current, &Fields::from_json(body.as_bytes()).unwrap(), &checks)
    }

    fn messages(body: &str) -> Vec<String> {
        read(None, body).unwrap_err().details.into_iter().map(|detail| detail.message).collect()
    }

    const WHOLE: &str =
        r#"{"name":"n","api":"screenshot","query":"url=https%3A%2F%2Fexample.com&format=png","frequency":"every_day"}"#;

    #[test]
    fn a_plan_shows_nothing_of_its_query() {
        let body = r#"{"name":"n","api":"screenshot","query":"url=https%3A%2F%2Fexample.com&cookies=a%3Dhush","frequency":"every_day"}"#;
        let plan = read(None, body).unwrap();
        assert!(plan.query.contains("hush"));
        let shown = format!("{plan:?}{plan:#?}");
        assert!(shown.contains("34 9 * * *") && !shown.contains("hush"), "{shown}");
    }

    #[test]
    fn a_frequency_keeps_the_time_at_which_it_was_set() {
        let made = read(None, WHOLE).unwrap();
        assert_eq!((made.crontab.as_str(), made.time_zone.as_str(), made.enabled), ("34 9 * * *", "Etc/UTC", true));
        let crontab =
            |change: &str| read(Some(&made), change).map(|plan| (plan.frequency, plan.crontab.clone())).unwrap();
        assert_eq!(crontab(r#"{"frequency":"every_month"}"#).1, "34 9 28 * *", "a day that all months have");
        assert_eq!(crontab(r#"{"frequency":"every_hour","timezone":"europe/berlin"}"#).1, "34 * * * *");
        assert_eq!(crontab(r#"{"frequency":"every_minute"}"#).1, "* * * * *");
        assert_eq!(crontab(r#"{"timezone":"Europe/Berlin"}"#).1, "34 9 * * *", "nine there, from now on");
        assert_eq!(crontab(r#"{"crontab":"5 4  * * 1"}"#), (Frequency::Custom, "5 4 * * 1".to_owned()));
        assert_eq!(crontab(r#"{"frequency":"custom"}"#), (Frequency::Custom, "34 9 * * *".to_owned()));
        // As it was shown.
        let shown = r#"{"frequency":"every_day","crontab":"34 9 * * *","name":"other"}"#;
        assert_eq!(crontab(shown), (Frequency::EveryDay, "34 9 * * *".to_owned()));
    }

    #[test]
    fn all_that_is_wrong_is_said_at_once() {
        assert_eq!(messages("{}"), ["name", "api", "query", "frequency"].map(|name| format!("\"{name}\" is required")));
        let long = "x".repeat(101);
        assert_eq!(
            messages(&format!(
                r#"{{"name":"{long}","api":"animate","query":"format=bmp&access_key=A","frequency":"often","crontab":"* *","timezone":"Mars","enabled":"maybe","foo":1}}"#
            )),
            [
                "\"name\" length must be less than or equal to 100 characters long",
                "\"api\" must be one of [screenshot, screencast, pdf, scrape]",
                "\"frequency\" must be one of [every_minute, every_hour, every_day, every_month, custom]",
                "\"crontab\" must have five fields: minute, hour, day, month, weekday",
                "\"timezone\" must be the IANA name of a time zone, like Europe/Berlin",
                "\"enabled\" must be a boolean",
                "\"foo\" is not allowed",
            ]
        );
        let with = |query: &str, more: &str| {
            messages(&format!(r#"{{"name":"n","api":"pdf","query":"{query}","frequency":"custom"{more}}}"#))
        };
        assert_eq!(
            with("delay=99&access_key=A&signature=0", r#","crontab":"60 * * * *""#),
            [
                "\"crontab\" is odd",
                "\"query\" must not contain \"access_key\"",
                "\"query\" must not contain \"signature\"",
                "\"query\": \"delay\" must be less than or equal to 30",
                "\"query\": \"value\" must contain at least one of [html, url, markdown]",
            ]
        );
        assert_eq!(with("html=x&access_key=A", r#","crontab":"* * * * *""#).len(), 1);
        assert_eq!(with("html=x", ""), ["\"crontab\" is required"]);
        let both = WHOLE.replace("}", r#","crontab":"* * * * *"}"#);
        assert_eq!(messages(&both), ["\"crontab\" is not allowed unless \"frequency\" is custom"]);
        let far = WHOLE.replace("https%3A%2F%2Fexample.com", "http%3A%2F%2F10.0.0.1");
        assert_eq!(read(None, &far).unwrap_err().code, Code::TargetNotAllowed);
        let huge = WHOLE.replace("format=png", &format!("html={}", "x".repeat(QUERY_BYTES_MAX)));
        assert_eq!(messages(&huge), [format!("\"query\" must have at most {QUERY_BYTES_MAX} bytes")]);
    }

    #[test]
    fn a_run_is_the_call_that_its_owner_could_make() {
        let made = read(None, WHOLE).unwrap();
        let policies = Policies::default();
        let run = request(made.endpoint, &made.query, "AK", &NativeUrlParser, &policies).unwrap();
        assert_eq!(run.options.source.url.as_deref(), Some("https://example.com/"));
        assert!(run.options.delivery.asynchronous);
        assert_eq!((run.access_key.as_str(), made.api()), ("AK", "screenshot"));
    }
}
