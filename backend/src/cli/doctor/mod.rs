//! `snaphook doctor`: everything that the service needs, tried in turn; each finding says how to mend it.

mod browser;
mod clock;
mod data;
mod machine;

use serde::Serialize;
use serde_json::json;

use super::{CliError, say, say_json};
use crate::config::Config;

pub(super) const HELP: &str = "\
Examples:
  snaphook doctor
  snaphook doctor --json | jq '.checks[] | select(.state != \"ok\")'

It starts a Chromium of its own, takes one picture with it, and changes nothing; a bucket gets a file that is removed again.
Exit codes: 0 nothing failed (warnings do not count), 1 something did, 78 wrong settings.";

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Ok,
    Warn,
    Fail,
}

/// What was looked at, and what was found.
#[derive(Debug, Serialize)]
struct Finding {
    name: &'static str,
    state: State,
    says: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    mend: Option<String>,
}

impl Finding {
    fn ok(name: &'static str, says: impl Into<String>) -> Finding {
        Finding { name, state: State::Ok, says: says.into(), mend: None }
    }

    fn warn(name: &'static str, says: impl Into<String>, mend: impl Into<String>) -> Finding {
        Finding { name, state: State::Warn, says: says.into(), mend: Some(mend.into()) }
    }

    fn fail(name: &'static str, says: impl Into<String>, mend: impl Into<String>) -> Finding {
        Finding { name, state: State::Fail, says: says.into(), mend: Some(mend.into()) }
    }
}

pub(super) async fn execute(config: &Config, as_json: bool) -> Result<(), CliError> {
    let (of_data, clocks) = data::look(config).await;
    let mut findings = vec![clock::look(config, &clocks)];
    findings.extend(machine::look(config));
    findings.extend(of_data);
    findings.extend(browser::look(config).await?);
    let failed = findings.iter().filter(|finding| finding.state == State::Fail).count();
    if as_json {
        say_json(&json!({ "healthy": failed == 0, "checks": findings }))?;
    } else {
        for Finding { name, state, says, mend } in &findings {
            let state = match state {
                State::Ok => "ok  ",
                State::Warn => "warn",
                State::Fail => "FAIL",
            };
            say(&format!("{state}  {name:<12}  {says}"))?;
            if let Some(mend) = mend {
                say(&format!("{:20}→ {mend}", ""))?;
            }
        }
    }
    match failed {
        0 => Ok(()),
        count => Err(CliError::Failed(format!("{count} of {} checks failed", findings.len()))),
    }
}
