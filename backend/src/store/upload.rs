//! Uploads to buckets of callers. Where they are is a caller's word, so every connection is judged by `egress`.
//!
//! The request is one PUT of our own making, signed by object_store: its store type knows neither ACLs nor that a 404 is
//! the caller's mistake and a 503 is nobody's. It follows no redirect.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use http::{HeaderValue, Method, Request};
use object_store::aws::{AwsAuthorizer, AwsCredential};
use object_store::client::{HttpClient, HttpRequest, HttpResponseBody};
use snaphook_shared::code::{Code, Problem};

use crate::domain::failure::{Failure, Fault};
use crate::domain::ports::Uploads;
use crate::domain::upload::{Destination, invalid};
use crate::egress::{Egress, Refusal};

/// Pauses between tries. A request that nobody waits for is tried again later as a whole.
const PAUSES: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(2)];
const TRY_LIMIT: Duration = Duration::from_secs(30);
/// What is read of a refusal: its code stands at the beginning.
const ANSWER_BYTES_MAX: usize = 4096;

pub struct Uploader {
    egress: Egress,
    client: HttpClient,
}

impl Uploader {
    /// `client` must be one that `egress` decides the connections of.
    pub fn new(egress: Egress, client: reqwest::Client) -> Uploader {
        Uploader { egress, client: HttpClient::new(client) }
    }

    async fn put(&self, to: &Destination, content_type: &str, bytes: Bytes) -> Result<(), Failure> {
        let request = request(to, content_type, bytes)?;
        let sent = async {
            let response = self.client.execute(request).await.map_err(|error| match Refusal::find(&error) {
                Some(refusal) => Failure::new(Code::TargetNotAllowed, format!("the storage: {}", refusal.external())),
                None => transient(format!("the storage cannot be reached: {error}")),
            })?;
            let status = response.status().as_u16();
            let answer = match response.status().is_success() {
                true => Vec::new(),
                false => beginning(response.into_body()).await,
            };
            Ok((status, answer))
        };
        let (status, answer) = tokio::time::timeout(TRY_LIMIT, sent)
            .await
            .unwrap_or_else(|_| Err(transient(format!("no answer within {} s", TRY_LIMIT.as_secs()))))?;
        judge(status, &answer)
    }
}

#[async_trait]
impl Uploads for Uploader {
    async fn upload(&self, to: &Destination, content_type: &str, bytes: Bytes) -> Result<(), Failure> {
        // The resolver is never asked about addresses that are written out, so those are judged here.
        if let Err(refusal) = self.egress.check_url(&to.url) {
            return Err(Failure::new(Code::TargetNotAllowed, format!("the storage: {refusal}")));
        }
        let mut pauses = PAUSES.into_iter();
        loop {
            match (self.put(to, content_type, bytes.clone()).await, pauses.next()) {
                (Err(failure), Some(pause)) if failure.fault == Fault::Moment => {
                    tracing::debug!(cause = failure.cause, "an upload is tried again");
                    tokio::time::sleep(pause).await;
                }
                (result, _) => return result,
            }
        }
    }
}

fn request(to: &Destination, content_type: &str, bytes: Bytes) -> Result<HttpRequest, Failure> {
    let bad = |_| invalid("storage_endpoint", "\"storage_endpoint\" cannot be used");
    let mut request = Request::builder()
        .method(Method::PUT)
        .uri(&to.url)
        .header("content-type", content_type)
        .body(bytes.into())
        .map_err(bad)?;
    for (name, value) in [("x-amz-acl", &to.acl), ("x-amz-storage-class", &to.class)] {
        if let Some(value) = value.as_deref().and_then(|value| HeaderValue::from_str(value).ok()) {
            request.headers_mut().insert(name, value);
        }
    }
    let credential = AwsCredential {
        key_id: to.access_key_id.clone(),
        secret_key: to.secret_access_key.expose().to_owned(),
        token: None,
    };
    AwsAuthorizer::new(&credential, "s3", &to.region)
        .try_authorize(&mut request, None)
        .map_err(|error| Failure::internal(format!("an upload could not be signed: {error}")))?;
    Ok(request)
}

/// Enough of an answer to find its code; whatever else the storage sends is not waited for.
async fn beginning(body: HttpResponseBody) -> Vec<u8> {
    let mut stream = body.bytes_stream();
    let mut bytes = Vec::new();
    while bytes.len() < ANSWER_BYTES_MAX
        && let Some(Ok(chunk)) = stream.next().await
    {
        bytes.extend_from_slice(&chunk);
    }
    bytes
}

fn transient(cause: String) -> Failure {
    Failure::retryable(Code::StorageReturnedTransientError, cause)
}

/// Whose fault an answer is. Its code goes to the caller: it is their storage.
fn judge(status: u16, answer: &[u8]) -> Result<(), Failure> {
    let code = error_code(answer);
    let said = format!("the storage answered {status} {code}");
    let refused =
        |kind: Code| Failure { problem: Problem::with_detail(kind, "", said.trim()), ..Failure::new(kind, &*said) };
    match status {
        200..=299 => Ok(()),
        408 | 429 | 500.. => Err(Failure { fault: Fault::Moment, ..refused(Code::StorageReturnedTransientError) }),
        401 | 403 => Err(refused(Code::StorageAccessDenied)),
        _ => Err(refused(Code::InvalidStorageConfiguration)),
    }
}

/// `<Code>NoSuchBucket</Code>` of S3's error document; empty for anything that does not look like it.
fn error_code(answer: &[u8]) -> String {
    let text = String::from_utf8_lossy(answer.get(..answer.len().min(ANSWER_BYTES_MAX)).unwrap_or_default());
    let code = text.split_once("<Code>").and_then(|(_, rest)| rest.split_once("</Code>")).map(|(code, _)| code);
    let plain = |code: &&str| code.len() <= 64 && code.bytes().all(|byte| byte.is_ascii_alphanumeric());
    code.filter(plain).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_judged_by_whose_fault_they_are() {
        let answer = b"<?xml version=\"1.0\"?><Error><Code>NoSuchBucket</Code><Message>x</Message></Error>";
        let failure = judge(404, answer).unwrap_err();
        assert_eq!((failure.problem.code, failure.fault), (Code::InvalidStorageConfiguration, Fault::Request));
        assert_eq!(failure.problem.message(), "the storage answered 404 NoSuchBucket");
        assert_eq!(judge(403, b"").unwrap_err().problem.code, Code::StorageAccessDenied);
        assert_eq!(judge(301, b"").unwrap_err().problem.code, Code::InvalidStorageConfiguration);
        let failure = judge(503, b"<Code><script></Code>").unwrap_err();
        assert_eq!((failure.problem.code, failure.fault), (Code::StorageReturnedTransientError, Fault::Moment));
        assert_eq!(failure.problem.message(), "the storage answered 503");
        assert!(judge(204, b"").is_ok());
    }
}
