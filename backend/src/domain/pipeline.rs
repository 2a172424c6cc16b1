//! One request from its options to its end: render, store, and the outcome with its notice.

use std::sync::Arc;
use std::time::{Duration, Instant};

use snaphook_shared::code::{Code, Problem};

use super::failure::Failure;
use super::job::{ClaimedRequest, NewDelivery, NewRequest, Outcome, StoredFile};
use super::notice::{self, Links};
use super::ports::{FileStore, JobQueue, Picture, QueueError, Renderer, Uploads};
use super::retry;
use super::upload::Destination;
use crate::clock::Clock;
use crate::fault;

/// The parts a request passes through.
pub struct Pipeline {
    pub renderer: Arc<dyn Renderer>,
    pub store: Arc<dyn FileStore>,
    pub queue: Arc<dyn JobQueue>,
    pub clock: Clock,
    pub links: Links,
    pub file_lifetime: Duration,
    pub uploads: Arc<dyn Uploads>,
}

/// What a synchronous caller gets.
pub struct Rendered {
    pub picture: Picture,
    /// Set if it was kept.
    pub file: Option<StoredFile>,
}

impl Pipeline {
    /// Renders a leased request and ends it, or gives it back for another attempt.
    pub async fn run(&self, claimed: ClaimedRequest, owner: &str) -> Result<(), QueueError> {
        let ClaimedRequest { request, attempt, failures } = claimed;
        let started = Instant::now();
        let finished = self.render_and_store(&request).await;
        let now_ms = self.clock.now_ms();
        let (outcome, delivery) = match finished {
            Ok((_, file)) => {
                let render_ms = elapsed_ms(started);
                tracing::info!(request = request.id, attempt, render_ms, bytes = file.bytes, "rendered");
                let delivery = notice::of_success(&request, &file, render_ms, &self.links);
                (Outcome::Done { file: Some(file), render_ms }, delivery)
            }
            Err(failure) if failure.retryable && failures + 1 < retry::RENDER_ATTEMPTS_MAX => {
                tracing::warn!(
                    request = request.id,
                    attempt,
                    cause = failure.cause,
                    "the render failed and is tried again"
                );
                let at_ms = now_ms + retry::render_delay(failures + 1).as_millis() as u64;
                self.queue.put_back(&request.id, owner, at_ms, &failure.to_string()).await?;
                return Ok(());
            }
            Err(failure) => {
                tracing::info!(request = request.id, attempt, error = %failure, "failed");
                self.failed(&request, &failure)
            }
        };
        if !self.queue.finish(&request.id, owner, now_ms, outcome, delivery).await? {
            tracing::warn!(request = request.id, "the lease was lost; another worker will finish the request");
        }
        Ok(())
    }

    /// Renders for a caller who waits. The request is kept with its outcome, like any other; its webhook too.
    pub async fn run_now(&self, request: NewRequest, keep_file: bool) -> Result<Rendered, Failure> {
        let started = Instant::now();
        let keep_file = keep_file || request.options.delivery.webhook.url.is_some();
        let finished = match keep_file {
            true => self.render_and_store(&request).await.map(|(picture, file)| Rendered { picture, file: Some(file) }),
            false => self.render(&request).await.map(|picture| Rendered { picture, file: None }),
        };
        let (outcome, delivery) = match &finished {
            Ok(rendered) => {
                let render_ms = elapsed_ms(started);
                let delivery =
                    rendered.file.as_ref().and_then(|file| notice::of_success(&request, file, render_ms, &self.links));
                (Outcome::Done { file: rendered.file.clone(), render_ms }, delivery)
            }
            Err(failure) => {
                tracing::info!(request = request.id, error = %failure, "failed");
                self.failed(&request, failure)
            }
        };
        self.queue
            .record(request, self.clock.now_ms(), outcome, delivery)
            .await
            .map_err(|error| Failure { problem: Problem::unavailable(), ..Failure::internal(error.to_string()) })?;
        finished
    }

    /// Ends a request that was given too many chances: its lease ran out again and again.
    pub async fn give_up(&self, request: &NewRequest, owner: &str) -> Result<(), QueueError> {
        let failure = Failure::new(Code::PageCrashed, "the lease ran out on every attempt");
        let (outcome, delivery) = self.failed(request, &failure);
        self.queue.finish(&request.id, owner, self.clock.now_ms(), outcome, delivery).await.map(|_| ())
    }

    fn failed(&self, request: &NewRequest, failure: &Failure) -> (Outcome, Option<NewDelivery>) {
        let entry = failure.problem.code.entry();
        let message = failure.problem.message();
        let outcome = Outcome::Failed { code: entry.name.to_owned(), message, cause: failure.cause.clone() };
        (outcome, notice::of_failure(request, &failure.problem, &self.links))
    }

    async fn render(&self, request: &NewRequest) -> Result<Picture, Failure> {
        let deadline = Instant::now() + Duration::from_secs(u64::from(request.options.timeout_s().max(1)));
        self.renderer.render(&request.options, deadline).await
    }

    async fn render_and_store(&self, request: &NewRequest) -> Result<(Picture, StoredFile), Failure> {
        // What cannot be stored need not be rendered.
        Destination::of(&request.options.delivery.store, "")?;
        let picture = self.render(request).await?;
        fault::point("before-store-put");
        let name = file_name(picture.format.extension())?;
        let content_type = picture.format.content_type();
        self.store.put(&name, content_type, picture.bytes.clone()).await?;
        if let Some(place) = Destination::of(&request.options.delivery.store, picture.format.extension())? {
            self.uploads.upload(&place, content_type, picture.bytes.clone()).await?;
        }
        fault::point("after-store-put");
        let file = StoredFile {
            name,
            content_type: content_type.to_owned(),
            bytes: picture.bytes.len() as u64,
            width: picture.width,
            height: picture.height,
            expires_ms: self.clock.now_ms() + self.lifetime_ms(request),
            attachment: request
                .options
                .delivery
                .attachment_name
                .as_ref()
                .map(|stem| format!("{stem}.{}", picture.format.extension())),
        };
        Ok((picture, file))
    }

    /// A file whose answer may be given again is there for as long as that.
    fn lifetime_ms(&self, request: &NewRequest) -> u64 {
        let cache = &request.options.delivery.cache;
        let cached_s = if cache.enabled { cache.ttl_s } else { 0 };
        (self.file_lifetime.as_millis() as u64).max(u64::from(cached_s) * 1000)
    }
}

fn elapsed_ms(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// 192 random bits: the name is all that protects a file.
fn file_name(extension: &str) -> Result<String, Failure> {
    let mut random = [0; 24];
    getrandom::fill(&mut random).map_err(|error| Failure::internal(format!("no randomness: {error}")))?;
    Ok(format!("{}.{extension}", hex::encode(random)))
}
