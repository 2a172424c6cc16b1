//! Error codes: one entry says the name on the wire, the status in each dialect, the text and the page that explains it.
//!
//! Names, statuses and slugs are ScreenshotOne's (its published error list); the ones marked *ours* do not exist there.

/// Every way a request can be refused or fail, as its caller sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Code {
    AccessKeyRequired,
    AccessKeyInvalid,
    SignatureIsRequired,
    SignatureIsNotValid,
    RequestNotValid,
    RequestBodyTooLarge,
    ConcurrencyLimitReached,
    ScreenshotsLimitReached,
    NameNotResolved,
    NetworkError,
    HostReturnedError,
    HostRequiresAuthentication,
    TimeoutError,
    SelectorNotFound,
    ScriptTriggersRedirect,
    ContentContainsSpecifiedString,
    ContentMissingSpecifiedString,
    MatchedFailedRequest,
    InvalidCookieParameter,
    InvalidHeaderParameter,
    InvalidStorageConfiguration,
    StorageAccessDenied,
    StorageReturnedTransientError,
    ResultingImageTooLarge,
    RequestAborted,
    InternalApplicationError,
    TemporaryUnavailable,
    /// Ours: the page, or where it leads, is not on the public internet.
    TargetNotAllowed,
    /// Ours: the browser gave up on the page (crash, out of memory).
    PageCrashed,
    /// There is no encoder for videos on this machine.
    VideoNotAvailable,
    /// Ours: the same `Idempotency-Key` came with another request.
    IdempotencyKeyReused,
    /// Ours: no such route, request or file.
    NotFound,
    /// Ours: the route exists, the method does not.
    MethodNotAllowed,
    /// Ours: a body that is neither JSON nor absent.
    UnsupportedMediaType,
    /// Ours: the query string is too long.
    UriTooLong,
    /// Ours: the file was there and its time is over.
    Gone,
    /// Ours: the caller cannot wait any longer at the edge; the work goes on as a job.
    StillRendering,
}

/// What is fixed about a code.
pub struct Entry {
    /// `error_code` on the wire.
    pub name: &'static str,
    /// HTTP status in the ScreenshotOne dialect, which answers limits and authentication with 400.
    pub status: u16,
    /// HTTP status in the ScreenshotMAX and the native dialect.
    pub status_plain: u16,
    /// Last part of the documentation link.
    pub slug: &'static str,
    /// What the caller reads. It never tells what is inside the operator's network.
    pub text: &'static str,
}

const fn entry(name: &'static str, status: u16, status_plain: u16, slug: &'static str, text: &'static str) -> Entry {
    Entry { name, status, status_plain, slug, text }
}

impl Code {
    /// All codes, in the order of the documentation.
    pub const ALL: [Code; 37] = [
        Code::AccessKeyRequired,
        Code::AccessKeyInvalid,
        Code::SignatureIsRequired,
        Code::SignatureIsNotValid,
        Code::RequestNotValid,
        Code::RequestBodyTooLarge,
        Code::ConcurrencyLimitReached,
        Code::ScreenshotsLimitReached,
        Code::NameNotResolved,
        Code::NetworkError,
        Code::HostReturnedError,
        Code::HostRequiresAuthentication,
        Code::TimeoutError,
        Code::SelectorNotFound,
        Code::ScriptTriggersRedirect,
        Code::ContentContainsSpecifiedString,
        Code::ContentMissingSpecifiedString,
        Code::MatchedFailedRequest,
        Code::InvalidCookieParameter,
        Code::InvalidHeaderParameter,
        Code::InvalidStorageConfiguration,
        Code::StorageAccessDenied,
        Code::StorageReturnedTransientError,
        Code::ResultingImageTooLarge,
        Code::RequestAborted,
        Code::InternalApplicationError,
        Code::TemporaryUnavailable,
        Code::TargetNotAllowed,
        Code::PageCrashed,
        Code::VideoNotAvailable,
        Code::IdempotencyKeyReused,
        Code::NotFound,
        Code::MethodNotAllowed,
        Code::UnsupportedMediaType,
        Code::UriTooLong,
        Code::Gone,
        Code::StillRendering,
    ];

    /// The code of this wire name.
    pub fn from_name(name: &str) -> Option<Code> {
        Code::ALL.into_iter().find(|code| code.entry().name == name)
    }

    /// What is fixed about this code.
    #[rustfmt::skip]
    pub const fn entry(self) -> Entry {
        match self {
            Code::AccessKeyRequired => entry("access_key_required", 400, 401, "access-key-required",
                "No access key was given. Send it as the `access_key` parameter or in the `X-Access-Key` header."),
            Code::AccessKeyInvalid => entry("access_key_invalid", 400, 401, "access-key-invalid",
                "The access key is unknown or no longer valid."),
            Code::SignatureIsRequired => entry("signature_is_required", 400, 401, "signature-is-required",
                "This access key accepts signed links only, and the link has no `signature`."),
            Code::SignatureIsNotValid => entry("signature_is_not_valid", 400, 401, "signature-is-invalid",
                "The `signature` does not fit the query string as it was sent. Sign the raw query, unsorted, with your secret key."),
            Code::RequestNotValid => entry("request_not_valid", 400, 400, "request-invalid",
                "Some parameters are not valid; `error_details` lists each of them."),
            Code::RequestBodyTooLarge => entry("request_body_too_large", 413, 413, "request-body-too-large",
                "The request body is larger than the 5 MiB that are accepted."),
            Code::ConcurrencyLimitReached => entry("concurrency_limit_reached", 400, 429, "concurrency-limit-reached",
                "Too many requests at once for this access key. Try again after the time in `Retry-After`."),
            Code::ScreenshotsLimitReached => entry("screenshots_limit_reached", 400, 429, "usage-quota-exceeded",
                "The quota of this access key is used up."),
            Code::NameNotResolved => entry("name_not_resolved", 400, 400, "name-not-resolved",
                "The host name of the page could not be resolved."),
            Code::NetworkError => entry("network_error", 500, 500, "network-error",
                "The connection to the page failed."),
            Code::HostReturnedError => entry("host_returned_error", 500, 500, "host-returned-error",
                "The page answered with a status outside 200-299. Set `ignore_host_errors=true` to take it all the same."),
            Code::HostRequiresAuthentication => entry("host_requires_authentication", 400, 400, "host-requires-authentication",
                "The page asks for credentials. Send them in the `authorization` option."),
            Code::TimeoutError => entry("timeout_error", 500, 500, "timeout",
                "The picture was not ready within the `timeout`."),
            Code::SelectorNotFound => entry("selector_not_found", 400, 400, "selector-not-found",
                "No element of the page matches the selector."),
            Code::ScriptTriggersRedirect => entry("script_triggers_redirect", 400, 400, "script-triggers-redirect",
                "The injected script led the page elsewhere. Say with `scripts_wait_until` what to wait for."),
            Code::ContentContainsSpecifiedString => entry("content_contains_specified_string", 500, 500, "content-contains-specified-string",
                "The page contains a text of `fail_if_content_contains`."),
            Code::ContentMissingSpecifiedString => entry("content_missing_specified_string", 500, 500, "content-missing-specified-string",
                "The page lacks a text of `fail_if_content_missing`."),
            Code::MatchedFailedRequest => entry("matched_failed_request", 500, 500, "matched-failed-request",
                "A request that matches `fail_if_request_failed` failed."),
            Code::InvalidCookieParameter => entry("invalid_cookie_parameter", 400, 400, "invalid-cookie-parameter",
                "A cookie is not of the form `name=value; Attribute=…`."),
            Code::InvalidHeaderParameter => entry("invalid_header_parameter", 400, 400, "invalid-header-parameter",
                "A header is not of the form `Name:Value`."),
            Code::InvalidStorageConfiguration => entry("invalid_storage_configuration", 400, 400, "invalid-storage-configuration",
                "The storage that was given cannot be used as it is configured."),
            Code::StorageAccessDenied => entry("storage_access_denied", 400, 400, "storage-access-denied",
                "The storage refused the upload."),
            Code::StorageReturnedTransientError => entry("storage_returned_transient_error", 500, 500, "storage-returned-transient-error",
                "The storage could not take the file, and further tries did not help."),
            Code::ResultingImageTooLarge => entry("resulting_image_too_large", 400, 400, "resulting-image-too-large",
                "The picture would be larger than its format allows (WebP 16,383, JPEG and GIF 65,535, AVIF 65,536 pixels a side; AVIF 16 million in all)."),
            Code::RequestAborted => entry("request_aborted", 500, 500, "request-aborted",
                "The request was cancelled before it was finished."),
            Code::InternalApplicationError => entry("internal_application_error", 500, 500, "internal-application-error",
                "Something went wrong on our side. The request id helps the operator to find it in the log."),
            Code::TemporaryUnavailable => entry("temporary_unavailable", 503, 503, "temporary-unavailable",
                "The service cannot take the request now. Nothing was accepted; try again after the time in `Retry-After`."),
            Code::TargetNotAllowed => entry("target_not_allowed", 400, 400, "target-not-allowed",
                "The address is not on the public internet, so it is not opened."),
            Code::PageCrashed => entry("page_crashed", 500, 500, "page-crashed",
                "The page crashed the renderer more than once."),
            Code::VideoNotAvailable => entry("video_not_available", 503, 503, "video-not-available",
                "This installation makes no videos: ffmpeg is not installed on it. Pictures are not affected."),
            Code::IdempotencyKeyReused => entry("idempotency_key_reused", 422, 422, "idempotency-key-reused",
                "This `Idempotency-Key` was already used for another request."),
            Code::NotFound => entry("not_found", 404, 404, "not-found", "There is nothing at this address."),
            Code::MethodNotAllowed => entry("method_not_allowed", 405, 405, "method-not-allowed",
                "This address does not answer to that method."),
            Code::UnsupportedMediaType => entry("unsupported_media_type", 415, 415, "unsupported-media-type",
                "The body must be JSON (`Content-Type: application/json`)."),
            Code::UriTooLong => entry("uri_too_long", 414, 414, "uri-too-long",
                "The query string is longer than 16 KiB. Send long values in a POST body."),
            Code::Gone => entry("file_expired", 410, 410, "file-expired", "The file is past its time and was removed."),
            Code::StillRendering => entry("still_rendering", 504, 504, "still-rendering",
                "The page takes longer than the connection can be held. It is rendered all the same: look at `status_url`."),
        }
    }
}

/// One thing that is wrong, in the words of ScreenshotOne's validator where it has words for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Detail {
    /// The parameter as the caller wrote it; empty where no single one is to blame.
    pub parameter: String,
    pub message: String,
}

/// A refusal or failure, before a dialect gives it its shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub code: Code,
    /// All that is wrong, not only the first; validation alone fills it.
    pub details: Vec<Detail>,
    /// The status the page's host answered, with `host_returned_error`.
    pub returned_status_code: Option<u16>,
    /// Seconds for the `Retry-After` header.
    pub retry_after: Option<u32>,
    /// What the address does answer to, with `method_not_allowed`.
    pub allow: Option<&'static [&'static str]>,
    /// The id under which the work goes on, with `still_rendering`, and where to see how it is.
    pub job: Option<Box<Job>>,
}

/// A request that goes on without its caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    pub id: String,
    pub status_url: String,
}

impl Problem {
    pub fn new(code: Code) -> Problem {
        Problem { code, details: Vec::new(), returned_status_code: None, retry_after: None, allow: None, job: None }
    }

    /// A refusal with one detail, for what is found before or after validation proper.
    pub fn with_detail(code: Code, parameter: &str, message: impl Into<String>) -> Problem {
        let detail = Detail { parameter: parameter.to_owned(), message: message.into() };
        Problem { details: vec![detail], ..Problem::new(code) }
    }

    /// The refusal of a method, with those that there are.
    pub fn method_not_allowed(allow: &'static [&'static str]) -> Problem {
        Problem { allow: Some(allow), ..Problem::new(Code::MethodNotAllowed) }
    }

    /// All that is wrong in one text, or the code's own text where there is nothing particular to say.
    pub fn message(&self) -> String {
        match self.details.as_slice() {
            [] => self.code.entry().text.to_owned(),
            details => details.iter().map(|detail| detail.message.as_str()).collect::<Vec<_>>().join("; "),
        }
    }

    /// The refusal of a service that is away or full.
    pub fn unavailable() -> Problem {
        Problem { retry_after: Some(crate::limits::RETRY_AFTER_SECONDS), ..Problem::new(Code::TemporaryUnavailable) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_slugs_are_unique_and_found_again() {
        for code in Code::ALL {
            assert_eq!(Code::from_name(code.entry().name), Some(code));
            assert_eq!(Code::ALL.iter().filter(|other| other.entry().slug == code.entry().slug).count(), 1);
        }
    }
}
