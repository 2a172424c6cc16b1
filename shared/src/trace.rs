//! W3C Trace Context: what a `traceparent` header may be. Whatever else stands there is as if nothing did.

/// The header, in lower case.
pub const TRACEPARENT: &str = "traceparent";

/// The parts of a `traceparent` of version 00: trace id, parent id and flags, each lower-case hex digits of fixed length.
///
/// None for any other text; also for ids of zeros only, which the standard calls invalid.
pub fn parts(text: &str) -> Option<(&str, &str, &str)> {
    let mut parts = text.split('-');
    let (version, trace, parent, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let is_hex = |part: &str| part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let is_zero = |part: &str| part.bytes().all(|byte| byte == b'0');
    let lengths = (trace.len(), parent.len(), flags.len());
    let holds = parts.next().is_none()
        && version == "00"
        && lengths == (32, 16, 2)
        && [trace, parent, flags].into_iter().all(is_hex)
        && !is_zero(trace)
        && !is_zero(parent);
    holds.then_some((trace, parent, flags))
}

#[cfg(test)]
mod tests {
    use super::parts;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const PARENT: &str = "00f067aa0ba902b7";

    #[test]
    fn only_what_the_standard_calls_valid_is_read() {
        let valid = format!("00-{TRACE}-{PARENT}-01");
        assert_eq!(parts(&valid), Some((TRACE, PARENT, "01")));
        for text in [
            "",
            "00",
            "00---",
            &valid.to_uppercase(),
            &valid.replace('-', "_"),
            &format!("{valid}-x"),
            &format!(" {valid}"),
            &format!("01-{TRACE}-{PARENT}-01"),
            &format!("ff-{TRACE}-{PARENT}-01"),
            &format!("00-{TRACE}-{PARENT}-1"),
            &format!("00-{PARENT}-{TRACE}-01"),
            &format!("00-{}-{PARENT}-01", "0".repeat(32)),
            &format!("00-{TRACE}-{}-01", "0".repeat(16)),
            &format!("00-{TRACE}-{}-01", "ä".repeat(8)),
        ] {
            assert_eq!(parts(text), None, "{text}");
        }
    }
}
