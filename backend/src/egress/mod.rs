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

pub use decide::{Decision, Egress, EgressResolver, Refusal, ResolveName, SystemResolver};
pub use proxy::{EgressProxy, FailedExchange, Failure, MARKER, ProxyLimits, Upstream};

#[cfg(test)]
pub(crate) mod testing {
    //! A resolver that knows only what a test tells it, and counts how often it is asked.

    use std::collections::HashMap;
    use std::io;
    use std::net::IpAddr;
    use std::sync::{Arc, Mutex};

    use async_trait::async_trait;

    use super::ResolveName;

    pub(crate) struct FakeResolver {
        answers: HashMap<String, Vec<Vec<IpAddr>>>,
        asked: Mutex<HashMap<String, usize>>,
    }

    impl FakeResolver {
        /// For each name its answers in turn, the last one for ever; an answer is addresses between spaces.
        pub(crate) fn new(zone: &[(&str, &[&str])]) -> Arc<FakeResolver> {
            let addresses = |answer: &&str| answer.split_whitespace().map(|address| address.parse().unwrap()).collect();
            let answers = zone.iter().map(|(name, turns)| ((*name).to_owned(), turns.iter().map(addresses).collect()));
            Arc::new(FakeResolver { answers: answers.collect(), asked: Mutex::default() })
        }

        pub(crate) fn asked(&self, name: &str) -> usize {
            self.asked.lock().unwrap().get(name).copied().unwrap_or(0)
        }

        pub(crate) fn total(&self) -> usize {
            self.asked.lock().unwrap().values().sum()
        }
    }

    #[async_trait]
    impl ResolveName for FakeResolver {
        async fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>> {
            let mut asked = self.asked.lock().unwrap();
            let turn = asked.entry(name.to_owned()).or_default();
            let turns = self.answers.get(name).ok_or(io::ErrorKind::NotFound)?;
            *turn += 1;
            Ok(turns[(*turn - 1).min(turns.len() - 1)].clone())
        }
    }
}
