//! How many requests may wait, and how many of them may be one key's.

/// The most requests that may wait (`[queue] capacity`).
///
/// In the last tenth a key gets a place only while it has less waiting than there are places left. So who bursts fills nine tenths, who
/// bursts beside it half of what is left, and the others are still let in. Of less than ten nothing is kept.
#[derive(Clone, Copy, Debug)]
pub struct Capacity {
    all: u64,
}

impl Capacity {
    pub const fn new(all: u64) -> Capacity {
        Capacity { all }
    }

    /// As many as may wait whosoever they are: below this nobody needs to ask how many a key has.
    pub const fn unreserved(self) -> u64 {
        self.all - self.share()
    }

    /// How much is kept. A key with as many waiting gets nothing of it.
    pub const fn share(self) -> u64 {
        self.all / 10
    }

    /// Whether one more request of a key may wait, of which `own` do.
    pub const fn has_room(self, queued: u64, own: u64) -> bool {
        queued < self.unreserved() || own < self.all.saturating_sub(queued)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_tenth_is_for_those_who_have_little_waiting() {
        let capacity = Capacity::new(100);
        assert!(capacity.has_room(89, 89), "who is alone has nine tenths");
        assert!(!capacity.has_room(90, 10) && !capacity.has_room(99, 90));
        assert!(capacity.has_room(90, 9) && capacity.has_room(94, 4) && capacity.has_room(99, 0));
        assert!(!capacity.has_room(95, 5) && !capacity.has_room(99, 1), "half of what is left, and no more");
        assert!(!capacity.has_room(100, 0), "full is full");
    }

    #[test]
    fn a_small_queue_keeps_nothing() {
        for all in 1..10 {
            assert!(Capacity::new(all).has_room(all - 1, all - 1));
            assert!(!Capacity::new(all).has_room(all, 0));
        }
    }
}
