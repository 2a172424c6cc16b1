//! `snaphook requests`: what became of requests, of all keys. Works beside a running service.

use std::time::Duration;

use clap::Subcommand;
use clap::builder::PossibleValuesParser;
use serde_json::{Value as Json, json};

use super::{CliError, say, say_json};
use crate::clock::{Clock, rfc3339};
use crate::config::Config;
use crate::domain::job::{RequestState, RequestView};
use crate::domain::ports::{JobQueue, RequestFilter};
use crate::http::requests::{to_json, with_log};
use crate::run;

/// Between two looks at a request that is followed.
const WATCH_INTERVAL: Duration = Duration::from_millis(250);

#[derive(Subcommand)]
pub(super) enum RequestsCommand {
    /// List requests, newest first.
    #[command(after_help = "Example: snaphook requests list --state failed --limit 10")]
    List {
        /// Only those in this state.
        #[arg(long, value_parser = PossibleValuesParser::new(RequestState::ALL.map(RequestState::name)))]
        state: Option<String>,
        /// Only those of this access key.
        #[arg(long, allow_hyphen_values = true)]
        key: Option<String>,
        /// How many.
        #[arg(long, default_value_t = 50)]
        limit: u32,
        /// Only those older than this one.
        #[arg(long, value_name = "ID")]
        before: Option<String>,
        #[arg(long)]
        json: bool,
    },
    /// Show a request with every attempt.
    #[command(after_help = "Example: snaphook requests show req_0123… --json")]
    Show {
        id: String,
        #[arg(long)]
        json: bool,
    },
    /// Follow a request until it has ended; exit code 0 if it is done, 1 if it failed or was cancelled.
    #[command(after_help = "Example: snaphook requests watch req_0123… && echo done")]
    Watch {
        id: String,
        /// A line of JSON for each change.
        #[arg(long)]
        json: bool,
    },
    /// End a request that has not ended. A render that is under way stops within seconds.
    #[command(after_help = "Example: snaphook requests cancel req_0123…")]
    Cancel {
        id: String,
        #[arg(long)]
        json: bool,
    },
}

pub(super) async fn execute(config: Config, command: RequestsCommand) -> Result<(), CliError> {
    let queue = run::open_queue(&config).await?;
    let (now_ms, links) = (Clock::default().now_ms(), run::links(&config, config.http.listen));
    match command {
        RequestsCommand::List { state, key, limit, before, json } => {
            let state = state.as_deref().and_then(RequestState::from_name);
            let views = queue
                .requests(RequestFilter { access_key: key, state, before, limit, ..RequestFilter::default() })
                .await?;
            if json {
                return say_json(&views.iter().map(|view| with_key(view, to_json(view, &links, now_ms))).collect());
            }
            for view in &views {
                say(&line(view))?;
            }
            Ok(())
        }
        RequestsCommand::Show { id, json } => {
            let view = find(&*queue, &id).await?;
            if json {
                return say_json(&with_key(&view, with_log(&view, &links, now_ms)));
            }
            say(&line(&view))?;
            for attempt in &view.log {
                let ended = attempt.ended_ms.map_or_else(|| "-".to_owned(), rfc3339);
                let reason = attempt.reason.as_deref().unwrap_or_default();
                say(&format!("  {}  {ended}  {reason}", rfc3339(attempt.started_ms)))?;
            }
            Ok(())
        }
        RequestsCommand::Watch { id, json } => {
            let told = |view: &RequestView| match json {
                true => with_key(view, to_json(view, &links, Clock::default().now_ms())).to_string(),
                false => format!("{}  {}", rfc3339(Clock::default().now_ms()), line(view)),
            };
            watch(&*queue, &id, told).await
        }
        RequestsCommand::Cancel { id, json } => {
            let view = find(&*queue, &id).await?;
            let state = queue.cancel(&view.access_key, &id, now_ms).await?;
            match state {
                Some(RequestState::Cancelled) => {}
                state => {
                    let state = state.map_or("gone", RequestState::name);
                    return Err(CliError::Refused(format!("{id} has ended already: it is {state}")));
                }
            }
            match json {
                true => say_json(&json!({ "id": id, "state": "cancelled" })),
                false => say(&format!("{id} is cancelled")),
            }
        }
    }
}

/// Tells each change, and ends with the request.
async fn watch(queue: &dyn JobQueue, id: &str, told: impl Fn(&RequestView) -> String) -> Result<(), CliError> {
    let mut last = None;
    loop {
        let view = find(queue, id).await?;
        let now = (view.state, view.attempts);
        if last != Some(now) {
            say(&told(&view))?;
            last = Some(now);
        }
        match view.state {
            RequestState::Done => return Ok(()),
            RequestState::Failed | RequestState::Cancelled => {
                let code = view.error_code.unwrap_or_default();
                return Err(CliError::Failed(format!("{id} is {} {code}", view.state.name()).trim_end().to_owned()));
            }
            RequestState::Queued | RequestState::Rendering => tokio::time::sleep(WATCH_INTERVAL).await,
        }
    }
}

async fn find(queue: &dyn JobQueue, id: &str) -> Result<RequestView, CliError> {
    queue.request(id).await?.ok_or_else(|| CliError::Refused(format!("there is no request {id}")))
}

/// The operator sees all keys' requests.
fn with_key(view: &RequestView, mut json: Json) -> Json {
    json["access_key"] = json!(view.access_key);
    json
}

fn line(view: &RequestView) -> String {
    let error = view.error_code.as_deref().unwrap_or_default();
    let (created, state) = (rfc3339(view.created_ms), view.state.name());
    format!("{}  {created}  {state:<9}  {:<24}  {}  {error}", view.id, view.access_key, view.target)
}
