//! Who waits, and who is next: the order of `claim_request` on PostgreSQL and of `NEXT` on SQLite.
//!
//! Of the keys with something due, the one with the fewest renders under way, then the one whose turn is the longest ago;
//! of that key, what is due first.

use std::collections::{BTreeSet, VecDeque};

/// Requests and keys by their numbers.
#[derive(Default)]
pub(super) struct Line {
    keys: Vec<Key>,
    /// Keys with something due, the next one first.
    open: BTreeSet<(u32, u64, usize)>,
    turns: u64,
    waiting: usize,
}

#[derive(Clone, Default)]
struct Key {
    due: VecDeque<usize>,
    rendering: u32,
    /// The number of its last turn.
    taken: u64,
}

impl Line {
    pub(super) fn new(keys: usize) -> Line {
        Line { keys: vec![Key::default(); keys], ..Line::default() }
    }

    /// Requests that are due.
    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Something of a key is due as of now.
    pub(super) fn push(&mut self, key: usize, request: usize) {
        self.change(key, |key| key.due.push_back(request));
        self.waiting += 1;
    }

    /// A request whose lease ran out is due as long as it was before.
    pub(super) fn give_back(&mut self, key: usize, request: usize) {
        self.change(key, |key| {
            key.rendering -= 1;
            key.due.push_front(request);
        });
        self.waiting += 1;
    }

    /// Leases the next request.
    pub(super) fn claim(&mut self) -> Option<usize> {
        let key = self.open.first()?.2;
        self.turns += 1;
        let turn = self.turns;
        let mut claimed = None;
        self.change(key, |key| {
            claimed = key.due.pop_front();
            key.rendering += 1;
            key.taken = turn;
        });
        self.waiting -= 1;
        claimed
    }

    /// A lease of a key ends, by whatever.
    pub(super) fn end(&mut self, key: usize) {
        self.change(key, |key| key.rendering -= 1);
    }

    fn change(&mut self, at: usize, change: impl FnOnce(&mut Key)) {
        let key = &mut self.keys[at];
        self.open.remove(&(key.rendering, key.taken, at));
        change(key);
        if !key.due.is_empty() {
            self.open.insert((key.rendering, key.taken, at));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use snaphook::domain::job::{NewRequest, Outcome};
    use snaphook::domain::operator::{NewKey, Operator};
    use snaphook::domain::ports::JobQueue;
    use snaphook::queue::secrets::RootKey;
    use snaphook::queue::sqlite::SqliteQueue;
    use snaphook_shared::id::request_id;
    use snaphook_shared::options::model::Options;
    use snaphook_shared::request::Endpoint;

    use super::*;
    use crate::simulate::dice::Dice;

    const KEYS: usize = 6;
    const NOW: u64 = 1_764_000_000_000;

    fn request(number: usize, key: usize) -> NewRequest {
        let made = NOW + number as u64;
        NewRequest {
            id: request_id(made, [0; 10]),
            access_key: format!("key{key}"),
            endpoint: Endpoint::Take,
            options: Options::default(),
            idempotency_key: None,
            urgency: Default::default(),
            fingerprint: String::new(),
            created_ms: made,
            traceparent: None,
        }
    }

    /// The real queue and the line get the same requests, claims and ends in the same order, and must say the same.
    #[tokio::test(flavor = "multi_thread")]
    async fn requests_are_claimed_in_the_order_of_the_real_queue() {
        let folder = tempfile::tempdir().unwrap();
        let root_key = RootKey::load("", folder.path()).unwrap();
        let queue = SqliteQueue::open(&folder.path().join("queue.db"), root_key, 1_000_000).unwrap();
        for key in 0..KEYS {
            queue.add_key(NewKey::unlimited(format!("key{key}"), "secret"), NOW).await.unwrap();
        }
        let (mut line, mut dice) = (Line::new(KEYS), Dice::new(11));
        let (mut made, mut claims) = (Vec::new(), 0);
        let mut leased: Vec<usize> = Vec::new();
        for _ in 0..3_000 {
            match dice.below(3) {
                0 => {
                    // The first keys ask more often.
                    let key = dice.below(KEYS).min(dice.below(KEYS));
                    queue.accept(request(made.len(), key)).await.unwrap();
                    line.push(key, made.len());
                    made.push(key);
                }
                1 => {
                    let claimed = queue.claim("worker", NOW + 1_000_000, NOW + 2_000_000).await.unwrap();
                    let ours = line.claim();
                    let expected = ours.map(|number| request(number, 0).id);
                    assert_eq!(claimed.map(|claimed| claimed.request.id), expected, "claim {claims}");
                    claims += usize::from(ours.is_some());
                    leased.extend(ours);
                }
                _ if leased.is_empty() => {}
                _ => {
                    let number = leased.swap_remove(dice.below(leased.len()));
                    let outcome = Outcome::Done { file: None, parts: Vec::new(), render_ms: 1, refused: Vec::new() };
                    let id = request(number, 0).id;
                    assert!(queue.finish(&id, "worker", NOW, outcome, None).await.unwrap());
                    line.end(made[number]);
                }
            }
        }
        let by_key = made.iter().fold(HashMap::<usize, usize>::new(), |mut by_key, key| {
            *by_key.entry(*key).or_default() += 1;
            by_key
        });
        assert!(claims > 500 && by_key.len() == KEYS, "{claims} claims, {by_key:?}");
    }
}
