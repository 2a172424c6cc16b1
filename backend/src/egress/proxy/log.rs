//! What did not pass, so that somebody can say why.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use snaphook_shared::target::Host;

use super::Failure;

/// Targets remembered, each with the way it failed.
const ENTRIES_MAX: usize = 256;

/// Exchanges that failed alike. A tunnel that fails is only `ERR_TUNNEL_CONNECTION_FAILED` to Chromium; this is why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedExchange {
    pub host: Host,
    pub port: u16,
    pub failure: Failure,
    pub count: u32,
    /// The latest.
    pub at: Instant,
}

/// Bounded, whatever a page does. What was refused is forgotten only for what is refused: a page cannot hide where it wanted
/// to go behind names that do not exist.
#[derive(Debug, Default)]
pub(super) struct FailureLog(Mutex<Vec<FailedExchange>>);

impl FailureLog {
    pub(super) fn note(&self, host: &Host, port: u16, failure: Failure) {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = Instant::now();
        let alike = |entry: &&mut FailedExchange| entry.port == port && entry.failure == failure && entry.host == *host;
        if let Some(entry) = entries.iter_mut().find(alike) {
            (entry.count, entry.at) = (entry.count.saturating_add(1), at);
            return;
        }
        if entries.len() >= ENTRIES_MAX {
            let oldest_of = |refused: bool| {
                let of_kind =
                    entries.iter().enumerate().filter(|(_, entry)| (entry.failure == Failure::Refused) == refused);
                of_kind.min_by_key(|(_, entry)| entry.at).map(|(index, _)| index)
            };
            match oldest_of(false).or_else(|| oldest_of(true).filter(|_| failure == Failure::Refused)) {
                Some(index) => drop(entries.remove(index)),
                None => return,
            }
        }
        entries.push(FailedExchange { host: host.clone(), port, failure, count: 1, at });
    }

    /// Those that happened since, in the order in which they first did.
    pub(super) fn since(&self, instant: Instant) -> Vec<FailedExchange> {
        let entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        entries.iter().filter(|entry| entry.at >= instant).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: String) -> Host {
        Host::Name(text)
    }

    #[test]
    fn a_refusal_is_not_pushed_out_by_what_else_fails() {
        let (log, began) = (FailureLog::default(), Instant::now());
        let metadata = Host::V4([169, 254, 169, 254].into());
        log.note(&metadata, 80, Failure::Refused);
        for number in 0..1000 {
            log.note(&name(format!("{number}.example")), 443, Failure::NameNotResolved);
        }
        log.note(&metadata, 80, Failure::Refused);
        let entries = log.since(began);
        assert_eq!(entries.len(), ENTRIES_MAX);
        assert_eq!((&entries[0].host, entries[0].failure, entries[0].count), (&metadata, Failure::Refused, 2));
        assert_eq!(entries[255].host, name("999.example".to_owned()), "of the others the latest");
    }

    #[test]
    fn the_log_is_bounded_by_refusals_too() {
        let (log, began) = (FailureLog::default(), Instant::now());
        for number in 0..1000 {
            log.note(&name(format!("{number}.example")), 443, Failure::Refused);
        }
        log.note(&name("other.example".to_owned()), 443, Failure::TimedOut);
        let entries = log.since(began);
        assert_eq!((entries.len(), &entries[255].host), (ENTRIES_MAX, &name("999.example".to_owned())));
    }
}
