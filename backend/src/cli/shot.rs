//! Pictures without a service: what `take` and `batch` have in common. Parameters are those of `/take`, checked by the same
//! code; the browser, its rules and its settings are those of the service.

use std::fs::Permissions;
use std::io::{self, IsTerminal, Write};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::str::FromStr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Map, Value as Json, json};
use snaphook_shared::code::{Code, Detail, Problem};
use snaphook_shared::options::model::{Format, Medium, Options};
use snaphook_shared::request::{CheckedRequest, Endpoint, Method, Policies, RawRequest};
use snaphook_shared::target::NativeUrlParser;
use tempfile::{NamedTempFile, TempDir};

use super::CliError;
use crate::config::{Config, Sizing};
use crate::domain::artifact::Artifact;
use crate::domain::failure::{Failure, Fault};
use crate::domain::ports::Renderer;
use crate::domain::retry;
use crate::run::{Engine, StartError};

/// What says where a service puts its results, and how its callers hear of them. Here the result is a file.
const OF_THE_SERVICE: [&str; 12] = [
    "access_key",
    "async",
    "attachment_name",
    "cache",
    "cache_key",
    "cache_ttl",
    "external_identifier",
    "full_page_slices",
    "metadata_content",
    "metadata_content_format",
    "response_type",
    "store",
];
const OF_THE_SERVICE_TOO: [&str; 2] = ["storage_", "webhook_"];

/// The name of the caller whom the shared checks want to know; the operator needs no key.
const OPERATOR: &str = "operator";

#[derive(Args)]
pub(super) struct Parameters {
    /// A parameter of /take, as `viewport_width=800`; given again, a list gets one more entry. docs/compat.md has them all.
    #[arg(short = 'p', long = "option", value_name = "NAME=VALUE")]
    options: Vec<Parameter>,
}

/// `name=value`.
#[derive(Clone)]
struct Parameter {
    name: String,
    value: String,
}

impl FromStr for Parameter {
    type Err = String;

    fn from_str(text: &str) -> Result<Parameter, String> {
        match text.split_once('=') {
            Some((name, value)) if !name.is_empty() => Ok(Parameter { name: name.to_owned(), value: value.to_owned() }),
            _ => Err("name=value".to_owned()),
        }
    }
}

impl Parameters {
    /// As the body of a request has them.
    pub(super) fn to_json(&self) -> Map<String, Json> {
        let mut all = Map::new();
        for Parameter { name, value } in &self.options {
            match all.get_mut(name) {
                None => drop(all.insert(name.clone(), json!(value))),
                Some(Json::Array(list)) => list.push(json!(value)),
                Some(first) => *first = json!([first.take(), value]),
            }
        }
        all
    }
}

/// Takes away what asks for another result than the file, and says so of each.
pub(super) fn foreign(parameters: &mut Map<String, Json>) -> Vec<Detail> {
    let is_foreign =
        |name: &str| OF_THE_SERVICE.contains(&name) || OF_THE_SERVICE_TOO.iter().any(|prefix| name.starts_with(prefix));
    let foreign: Vec<String> = parameters.keys().filter(|name| is_foreign(name)).cloned().collect();
    parameters.retain(|name, _| !is_foreign(name));
    let detail = |name: String| {
        let message = format!("\"{name}\" is for requests to the service; here the result is a file");
        Detail { parameter: name, message }
    };
    foreign.into_iter().map(detail).collect()
}

/// The request that `POST /take` with these parameters would be.
///
/// # Errors
/// All that is wrong with them.
pub(super) fn check(mut parameters: Map<String, Json>, policies: &Policies) -> Result<CheckedRequest, Problem> {
    let mut details = foreign(&mut parameters);
    let raw = RawRequest {
        endpoint: Endpoint::Take,
        method: Method::Post,
        query: String::new(),
        access_key_header: Some(OPERATOR.to_owned()),
        idempotency_key: None,
        priority: None,
        body: Json::Object(parameters).to_string().into_bytes(),
    };
    match raw.read().and_then(|read| read.check(&NativeUrlParser, policies)) {
        Ok(checked) if details.is_empty() => Ok(checked),
        Ok(_) => Err(Problem { details, ..Problem::new(Code::RequestNotValid) }),
        Err(problem) => {
            details.extend(problem.details.iter().cloned());
            Err(Problem { details, ..problem })
        }
    }
}

/// The name, for the parameter `format`, of what a file with this extension holds.
///
/// # Errors
/// With the extensions that there are.
pub(super) fn format_of(file: &Path) -> Result<&'static str, CliError> {
    let known: Vec<Format> = Format::ALL
        .into_iter()
        .filter(|format| format.medium() != Medium::Video && format.missing().is_none())
        .collect();
    let extension = file.extension().and_then(|extension| extension.to_str()).unwrap_or_default().to_ascii_lowercase();
    let wanted = match extension.as_str() {
        "jpeg" => "jpg",
        "tif" => "tiff",
        "htm" => "html",
        other => other,
    };
    let found = known.iter().find(|format| format.extension() == wanted);
    found.map(|format| parameter_value(*format)).ok_or_else(|| {
        let extensions: Vec<String> = known.iter().map(|format| format!(".{}", format.extension())).collect();
        let message =
            format!("the extension of {} names no format; those are {}", file.display(), extensions.join(" "));
        CliError::Refused(message)
    })
}

/// A format's name, as the parameter `format` has it.
pub(super) fn parameter_value(format: Format) -> &'static str {
    match format {
        Format::Markdown => "markdown",
        other => other.extension(),
    }
}

/// Starts a browser for `work`, and ends it with all that it wrote, however the work ends: also by a signal.
pub(super) async fn with_engine<T>(
    config: &Config,
    concurrency: usize,
    work: impl AsyncFnOnce(&Engine) -> Result<T, CliError>,
) -> Result<T, CliError> {
    let scratch = scratch()?;
    let engine = tokio::select! {
        started = start_engine(config, &scratch, concurrency) => started?,
        () = interrupted() => return Err(CliError::Interrupted),
    };
    let result = tokio::select! {
        result = work(&engine) => result,
        () = interrupted() => Err(CliError::Interrupted),
    };
    engine.renderer.stop().await;
    result
}

/// A folder for a browser, which is not that of a service that may be running.
pub(super) fn scratch() -> io::Result<TempDir> {
    tempfile::Builder::new().prefix("snaphook-").tempdir()
}

/// Starts a browser whose pages do not get at the operator's own listeners.
pub(super) async fn start_engine(config: &Config, scratch: &TempDir, concurrency: usize) -> Result<Engine, StartError> {
    let closed: Vec<SocketAddr> =
        [config.http.operations_listen].into_iter().chain(config.dashboard_listen()).collect();
    let sizing = Sizing { concurrency, ..config.sizing() };
    Engine::start(config, scratch.path().to_owned(), sizing, &closed).await
}

/// Returns at the signals that end a process.
pub(super) async fn interrupted() {
    use tokio::signal::unix::{SignalKind, signal};
    let signals = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
    let (Ok(mut terminate), Ok(mut interrupt)) = signals else { return std::future::pending().await };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

/// Renders, and tries again what the service would try again; but a fault of this machine is said at once.
pub(super) async fn render(engine: &Engine, options: &Options) -> Result<Artifact, Failure> {
    let mut failures = 0;
    loop {
        let deadline = Instant::now() + Duration::from_secs(u64::from(options.timeout_s().max(1)));
        let failure = match engine.renderer.render(options, deadline).await {
            Ok(artifact) => return Ok(artifact),
            Err(failure) => failure,
        };
        match retry::next_render(failure.fault, failures, 0) {
            Some(pause) if failure.fault != Fault::Ours => tokio::time::sleep(pause).await,
            _ => return Err(failure),
        }
        failures += 1;
    }
}

/// The whole file or none, whoever looks and whenever this process ends.
pub(super) fn write(path: &Path, bytes: &Bytes) -> io::Result<()> {
    written_beside(path, bytes)?.persist(path)?;
    Ok(())
}

/// As [`write`], where no file must be yet.
pub(super) fn write_new(path: &Path, bytes: &Bytes) -> io::Result<()> {
    written_beside(path, bytes)?.persist_noclobber(path)?;
    Ok(())
}

fn written_beside(path: &Path, bytes: &Bytes) -> io::Result<NamedTempFile> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // As any new file of this user's: the system takes the umask away.
    let permissions = Permissions::from_mode(0o666);
    let mut file = tempfile::Builder::new().prefix(".snaphook-").permissions(permissions).tempfile_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    Ok(file)
}

/// What there is to say of a picture, for programs.
pub(super) fn describe(artifact: &Artifact, file: &Path, took: Duration) -> Json {
    let mut told = json!({
        "file": file.display().to_string(),
        "format": parameter_value(artifact.format),
        "bytes": artifact.bytes.len(),
        "took_ms": u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
    });
    if let Some(size) = artifact.size {
        (told["width"], told["height"]) = (json!(size.width), json!(size.height));
    }
    if !artifact.refused.is_empty() {
        told["refused"] = json!(artifact.refused);
    }
    let asked = serde_json::to_value(&artifact.metadata).unwrap_or_default();
    let asked: Map<String, Json> = match asked {
        Json::Object(all) => all.into_iter().filter(|(_, value)| !(value.is_null() || *value == json!({}))).collect(),
        _ => Map::new(),
    };
    if !asked.is_empty() {
        told["metadata"] = Json::Object(asked);
    }
    told
}

/// The same in a line for people.
pub(super) fn line(artifact: &Artifact, file: &Path, took: Duration) -> String {
    let size = artifact.size.map(|size| format!("{} × {}  ", size.width, size.height)).unwrap_or_default();
    let (bytes, format) = (artifact.bytes.len(), parameter_value(artifact.format));
    format!("{}  {size}{format}  {bytes} bytes  {:.1} s", file.display(), took.as_secs_f64())
}

/// One line that says what goes on; nothing where nobody looks.
pub(super) fn spinner() -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let spinner = ProgressBar::new_spinner();
    spinner.set_style(
        ProgressStyle::with_template("{spinner} {msg} {elapsed}").unwrap_or_else(|_| ProgressStyle::default_spinner()),
    );
    spinner.enable_steady_tick(Duration::from_millis(100));
    spinner
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameters(texts: &[&str]) -> Map<String, Json> {
        Parameters { options: texts.iter().map(|text| text.parse().unwrap()).collect() }.to_json()
    }

    #[test]
    fn parameters_become_the_body_of_a_request() {
        let body = parameters(&[
            "url=https://example.com/?a=b",
            "hide_selectors=.a",
            "hide_selectors=.b",
            "hide_selectors=.c",
        ]);
        assert_eq!(
            Json::Object(body),
            json!({ "url": "https://example.com/?a=b", "hide_selectors": [".a", ".b", ".c"] })
        );
        assert!("=x".parse::<Parameter>().is_err() && "x".parse::<Parameter>().is_err());
    }

    #[test]
    fn all_that_is_wrong_is_said_at_once() {
        let bad = ["url=https://example.com", "viewport_width=wide", "webhook_url=https://example.com", "nonsense=1"];
        let problem = check(parameters(&bad), &Policies::default()).unwrap_err();
        let named: Vec<&str> = problem.details.iter().map(|detail| detail.parameter.as_str()).collect();
        assert_eq!(named, ["webhook_url", "nonsense", "viewport_width"]);
        assert_eq!(
            check(parameters(&["url=https://example.com", "full_page=true"]), &Policies::default()).unwrap().access_key,
            OPERATOR
        );
        let private = check(parameters(&["url=http://10.0.0.1/"]), &Policies::default()).unwrap_err();
        assert_eq!(private.code, Code::TargetNotAllowed);
    }

    #[test]
    fn the_extension_names_the_format() {
        for (file, format) in [("a.PNG", "png"), ("a.jpeg", "jpg"), ("b/a.md", "markdown"), ("a.pdf", "pdf")] {
            assert_eq!(format_of(Path::new(file)).unwrap(), format);
        }
        for file in ["a", "a.mp4", "a.jp2", "png"] {
            assert!(format_of(Path::new(file)).is_err(), "{file}");
        }
    }
}
