//! How urgent a request is beside others of its key: the `Priority` header of RFC 9218.

/// 0 is served first, 7 last; 3 is what holds where nothing is said (RFC 9218, section 4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Urgency(u8);

impl Default for Urgency {
    fn default() -> Urgency {
        Urgency(3)
    }
}

impl Urgency {
    /// What is served last.
    pub const LAST: Urgency = Urgency(7);

    /// None for a number that is no urgency.
    pub fn new(level: u8) -> Option<Urgency> {
        (level <= Urgency::LAST.0).then_some(Urgency(level))
    }

    /// 0 to 7.
    pub const fn level(self) -> u8 {
        self.0
    }

    /// Reads `u=1, i`. What is malformed or unknown counts as not said, as the RFC wants it: browsers and proxies send this
    /// header by themselves, and a request never fails for it.
    pub fn of_header(priority: Option<&str>) -> Urgency {
        let members = priority.unwrap_or_default().split(',').filter_map(|member| member.trim().split_once('='));
        // A member may have parameters, and of those with the same name the last one holds (RFC 8941, section 3.2).
        let last = members.rev().find(|(name, _)| *name == "u");
        let level = last.and_then(|(_, value)| value.split(';').next()?.trim_end().parse().ok());
        level.and_then(Urgency::new).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_is_read_as_the_rfc_says() {
        let level = |text: &str| Urgency::of_header(Some(text)).level();
        for (text, expected) in
            [("u=0", 0), ("u=7", 7), ("u=1, i", 1), ("i,u=5", 5), ("u=2;x=1", 2), ("u=1,u=6", 6), (" u=4 ", 4)]
        {
            assert_eq!(level(text), expected, "{text}");
        }
        for text in ["", "u", "u=", "u=8", "u=-1", "u=1.5", "u=256", "i", "U=1", "urgent", "=1", ",,,"] {
            assert_eq!(level(text), 3, "{text}");
        }
        assert_eq!(Urgency::of_header(None), Urgency::default());
    }
}
