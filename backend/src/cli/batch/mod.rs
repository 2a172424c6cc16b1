//! `snaphook batch`: many pictures, without a service. It may be ended at any time and run again: what is done stays done.

mod journal;

use std::collections::HashSet;
use std::io::{self, IsTerminal, Read, Write};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use futures::StreamExt;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Map, Value as Json, json};
use snaphook_shared::options::model::Options;
use snaphook_shared::request::Policies;

use super::shot::{self, Parameters};
use super::{CliError, say, take};
use crate::config::Config;
use crate::domain::failure::Fault;
use crate::run::Engine;
use journal::{Entry, Journal};

/// Digits of the fingerprint in a file's name.
const FINGERPRINT_DIGITS: usize = 12;
/// Characters of the address in a file's name.
const SLUG_MAX: usize = 80;

pub(super) const HELP: &str = "\
Examples:
  snaphook batch urls.txt --output-dir shots -p format=png -p full_page=true
  printf '%s\\n' '{\"url\":\"https://example.com\",\"format\":\"pdf\"}' | snaphook batch - --output-dir shots
  snaphook batch urls.txt --output-dir shots --retry-failed

What a line says goes before --option. A file is named after its address and all its parameters, so that the same line
has the same file in every run. The journal (.snaphook-batch.jsonl) knows what is done: that is passed over, unless its
file is gone. Nothing is rendered while a line is wrong.
Exit codes: 0 all pictures are there, 1 some are not, 2 wrong lines or usage, 78 wrong settings, 130 interrupted.";

#[derive(Args)]
pub(super) struct BatchCommand {
    /// A URL or a JSON object of parameters on each line; empty lines and those that begin with # are passed over. `-` is
    /// standard input.
    file: PathBuf,
    /// Where the pictures go, and the journal of what is done.
    #[arg(long, value_name = "DIR")]
    output_dir: PathBuf,
    #[command(flatten)]
    parameters: Parameters,
    /// Pages open at once; [render] concurrency if not given.
    #[arg(long)]
    concurrency: Option<NonZeroUsize>,
    /// Try again what failed in an earlier run.
    #[arg(long)]
    retry_failed: bool,
    /// A line of JSON for each picture as it ends, and one for the whole.
    #[arg(long)]
    json: bool,
}

/// A line that was understood.
struct Job {
    line: usize,
    target: String,
    options: Options,
    fingerprint: String,
    file: String,
}

/// What became of all lines.
#[derive(Default, serde::Serialize)]
struct Summary {
    done: usize,
    failed: usize,
    /// Done by an earlier run.
    skipped: usize,
    /// Failed in an earlier run, and not tried again.
    failed_before: usize,
}

pub(super) async fn execute(config: Config, command: BatchCommand) -> Result<(), CliError> {
    let text = read(&command.file)?;
    let jobs = understand(&text, &command.parameters.to_json(), &config.policies()?)?;
    std::fs::create_dir_all(&command.output_dir)
        .map_err(|error| CliError::Refused(format!("{}: {error}", command.output_dir.display())))?;
    let mut journal = Journal::open(&command.output_dir).map_err(|error| CliError::Failed(error.to_string()))?;
    let mut summary = Summary::default();
    let mut open = Vec::new();
    for job in jobs {
        match journal.find(&job.fingerprint) {
            Some(Entry { file: Some(_), .. }) => summary.skipped += 1,
            Some(_) if !command.retry_failed => summary.failed_before += 1,
            _ => open.push(job),
        }
    }
    if !open.is_empty() {
        let concurrency = command.concurrency.map_or_else(|| config.sizing().concurrency, NonZeroUsize::get);
        let bar = progress(open.len());
        let work =
            async |engine: &Engine| run(engine, open, concurrency, &command, &mut journal, &mut summary, &bar).await;
        let result = shot::with_engine(&config, concurrency, work).await;
        bar.finish_and_clear();
        result?;
    }
    conclude(&summary, command.json)
}

/// Renders all of them, so many at once, and notes each end as it comes.
async fn run(
    engine: &Engine,
    jobs: Vec<Job>,
    concurrency: usize,
    command: &BatchCommand,
    journal: &mut Journal,
    summary: &mut Summary,
    bar: &ProgressBar,
) -> Result<(), CliError> {
    let render = async |job: Job| {
        let began = Instant::now();
        let rendered = shot::render(engine, &job.options).await;
        (job, began.elapsed(), rendered)
    };
    let mut ends = std::pin::pin!(futures::stream::iter(jobs).map(render).buffer_unordered(concurrency));
    while let Some((job, took, rendered)) = ends.next().await {
        let path = command.output_dir.join(&job.file);
        // What this machine could not do says nothing of the line, which the next run tries again.
        let is_ours = matches!(&rendered, Err(failure) if failure.fault == Fault::Ours);
        let (told, said, entry) = match rendered {
            Ok(artifact) => {
                // A disk that is full is so for the next one too.
                let unwritten = |error| CliError::Failed(format!("{}: {error}", path.display()));
                shot::write(&path, &artifact.bytes).map_err(unwritten)?;
                summary.done += 1;
                let entry = Entry { fingerprint: job.fingerprint, file: Some(job.file), error: None };
                (shot::describe(&artifact, &path, took), shot::line(&artifact, &path, took), entry)
            }
            Err(failure) => {
                summary.failed += 1;
                let code = failure.problem.code.entry().name;
                let told = json!({ "error": code, "message": failure.problem.message(), "cause": failure.cause });
                let said = format!("line {}: {}: {failure}", job.line, job.target);
                (told, said, Entry { fingerprint: job.fingerprint, file: None, error: Some(code.to_owned()) })
            }
        };
        let is_failure = entry.file.is_none();
        if !is_ours {
            journal.note(entry).map_err(|error| CliError::Failed(format!("the journal: {error}")))?;
        }
        bar.inc(1);
        bar.suspend(|| match (command.json, is_failure) {
            (true, _) => {
                let mut told = told;
                (told["line"], told["url"]) = (json!(job.line), json!(job.target));
                say(&told.to_string())
            }
            (false, true) => Ok(writeln!(io::stderr(), "{said}")?),
            (false, false) => say(&said),
        })?;
    }
    Ok(())
}

fn conclude(summary: &Summary, as_json: bool) -> Result<(), CliError> {
    let Summary { done, failed, skipped, failed_before } = summary;
    if as_json {
        say(&json!({ "summary": summary }).to_string())?;
    } else {
        say(&format!("{done} done, {skipped} done before, {failed} failed, {failed_before} failed before"))?;
    }
    match failed + failed_before {
        0 => Ok(()),
        count => Err(CliError::Failed(format!("{count} without a picture; --retry-failed tries them again"))),
    }
}

fn read(file: &Path) -> Result<String, CliError> {
    let failed = |error| CliError::Refused(format!("{}: {error}", file.display()));
    if file != Path::new("-") {
        return std::fs::read_to_string(file).map_err(failed);
    }
    let mut text = String::new();
    io::stdin().read_to_string(&mut text).map_err(failed)?;
    Ok(text)
}

/// Every line is checked before the first is rendered, and all that is wrong is said at once. What is asked for twice is
/// rendered once.
fn understand(text: &str, common: &Map<String, Json>, policies: &Policies) -> Result<Vec<Job>, CliError> {
    let (mut jobs, mut wrong, mut seen) = (Vec::new(), Vec::new(), HashSet::new());
    for (number, line) in (1..).zip(text.lines().map(str::trim)) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match job(number, line, common, policies) {
            Ok(job) if seen.insert(job.fingerprint.clone()) => jobs.push(job),
            Ok(_) => {}
            Err(problem) => wrong.push(format!("line {number}: {problem}")),
        }
    }
    match wrong.is_empty() {
        true => Ok(jobs),
        false => Err(CliError::Refused(wrong.join("\n"))),
    }
}

fn job(line: usize, text: &str, common: &Map<String, Json>, policies: &Policies) -> Result<Job, String> {
    let mut parameters = common.clone();
    if text.starts_with('{') {
        let own: Map<String, Json> = serde_json::from_str(text).map_err(|error| error.to_string())?;
        parameters.extend(own);
    } else {
        parameters.insert("url".to_owned(), json!(text));
    }
    let checked = shot::check(parameters, policies).map_err(|problem| take::explain(&problem))?;
    let fingerprint = checked.fingerprint();
    let target = checked.options.source.url.clone().unwrap_or_else(|| "html".to_owned());
    let extension = checked.options.output.format.extension();
    let digits = fingerprint.get(..FINGERPRINT_DIGITS).unwrap_or(&fingerprint);
    let file = format!("{}-{digits}.{extension}", slug(&target));
    Ok(Job { line, target, options: checked.options, fingerprint, file })
}

/// An address as a part of a file's name: letters, digits, dots and hyphens, and never a hidden file.
fn slug(target: &str) -> String {
    let address = target.split_once("://").map_or(target, |(_, rest)| rest);
    let address = address.split(['?', '#']).next().unwrap_or(address);
    let mut slug = String::new();
    for c in address.chars() {
        match c {
            'a'..='z' | 'A'..='Z' | '0'..='9' | '.' => slug.push(c),
            _ if slug.ends_with('-') => {}
            _ => slug.push('-'),
        }
    }
    let kept: String = slug.trim_matches(['-', '.']).chars().take(SLUG_MAX).collect();
    if kept.is_empty() { "page".to_owned() } else { kept }
}

fn progress(length: usize) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{wide_bar} {pos}/{len}  {elapsed}, {eta} to go");
    ProgressBar::new(length as u64).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_jobs_with_names_of_their_own() {
        let common = Map::from_iter([("format".to_owned(), json!("png")), ("viewport_width".to_owned(), json!("800"))]);
        let text = "https://example.com/a/b?c=d\n\n# no\n {\"url\":\"https://example.com/\",\"format\":\"pdf\"}\nhttps://example.com/a/b?c=d\n";
        let jobs = understand(text, &common, &Policies::default()).unwrap_or_default();
        let files: Vec<&str> = jobs.iter().map(|job| job.file.as_str()).collect();
        assert_eq!(files.len(), 2, "{files:?}");
        assert!(files[0].starts_with("example.com-a-b-") && files[0].ends_with(".png"), "{files:?}");
        assert!(files[1].starts_with("example.com-") && files[1].ends_with(".pdf"), "{files:?}");
        assert_eq!((jobs[1].line, jobs[0].options.viewport.width), (4, 800));
        let again = understand("https://example.com/a/b?c=e", &common, &Policies::default()).unwrap_or_default();
        assert_ne!(again[0].file, jobs[0].file, "another query is another picture");
    }

    #[test]
    fn every_wrong_line_is_named() {
        let text = "https://example.com\nnot a url\n{\"url\":1\n{\"nonsense\":1,\"url\":\"https://example.com\"}";
        let error = understand(text, &Map::new(), &Policies::default()).err().map(|error| error.to_string());
        let error = error.unwrap_or_default();
        for part in ["line 2", "line 3", "line 4", "nonsense"] {
            assert!(error.contains(part), "{error}");
        }
        assert!(!error.contains("line 1:"), "{error}");
    }

    #[test]
    fn no_address_leads_out_of_the_folder() {
        for (target, expected) in [
            ("https://example.com/../../etc/passwd", "example.com-..-..-etc-passwd"),
            ("https://...", "page"),
            ("https://[::1]/", "1"),
            ("html", "html"),
        ] {
            assert_eq!(slug(target), expected, "{target}");
        }
        assert!(slug(&format!("https://{}", "a".repeat(300))).len() <= SLUG_MAX);
    }
}
