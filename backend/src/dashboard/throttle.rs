//! How often somebody may try to sign in: pauses that grow with the failures, for each address and for all of them together.
//! Pure: the time is an argument.
//!
//! The pause of one address grows to a quarter of an hour. The one of all together stays at a few seconds: the password is no
//! one to be guessed at that pace. Whoever tries without end can still be quicker than the operator each time; `[dashboard]
//! listen` puts the door where strangers do not come.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

/// Failures without a pause.
const FREE_OF_ONE: u32 = 4;
const FREE_OF_ALL: u32 = 20;
const PAUSE_OF_ONE_MS_MAX: u64 = 15 * 60_000;
const PAUSE_OF_ALL_MS_MAX: u64 = 5_000;
/// After so long without a failure the earlier ones are forgotten.
const MEMORY_MS: u64 = 60 * 60_000;
/// Addresses that are remembered.
const ADDRESSES_MAX: usize = 10_000;

#[derive(Clone, Copy, Default)]
struct Failures {
    count: u32,
    last_ms: u64,
    free_from_ms: u64,
}

impl Failures {
    fn is_forgotten(&self, now_ms: u64) -> bool {
        now_ms >= self.last_ms.saturating_add(MEMORY_MS)
    }

    fn count(&mut self, now_ms: u64, free: u32, pause_ms_max: u64) {
        self.count = self.count.saturating_add(1);
        self.last_ms = now_ms;
        if self.count > free {
            let pause_ms = 1_000_u64.checked_shl(self.count - free - 1).filter(|ms| *ms > 0).unwrap_or(u64::MAX);
            self.free_from_ms = now_ms.saturating_add(pause_ms.min(pause_ms_max));
        }
    }
}

#[derive(Default)]
struct Counts {
    all: Failures,
    by_address: HashMap<IpAddr, Failures>,
}

/// Who has failed how often.
#[derive(Default)]
pub(super) struct Throttle(Mutex<Counts>);

impl Throttle {
    /// Lets somebody try, or says how many seconds they must wait. Whoever may try is counted as having failed until
    /// [`Throttle::succeeded`]: so many tries at once are as many failures.
    pub(super) fn enter(&self, address: Option<IpAddr>, now_ms: u64) -> Result<(), u64> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let address = network(address);
        if counts.all.is_forgotten(now_ms) {
            counts.all = Failures::default();
        }
        if counts.by_address.get(&address).is_some_and(|failures| failures.is_forgotten(now_ms)) {
            counts.by_address.remove(&address);
        }
        let of_one = counts.by_address.get(&address).map_or(0, |failures| failures.free_from_ms);
        let free_from_ms = of_one.max(counts.all.free_from_ms);
        if now_ms < free_from_ms {
            return Err((free_from_ms - now_ms).div_ceil(1000));
        }
        if counts.by_address.len() >= ADDRESSES_MAX && !counts.by_address.contains_key(&address) {
            make_room(&mut counts.by_address, now_ms);
        }
        let most_ms = if is_shared(address) { PAUSE_OF_ALL_MS_MAX } else { PAUSE_OF_ONE_MS_MAX };
        counts.by_address.entry(address).or_default().count(now_ms, FREE_OF_ONE, most_ms);
        counts.all.count(now_ms, FREE_OF_ALL, PAUSE_OF_ALL_MS_MAX);
        Ok(())
    }

    /// Forgets what this address has failed at.
    pub(super) fn succeeded(&self, address: Option<IpAddr>) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.by_address.remove(&network(address));
        counts.all.count = counts.all.count.saturating_sub(1);
    }
}

fn make_room(by_address: &mut HashMap<IpAddr, Failures>, now_ms: u64) {
    by_address.retain(|_, failures| !failures.is_forgotten(now_ms));
    if by_address.len() >= ADDRESSES_MAX
        && let Some(oldest) =
            by_address.iter().min_by_key(|(_, failures)| failures.last_ms).map(|(address, _)| *address)
    {
        by_address.remove(&oldest);
    }
}

/// Whether everybody may come from there, as from a proxy or the bridge of a container: then it gets the pace of all, or one
/// stranger would keep the operator out.
fn is_shared(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            address.is_loopback() || address.is_private() || address.is_link_local() || address.is_unspecified()
        }
        // `::1` is `::` by now.
        IpAddr::V6(address) => address.is_unspecified() || address.is_unique_local(),
    }
}

/// What one customer of a provider has: an IPv4 address, or 64 bits of an IPv6 one.
fn network(address: Option<IpAddr>) -> IpAddr {
    match address.map(|address| address.to_canonical()) {
        Some(IpAddr::V6(address)) => IpAddr::V6((address.to_bits() >> 64 << 64).into()),
        Some(address) => address,
        None => IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_795_262_430_000;

    fn address(number: u32) -> Option<IpAddr> {
        Some(IpAddr::V4(number.into()))
    }

    #[test]
    fn the_pause_of_an_address_grows_and_is_forgotten() {
        let throttle = Throttle::default();
        let mut now = NOW;
        for _ in 0..=FREE_OF_ONE {
            assert_eq!(throttle.enter(address(1), now), Ok(()));
        }
        let mut pauses = Vec::new();
        for _ in 0..12 {
            let seconds = throttle.enter(address(1), now).unwrap_err();
            if pauses.len() < 6 {
                assert_eq!(throttle.enter(address(2 + pauses.len() as u32), now), Ok(()), "others are free");
            }
            pauses.push(seconds);
            now += seconds * 1000;
            assert_eq!(throttle.enter(address(1), now), Ok(()));
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900]);
        assert_eq!(throttle.enter(address(1), now + 899_999), Err(1));
        now += MEMORY_MS;
        for _ in 0..FREE_OF_ONE {
            assert_eq!(throttle.enter(address(1), now), Ok(()));
        }
        throttle.succeeded(address(1));
        assert_eq!(throttle.enter(address(1), now), Ok(()));
    }

    #[test]
    fn many_addresses_together_are_slowed_down_and_nobody_is_kept_out_for_long() {
        let throttle = Throttle::default();
        let entered = (0..1000).filter(|number| throttle.enter(address(*number), NOW).is_ok()).count();
        assert_eq!(entered, FREE_OF_ALL as usize + 1);
        let mut entered = 0;
        for second in 1..=600 {
            for number in 0..100 {
                entered +=
                    u32::from(throttle.enter(address(second * 1000 + number), NOW + u64::from(second) * 1000).is_ok());
            }
        }
        assert!((115..=125).contains(&entered), "one in five seconds: {entered}");
        assert!(throttle.enter(address(9), NOW + 601_000).is_err_and(|seconds| seconds <= 5));
    }

    #[test]
    fn an_ipv6_network_is_one_address_and_memory_is_bounded() {
        let throttle = Throttle::default();
        let v6 = |text: &str| Some(text.parse::<IpAddr>().unwrap());
        for number in 0..=FREE_OF_ONE {
            assert_eq!(throttle.enter(v6(&format!("2001:db8::{number}")), NOW), Ok(()));
        }
        assert!(throttle.enter(v6("2001:db8::ffff"), NOW).is_err());
        assert!(throttle.enter(v6("2001:db8:0:1::1"), NOW).is_ok());
        for number in 0..ADDRESSES_MAX as u32 + 50 {
            let _ = throttle.enter(address(number), NOW + 10_000 + u64::from(number) * 6_000);
        }
        assert!(throttle.0.lock().unwrap().by_address.len() <= ADDRESSES_MAX);
    }
}
