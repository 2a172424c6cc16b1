//! `snaphook take`: one picture, without a service.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use serde_json::json;
use snaphook_shared::code::Problem;

use super::shot::{self, Parameters};
use super::{CliError, say, say_json};
use crate::config::Config;
use crate::domain::failure::Failure;
use crate::domain::refused::RefusedFor;

pub(super) const HELP: &str = "\
Examples:
  snaphook take https://example.com -o page.png
  snaphook take https://example.com -o page.pdf -p pdf_paper_format=a4 -p block_cookie_banners=true
  snaphook take -o - -p html='<h1>Hello' -p format=png > hello.png

Chromium, egress rules and settings are those of `snaphook serve`; no service needs to run, and none is disturbed.
Exit codes: 0 written, 1 not rendered, 2 wrong parameters, 78 wrong settings, 130 interrupted.";

#[derive(Args)]
pub(super) struct TakeCommand {
    /// The page. Left away where --option html=… or markdown=… brings the content.
    url: Option<String>,
    /// The file to write; its extension names the format. `-` is standard output, in the format of --option format=….
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    #[command(flatten)]
    parameters: Parameters,
    /// Tell of the file in JSON.
    #[arg(long)]
    json: bool,
}

pub(super) async fn execute(config: Config, command: TakeCommand) -> Result<(), CliError> {
    let mut parameters = command.parameters.to_json();
    if let Some(url) = &command.url {
        parameters.insert("url".to_owned(), json!(url));
    }
    let to_stdout = command.output == Path::new("-");
    if !to_stdout && !parameters.contains_key("format") {
        parameters.insert("format".to_owned(), json!(shot::format_of(&command.output)?));
    }
    let checked = shot::check(parameters, &config.policies()?).map_err(|problem| refused(&problem))?;
    let spinner = shot::spinner();
    spinner.set_message("starting Chromium");
    let work = async |engine: &crate::run::Engine| {
        let began = Instant::now();
        spinner.set_message("rendering");
        let rendered = shot::render(engine, &checked.options).await;
        rendered.map(|artifact| (artifact, began.elapsed())).map_err(|failure| failed(&failure))
    };
    let result = shot::with_engine(&config, 1, work).await;
    spinner.finish_and_clear();
    let (artifact, took) = result?;
    for target in &artifact.refused {
        let why = match target.reason {
            RefusedFor::Target => "not allowed",
            RefusedFor::Limit => "too much traffic",
        };
        let _ = writeln!(std::io::stderr(), "the page did not get {}:{} ({why})", target.host, target.port);
    }
    if to_stdout {
        // What is left in the buffer would be written at the exit, where nobody hears of an error.
        let mut stdout = std::io::stdout().lock();
        return Ok(stdout.write_all(&artifact.bytes).and_then(|()| stdout.flush())?);
    }
    let unwritten = |error| CliError::Failed(format!("{}: {error}", command.output.display()));
    shot::write(&command.output, &artifact.bytes).map_err(unwritten)?;
    match command.json {
        true => say_json(&shot::describe(&artifact, &command.output, took)),
        false => say(&shot::line(&artifact, &command.output, took)),
    }
}

/// Wrong parameters, each beside its name.
pub(super) fn refused(problem: &Problem) -> CliError {
    CliError::Refused(explain(problem))
}

pub(super) fn explain(problem: &Problem) -> String {
    let entry = problem.code.entry();
    let mut text = format!("{}: {}", entry.name, entry.text);
    for detail in &problem.details {
        let name = if detail.parameter.is_empty() { "(all)" } else { &detail.parameter };
        text.push_str(&format!("\n  {name}: {}", detail.message));
    }
    text
}

/// The operator is told the cause too, which a caller of the service is not.
fn failed(failure: &Failure) -> CliError {
    CliError::Failed(format!("{}\n  cause: {}", explain(&failure.problem), failure.cause))
}
