//! `snaphook webhooks verify`: a webhook that was kept, checked by hand.

use std::io::Read;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Map, Value as Json, json};
use snaphook_shared::secret::Secret;
use snaphook_shared::signing::{Scheme, VerifyError};

use super::signatures::{self, Received, TOLERANCE_SECONDS};
use crate::cli::{CliError, say, say_json};
use crate::clock::Clock;

pub(in crate::cli) const HELP: &str = "\
Example:
  snaphook webhooks verify --secret SK --body hook.json -H 'webhook-id: msg_0123' \\
      -H 'webhook-timestamp: 1764110000' -H 'webhook-signature: v1,…' --any-age

The body must be the bytes that came; JSON that was read and written again has another signature.
Exit codes: 0 every signature that is there holds, 1 one does not, or there is none.";

#[derive(Args)]
pub(in crate::cli) struct VerifyCommand {
    /// The secret key, or its whsec_ form. Given again: one more that is good.
    #[arg(long, required = true, env = "SNAPHOOK_WEBHOOK_SECRET", hide_env_values = true, allow_hyphen_values = true)]
    secret: Vec<String>,
    /// The body as it came. `-` is standard input.
    #[arg(long, value_name = "FILE")]
    body: PathBuf,
    /// A header as it came; given for each.
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE", value_parser = header)]
    headers: Vec<(String, String)>,
    /// Do not mind how old it is.
    #[arg(long)]
    any_age: bool,
    #[arg(long)]
    json: bool,
}

fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').ok_or_else(|| "name: value".to_owned())?;
    Ok((name.trim().to_ascii_lowercase(), value.trim().to_owned()))
}

pub(in crate::cli) fn execute(command: VerifyCommand) -> Result<(), CliError> {
    let body = read(&command.body)?;
    let secrets: Vec<Secret> = command.secret.into_iter().map(Secret::new).collect();
    let received = Received { headers: &command.headers, body: &body };
    let tolerance_s = if command.any_age { u64::MAX } else { TOLERANCE_SECONDS };
    let verdict = signatures::judge(&received, &secrets, Clock::default().now_s(), tolerance_s);
    let holds = signatures::holds(&verdict);
    if command.json {
        let told = |(scheme, result): &(_, Result<(), _>)| told(scheme, result);
        let signatures: Map<String, Json> = verdict.iter().map(told).collect();
        say_json(&json!({ "verified": holds, "signatures": signatures }))?;
    } else {
        for (scheme, result) in &verdict {
            match result {
                Ok(()) => say(&format!("{:<18} holds", scheme.as_str()))?,
                Err(error) => say(&format!("{:<18} does not hold: {error}", scheme.as_str()))?,
            }
        }
    }
    match (holds, verdict.is_empty()) {
        (true, _) => Ok(()),
        (false, true) => Err(CliError::Failed("there is no signature among the headers".to_owned())),
        (false, false) => Err(CliError::Failed("not verified".to_owned())),
    }
}

/// A scheme and `ok`, or the name of what is wrong.
pub(super) fn told(scheme: &Scheme, result: &Result<(), VerifyError>) -> (String, Json) {
    (scheme.as_str().to_owned(), json!(result.as_ref().map_or_else(VerifyError::code, |()| "ok")))
}

fn read(file: &Path) -> Result<Vec<u8>, CliError> {
    let failed = |error| CliError::Refused(format!("{}: {error}", file.display()));
    if file != Path::new("-") {
        return std::fs::read(file).map_err(failed);
    }
    let mut body = Vec::new();
    std::io::stdin().read_to_end(&mut body).map_err(failed)?;
    Ok(body)
}
