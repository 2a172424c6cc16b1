//! Places for those who wait for their answer: so many, and a few more that one key cannot take from the others.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// How many synchronous requests may wait or render.
#[derive(Debug)]
pub struct Waiting {
    /// For whoever comes.
    common: usize,
    /// Beside them, for keys that hold no more than a few places.
    reserve: usize,
    held: Mutex<HashMap<String, usize>>,
}

/// A place that is held. Dropping it gives it back.
#[derive(Debug)]
pub(super) struct WaitingPlace<'a> {
    waiting: &'a Waiting,
    access_key: String,
}

impl Waiting {
    /// So many places for whoever comes; a quarter as many, and one at least, are held in reserve.
    pub fn new(common: usize) -> Waiting {
        Waiting { common, reserve: common.div_ceil(4).max(1), held: Mutex::default() }
    }

    /// None if there is no place for this key.
    pub(super) fn enter(&self, access_key: &str) -> Option<WaitingPlace<'_>> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let (taken, own) = (held.values().sum::<usize>(), held.get(access_key).copied().unwrap_or(0));
        let holds_few = own < self.reserve.div_ceil(4);
        let is_free = taken < self.common || (taken < self.common + self.reserve && holds_few);
        is_free.then(|| {
            held.insert(access_key.to_owned(), own + 1);
            WaitingPlace { waiting: self, access_key: access_key.to_owned() }
        })
    }
}

impl Drop for WaitingPlace<'_> {
    fn drop(&mut self) {
        let mut held = self.waiting.held.lock().unwrap_or_else(PoisonError::into_inner);
        match held.get_mut(&self.access_key) {
            Some(own) if *own > 1 => *own -= 1,
            _ => drop(held.remove(&self.access_key)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_takes_all_places_leaves_some_for_the_others() {
        let waiting = Waiting::new(64);
        let mut of_alice: Vec<_> = (0..64).map(|_| waiting.enter("alice").unwrap()).collect();
        assert!(waiting.enter("alice").is_none());
        let of_bob: Vec<_> = (0..4).map(|_| waiting.enter("bob").unwrap()).collect();
        assert!(waiting.enter("bob").is_none(), "nor is the reserve one key's");
        let of_others: Vec<_> = (0..12).map(|number| waiting.enter(&number.to_string()).unwrap()).collect();
        assert!(waiting.enter("carol").is_none(), "there are so many and no more");
        drop(of_others);
        of_alice.pop();
        assert!(waiting.enter("alice").is_none(), "others are in what is common");
        drop(of_bob);
        drop(waiting.enter("alice").unwrap());
        drop(of_alice);
        assert!(waiting.held.lock().unwrap().is_empty());
    }
}
