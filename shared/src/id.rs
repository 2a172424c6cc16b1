//! Request ids: `req_` and 32 hexadecimal digits, the first twelve of which are the time, so that ids sort by age.

/// Builds an id from a Unix time in milliseconds and ten random bytes, both of which the caller brings.
pub fn request_id(now_ms: u64, random: [u8; 10]) -> String {
    let time = now_ms.to_be_bytes();
    let mut id = String::from("req_");
    id.push_str(&hex::encode(time.get(2..).unwrap_or_default()));
    id.push_str(&hex::encode(random));
    id
}

/// Whether a text is such an id.
pub fn is_request_id(text: &str) -> bool {
    text.strip_prefix("req_").is_some_and(|digits| {
        digits.len() == 32 && digits.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_sort_by_time_and_are_recognised() {
        let early = request_id(1_700_000_000_000, [0xff; 10]);
        let late = request_id(1_700_000_000_001, [0; 10]);
        assert!(early < late);
        assert!(is_request_id(&early) && !is_request_id("req_1") && !is_request_id(&early.to_uppercase()));
    }
}
