//! Asks a running service, whose checks, limits and egress rules hold then.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::StatusCode;
use reqwest::header::RETRY_AFTER;
use reqwest::redirect::Policy;
use reqwest::{RequestBuilder, Response, Url};
use serde_json::{Map, Value as Json, json};
use snaphook_shared::code::{Code, Detail, Problem};
use snaphook_shared::dialect::REQUEST_ID;
use snaphook_shared::options::model::Format;
use snaphook_shared::secret::Secret;

use super::Refusal;
use super::answer::Taken;
use crate::cli::{CliError, shot};
use crate::domain::artifact::Size;

const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// Of a picture, document or text.
const FILE_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Of an answer in JSON.
const JSON_BYTES_MAX: usize = 1024 * 1024;
/// What says how a service answers; a tool has its own way.
const OF_THE_TOOL: [&str; 4] = ["access_key", "async", "response_type", "store"];
/// A page may have told the agent to send what it sees to a bucket of a stranger's.
const OF_A_BUCKET: &str = "storage_";

pub(super) struct Service {
    client: reqwest::Client,
    url: String,
    access_key: Secret,
}

impl Service {
    /// # Errors
    /// When it is no http(s) address.
    pub(super) fn new(url: Url, access_key: Secret) -> Result<Service, CliError> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(CliError::Refused("--server must be an http:// or https:// address".to_owned()));
        }
        let client =
            reqwest::Client::builder().redirect(Policy::none()).no_proxy().connect_timeout(CONNECT_LIMIT).build();
        let client = client.map_err(|error| CliError::Failed(error.to_string()))?;
        Ok(Service { client, url: url.as_str().trim_end_matches('/').to_owned(), access_key })
    }

    /// What `POST /take` with these parameters gives.
    ///
    /// # Errors
    /// The service's word on it.
    pub(super) async fn take(&self, mut parameters: Map<String, Json>) -> Result<Taken, Refusal> {
        let foreign = shot::foreign(&mut parameters);
        if !foreign.is_empty() {
            return Err(Problem { details: foreign, ..Problem::new(Code::RequestNotValid) }.into());
        }
        parameters.insert("metadata_image_size".to_owned(), json!(true));
        let began = Instant::now();
        let response = self.send(self.post(parameters)).await?;
        let number = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok()?.parse().ok());
        let size = match (number("x-screenshotone-image-width"), number("x-screenshotone-image-height")) {
            (Some(width), Some(height)) => Some(Size { width, height }),
            _ => None,
        };
        let content_type = response.headers().get("content-type").and_then(|value| value.to_str().ok());
        let format = content_type.and_then(|of| Format::ALL.into_iter().find(|format| format.content_type() == of));
        let format = format.ok_or_else(|| Refusal("the service sent no picture, document or text".to_owned()))?;
        let bytes = read(response, FILE_BYTES_MAX).await?;
        Ok(Taken { bytes, format, size, took: began.elapsed(), refused: 0 })
    }

    /// Has a request accepted, and gives its id.
    ///
    /// # Errors
    /// The service's word on it.
    pub(super) async fn enqueue(&self, mut parameters: Map<String, Json>) -> Result<Json, Refusal> {
        let detail = |name: &str| Detail {
            parameter: name.to_owned(),
            message: format!("\"{name}\" is not for a tool's caller to set"),
        };
        let is_given = |name: &&str| OF_THE_TOOL.contains(name) || name.starts_with(OF_A_BUCKET);
        let details: Vec<Detail> = parameters.keys().map(String::as_str).filter(is_given).map(detail).collect();
        if !details.is_empty() {
            return Err(Problem { details, ..Problem::new(Code::RequestNotValid) }.into());
        }
        parameters.insert("async".to_owned(), json!(true));
        let response = self.send(self.post(parameters)).await?;
        let id = response.headers().get(REQUEST_ID).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let id = id.ok_or_else(|| Refusal("the service gave no id".to_owned()))?;
        Ok(json!({ "id": id, "state": "queued" }))
    }

    /// What became of a request of this key.
    ///
    /// # Errors
    /// The service's word on it.
    pub(super) async fn check(&self, id: &str) -> Result<Json, Refusal> {
        let response = self.send(self.client.get(format!("{}/v1/requests/{id}", self.url))).await?;
        let bytes = read(response, JSON_BYTES_MAX).await?;
        serde_json::from_slice(&bytes).map_err(|error| Refusal(format!("the service sent no JSON: {error}")))
    }

    fn post(&self, parameters: Map<String, Json>) -> RequestBuilder {
        let body = Json::Object(parameters).to_string();
        self.client.post(format!("{}/take", self.url)).header("content-type", "application/json").body(body)
    }

    /// Gives an answer of success.
    async fn send(&self, request: RequestBuilder) -> Result<Response, Refusal> {
        // An address may hold a secret, and an error of the client prints it.
        let away = |error: reqwest::Error| Refusal(format!("the service cannot be reached: {}", error.without_url()));
        let response = request.header("x-access-key", self.access_key.expose()).send().await.map_err(away)?;
        match response.status() {
            status if status.is_success() => Ok(response),
            status => Err(refusal(status, response).await),
        }
    }
}

async fn read(mut response: Response, bytes_max: usize) -> Result<Bytes, Refusal> {
    let broken = |error: reqwest::Error| Refusal(format!("the service's answer broke off: {}", error.without_url()));
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(broken)? {
        bytes.extend_from_slice(&chunk);
        if bytes.len() > bytes_max {
            return Err(Refusal(format!("the service's answer has more than {bytes_max} bytes")));
        }
    }
    Ok(bytes.into())
}

/// An error of the service, in the words that an error of our own has.
async fn refusal(status: StatusCode, response: Response) -> Refusal {
    let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let body = read(response, JSON_BYTES_MAX).await.unwrap_or_else(|_| Bytes::new());
    let json: Json = serde_json::from_slice(&body).unwrap_or_default();
    // /take speaks ScreenshotOne's dialect, and the rest a shorter one.
    let text = |names: [&str; 2]| names.iter().find_map(|name| json[*name].as_str());
    let (code, message) = (text(["error_code", "code"]), text(["error_message", "message"]));
    let mut said = match (code, message) {
        (Some(code), Some(message)) => format!("{code}: {message}"),
        _ => format!("the service answered {status}"),
    };
    for detail in json["error_details"].as_array().into_iter().flatten() {
        let name = detail["path"][0].as_str().unwrap_or("(all)");
        said.push_str(&format!("\n  {name}: {}", detail["message"].as_str().unwrap_or_default()));
    }
    if let Some(id) = json["id"].as_str() {
        said.push_str(&format!("\n  id: {id}"));
    }
    if let Some(seconds) = retry_after {
        said.push_str(&format!("\n  try again in {seconds} s"));
    }
    Refusal(said)
}
