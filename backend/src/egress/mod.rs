//! The one way out: whatever leaves this process for a host that somebody else named goes by a decision made here.
//!
//! [`decide`] turns a host and a port into addresses that were resolved once and judged, or into a refusal; the addresses
//! judged are the ones dialled, so a second DNS answer has nobody to deceive. [`proxy`] is the way out for the browser,
//! which would otherwise dial by itself. Webhooks and uploads go by [`EgressResolver`].
//!
//! Nothing here follows redirects, retries, or caches names; and no address is dialled that was not judged for that very
//! connection.

mod decide;
mod proxy;

use std::sync::Arc;

pub use decide::{Decision, Egress, EgressResolver, Refusal, ResolveName, SystemResolver};
pub use proxy::{EgressProxy, FailedExchange, Failure, MARKER, ProxyLimits, Upstream};

/// The resolver to use: the system's, unless a test of a debug build has put a zone of its own in `SNAPHOOK_ZONE`.
pub fn resolver() -> Arc<dyn ResolveName> {
    #[cfg(debug_assertions)]
    if let Ok(zone) = std::env::var("SNAPHOOK_ZONE") {
        return testing::FakeResolver::from_text(&zone);
    }
    Arc::new(SystemResolver::default())
}

#[cfg(any(test, debug_assertions))]
pub(crate) mod testing;
