//! Renders with a Chromium of this process, which is started at its first use and kept.

use std::time::Instant;

use serde_json::{Map, Value as Json};
use snaphook_shared::code::{Code, Problem};
use snaphook_shared::request::Policies;
use tempfile::TempDir;
use tokio::sync::{OnceCell, Semaphore};

use super::Refusal;
use super::answer::Taken;
use crate::cli::{CliError, shot};
use crate::clock::Clock;
use crate::config::Config;
use crate::http::requests::with_log;
use crate::run::{self, Engine};

pub(super) struct Own {
    config: Config,
    policies: Policies,
    engine: OnceCell<Engine>,
    concurrency: usize,
    /// The browser's own queue would count against a render's time.
    slots: Semaphore,
    scratch: TempDir,
}

impl Own {
    /// # Errors
    /// When there can be no folder for the browser.
    pub(super) fn new(config: Config) -> Result<Own, CliError> {
        let concurrency = config.sizing().concurrency;
        Ok(Own {
            policies: config.policies()?,
            engine: OnceCell::new(),
            concurrency,
            slots: Semaphore::new(concurrency),
            scratch: shot::scratch()?,
            config,
        })
    }

    /// What `POST /take` with these parameters would give.
    ///
    /// # Errors
    /// All that is wrong with them, or why the page could not be had.
    pub(super) async fn take(&self, parameters: Map<String, Json>) -> Result<Taken, Refusal> {
        let checked = shot::check(parameters, &self.policies)?;
        let _slot = self.slots.acquire().await.map_err(|_| Refusal("the server is stopping".to_owned()))?;
        // One that is dropped while it starts leaves no browser, and the next caller starts another.
        let start = || shot::start_engine(&self.config, &self.scratch, self.concurrency);
        let engine = self.engine.get_or_try_init(start).await.map_err(|error| Refusal(error.to_string()))?;
        let began = Instant::now();
        match shot::render(engine, &checked.options).await {
            Ok(artifact) => Ok(Taken {
                bytes: artifact.bytes,
                format: artifact.format,
                size: artifact.size,
                took: began.elapsed(),
                refused: artifact.refused.len(),
            }),
            Err(failure) => {
                // The agent may do what a page tells it to: of what is inside, it hears no more than a caller of the service.
                tracing::warn!(error = %failure, "a tool's render failed");
                Err(failure.problem.into())
            }
        }
    }

    /// What became of a request to the service whose settings these are, running or not.
    ///
    /// # Errors
    /// When there is no such request, or no such service.
    pub(super) async fn check(&self, id: &str) -> Result<Json, Refusal> {
        let embedded = self.config.database_url().is_none();
        if embedded && !self.config.data_dir.join(run::DATABASE).is_file() {
            let text =
                "no service keeps its requests here; start the server with --server, or with the service's settings";
            return Err(Refusal(text.to_owned()));
        }
        let queue = run::open_queue(&self.config).await.map_err(|error| Refusal(error.to_string()))?;
        let view = queue.request(id).await.map_err(|error| Refusal(error.to_string()))?;
        let view = view.ok_or_else(|| Problem::new(Code::NotFound))?;
        Ok(with_log(&view, &run::links(&self.config, self.config.http.listen), Clock::default().now_ms()))
    }

    /// Ends the browser, with whatever is open in it.
    pub(super) async fn stop(&self) {
        self.slots.close();
        if let Some(engine) = self.engine.get() {
            engine.renderer.stop().await;
        }
    }
}
