//! One request from its options to its end: render, store, and the outcome with its notice.

use std::sync::Arc;
use std::time::{Duration, Instant, UNIX_EPOCH};

use bytes::Bytes;
use snaphook_shared::code::{Code, Problem};
use snaphook_shared::event;
use snaphook_shared::metadata::Content;

use super::artifact::{Artifact, Size};
use super::delivery::NewDelivery;
use super::failure::{Failure, Fault};
use super::job::{ClaimedRequest, NewRequest, Outcome, PutBack, StoredFile, StoredSlice, StoredSlices};
use super::notice::{self, Links};
use super::ports::{FileStore, JobQueue, QueueError, Renderer, Uploads};
use super::retry;
use super::upload::Destination;
use crate::clock::Clock;
use crate::fault;
use crate::trace::{self, Span, TraceContext};

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
    pub artifact: Artifact,
    /// Set if it was kept.
    pub file: Option<StoredFile>,
    /// Set if there are any; they are always kept.
    pub slices: Option<StoredSlices>,
    /// The page's content, where it was asked for.
    content: Option<StoredFile>,
}

/// A render for a caller who waits, before anything is known of it elsewhere.
pub struct Finished {
    result: Result<Rendered, Failure>,
    render_ms: u64,
}

impl Rendered {
    fn outcome(&self, render_ms: u64) -> Outcome {
        let parts = self.slices.iter().flat_map(StoredSlices::files).chain(&self.content).cloned().collect();
        Outcome::Done { file: self.file.clone(), parts, render_ms, refused: self.artifact.refused.clone() }
    }

    fn notice(&self, request: &NewRequest, render_ms: u64, links: &Links) -> Option<NewDelivery> {
        notice::of_success(
            request,
            self.file.as_ref()?,
            &self.artifact.metadata,
            self.slices.as_ref(),
            render_ms,
            links,
        )
    }
}

impl Pipeline {
    /// Renders a leased request and ends it, or gives it back for another attempt. False if this installation was not able
    /// to do its part; the next request will hardly fare better.
    pub async fn run(&self, claimed: ClaimedRequest, owner: &str) -> Result<bool, QueueError> {
        let ClaimedRequest { request, attempt, failures, postponed } = claimed;
        let started = Instant::now();
        let mut span = span_of(&request);
        span.set("snaphook.attempt", i64::from(attempt));
        let finished = span.scope(self.render_and_store(&request)).await;
        end(span, &finished);
        let now_ms = self.clock.now_ms();
        let (outcome, delivery) = match finished {
            Ok(rendered) => {
                let render_ms = elapsed_ms(started);
                tracing::info!(attempt, render_ms, bytes = rendered.artifact.bytes.len(), "rendered");
                (rendered.outcome(render_ms), rendered.notice(&request, render_ms, &self.links))
            }
            Err(failure) => match retry::next_render(failure.fault, failures, postponed) {
                Some(pause) => {
                    let cause = &failure.cause;
                    tracing::warn!(attempt, cause, "the render failed and is tried again");
                    let at_ms = now_ms + pause.as_millis() as u64;
                    let ours = failure.fault == Fault::Ours;
                    let back = PutBack { now_ms, at_ms, reason: failure.to_string(), ours };
                    self.queue.put_back(&request.id, owner, back).await?;
                    return Ok(!ours);
                }
                None => {
                    tracing::info!(attempt, error = %failure, "failed");
                    self.failed(&request, &failure)
                }
            },
        };
        if !self.queue.finish(&request.id, owner, now_ms, outcome, delivery).await? {
            tracing::warn!("the lease was lost; another worker will finish the request");
        }
        Ok(true)
    }

    /// Renders for a caller who waits. What comes of it is for [`Pipeline::record`].
    pub async fn render_now(&self, request: &NewRequest, keep_file: bool) -> Finished {
        let started = Instant::now();
        let options = &request.options;
        let keep_file = keep_file || options.delivery.webhook.url.is_some() || options.capture.full_page_slices;
        let span = span_of(request);
        let result = match keep_file {
            true => span.scope(self.render_and_store(request)).await,
            false => {
                let rendered = |(artifact, content)| Rendered { artifact, file: None, slices: None, content };
                span.scope(self.render(request)).await.map(rendered)
            }
        };
        end(span, &result);
        Finished { result, render_ms: elapsed_ms(started) }
    }

    /// Keeps a request that was rendered for a caller who waits, with its outcome, like any other; its webhook too.
    pub async fn record(&self, request: NewRequest, finished: Finished) -> Result<Rendered, Failure> {
        let Finished { result, render_ms } = finished;
        let (outcome, delivery) = match &result {
            Ok(rendered) => (rendered.outcome(render_ms), rendered.notice(&request, render_ms, &self.links)),
            Err(failure) => {
                tracing::info!(error = %failure, "failed");
                self.failed(&request, failure)
            }
        };
        let id = request.id.clone();
        self.queue.record(request, self.clock.now_ms(), outcome, delivery).await.map_err(|error| {
            tracing::error!(request = id, %error, "the outcome could not be kept");
            Failure { problem: Problem::unavailable(), ..Failure::internal(error.to_string()) }
        })?;
        result
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
        let (cause, refused) = (failure.cause.clone(), failure.refused.clone());
        let outcome = Outcome::Failed { code: entry.name.to_owned(), message, cause, refused };
        (outcome, notice::of_failure(request, &failure.problem, &self.links))
    }

    /// The artifact, and the page's content as a file of its own where that was asked for.
    async fn render(&self, request: &NewRequest) -> Result<(Artifact, Option<StoredFile>), Failure> {
        let deadline = Instant::now() + Duration::from_secs(u64::from(request.options.timeout_s().max(1)));
        let mut artifact = self.renderer.render(&request.options, deadline).await?;
        let Some(text) = artifact.content.take() else { return Ok((artifact, None)) };
        let format = request.options.metadata.content_format;
        let lifetime_ms = self.lifetime_ms(request);
        let file = self.keep(format.extension(), format.content_type(), text.into(), None, lifetime_ms).await?;
        artifact.metadata.content = Some(Content {
            url: self.links.file(&file.name),
            expires: httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_millis(file.expires_ms)),
            format: format.name().to_owned(),
        });
        Ok((artifact, Some(file)))
    }

    async fn render_and_store(&self, request: &NewRequest) -> Result<Rendered, Failure> {
        // What cannot be stored need not be rendered.
        let destination = Destination::of(&request.options.delivery.store, "")?;
        let (artifact, content) = self.render(request).await?;
        let _storing = Span::start("store", trace::current().as_ref());
        fault::point("before-store-put");
        let format = artifact.format;
        let lifetime_ms = self.lifetime_ms(request);
        let keep = async |bytes: &Bytes, size: Option<Size>| {
            self.keep(format.extension(), format.content_type(), bytes.clone(), size, lifetime_ms).await
        };
        if destination.is_some()
            && let Some(place) = Destination::of(&request.options.delivery.store, format.extension())?
        {
            self.uploads.upload(&place, format.content_type(), artifact.bytes.clone()).await?;
        }
        let attachment = request.options.delivery.attachment_name.as_ref();
        let file = StoredFile {
            attachment: attachment.map(|stem| format!("{stem}.{}", format.extension())),
            ..keep(&artifact.bytes, artifact.size).await?
        };
        let mut slices = Vec::new();
        for slice in &artifact.slices {
            let file = keep(&slice.bytes, Some(slice.size)).await?;
            slices.push(StoredSlice { file, offset_y: slice.offset_y });
        }
        let slices = match slices.is_empty() {
            true => None,
            false => {
                let manifest = event::slices(&self.links.slices(&slices));
                let manifest = self.keep("json", "application/json", manifest.into(), None, lifetime_ms).await?;
                Some(StoredSlices { manifest, slices })
            }
        };
        fault::point("after-store-put");
        Ok(Rendered { artifact, file: Some(file), slices, content })
    }

    /// Puts bytes into the store under a name that nobody can guess.
    async fn keep(
        &self,
        extension: &str,
        content_type: &str,
        bytes: Bytes,
        size: Option<Size>,
        lifetime_ms: u64,
    ) -> Result<StoredFile, Failure> {
        let name = file_name(extension)?;
        let length = bytes.len() as u64;
        self.store.put(&name, content_type, bytes).await?;
        Ok(StoredFile {
            name,
            content_type: content_type.to_owned(),
            bytes: length,
            size,
            expires_ms: self.clock.now_ms() + lifetime_ms,
            attachment: None,
        })
    }

    /// A file whose answer may be given again is there for as long as that.
    fn lifetime_ms(&self, request: &NewRequest) -> u64 {
        let cache = &request.options.delivery.cache;
        let cached_s = if cache.enabled { cache.ttl_s } else { 0 };
        (self.file_lifetime.as_millis() as u64).max(u64::from(cached_s) * 1000)
    }
}

/// The render of a request, in the trace that the request belongs to.
fn span_of(request: &NewRequest) -> Span {
    let mut span = Span::start("render", request.traceparent.as_deref().and_then(TraceContext::read).as_ref());
    span.set("snaphook.request.id", request.id.clone());
    span
}

fn end(mut span: Span, finished: &Result<Rendered, Failure>) {
    match finished {
        Ok(rendered) => {
            span.set("snaphook.format", rendered.artifact.format.extension());
            span.set("snaphook.bytes", i64::try_from(rendered.artifact.bytes.len()).unwrap_or(i64::MAX));
        }
        Err(failure) => span.fail(failure.problem.code.entry().name),
    }
}

fn elapsed_ms(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// Bytes of a file's name. It is all that protects the file.
const NAME_BYTES: usize = 24;

fn file_name(extension: &str) -> Result<String, Failure> {
    let mut random = [0; NAME_BYTES];
    getrandom::fill(&mut random).map_err(|error| Failure::internal(format!("no randomness: {error}")))?;
    Ok(format!("{}.{extension}", hex::encode(random)))
}

/// Whether a name is one that files get here: beside them in a bucket there may be others', which are nobody's to remove.
pub fn is_file_name(name: &str) -> bool {
    let Some((stem, extension)) = name.split_once('.') else { return false };
    stem.len() == 2 * NAME_BYTES
        && stem.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        && !extension.is_empty()
        && extension.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_files_are_known_by_their_names() {
        let own = file_name("png").unwrap();
        assert!(is_file_name(&own) && is_file_name(&file_name("mp4").unwrap()));
        let others = [
            "backup.sql",
            "README",
            &own[1..],
            &format!("x{own}"),
            &own.to_uppercase(),
            &own[..48],
            &format!("{own}.gz"),
        ];
        for name in others {
            assert!(!is_file_name(name), "{name}");
        }
    }
}
