//! Requests that the operator tries out in the dashboard. They go the way of a caller's, limits and rules and all.

use async_trait::async_trait;
use snaphook_shared::code::Problem;
use snaphook_shared::request::RawRequest;

use super::pipeline::Rendered;

/// What became of a request. Those with an id are kept under it, like any other.
pub enum Trial {
    /// It is done, and its file is kept whatever the options say, so that it can be looked at.
    Rendered {
        id: String,
        rendered: Box<Rendered>,
        took_ms: u64,
    },
    /// It will be rendered in the background, as it asked for.
    Accepted {
        id: String,
    },
    Failed {
        id: String,
        problem: Problem,
        took_ms: u64,
    },
    /// It was not let through.
    Refused(Problem),
}

/// The way that requests go.
#[async_trait]
pub trait Trials: Send + Sync {
    /// Says what is wrong with a request, and renders nothing.
    ///
    /// # Errors
    /// The problem that a caller would be answered, with all details.
    async fn check(&self, raw: RawRequest) -> Result<(), Problem>;
    /// Renders it now. It counts for its key, and no answer is taken from the cache or put there.
    async fn run(&self, raw: RawRequest) -> Trial;
}
