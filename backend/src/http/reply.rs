//! From values to HTTP answers.

use http::{HeaderName, HeaderValue, StatusCode};
use snaphook_shared::code::Problem;
use snaphook_shared::dialect::{self, Dialect, Reply};

use super::Response;
use crate::domain::notice::Links;
use crate::metrics;

/// An answer of `shared` as one of warp.
pub(super) fn from_shared(reply: Reply) -> Response {
    let mut response = Response::new(reply.body.into());
    *response.status_mut() = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in reply.headers {
        set(&mut response, name, &value);
    }
    response
}

pub(super) fn problem(dialect: Dialect, problem: &Problem, links: &Links) -> Response {
    metrics::get().told(problem.code);
    from_shared(dialect::error(dialect, problem, &links.error_docs()))
}

/// Sets a header. A value that cannot be one is left out: no text of a page or a caller may break an answer.
pub(super) fn set(response: &mut Response, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(HeaderName::from_static(name), value);
    }
}

/// `attachment; filename=…` with the name in ASCII for old clients and in UTF-8 for all others (RFC 6266).
pub(super) fn attachment(name: &str) -> String {
    let ascii: String =
        name.chars().map(|c| if c.is_ascii_graphic() && c != '"' && c != '\\' { c } else { '_' }).collect();
    let utf8 = percent_encoding::utf8_percent_encode(name, percent_encoding::NON_ALPHANUMERIC);
    format!("attachment; filename=\"{ascii}\"; filename*=UTF-8''{utf8}")
}

#[cfg(test)]
mod tests {
    #[test]
    fn an_attachment_name_cannot_break_out_of_its_header() {
        let header = super::attachment("a\"b\r\nx: y é.png");
        assert!(header.is_ascii() && !header.contains(['\r', '\n']));
        assert!(
            header.starts_with("attachment; filename=\"a_b__x:_y__.png\"; filename*=UTF-8''a%22b%0D%0A"),
            "{header}"
        );
    }
}
