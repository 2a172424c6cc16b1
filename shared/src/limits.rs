//! Every number that the edge and the backend enforce alike. The unit is last in the name.

/// A request body: HTML and Markdown sources travel in it.
pub const BODY_BYTES_MAX: usize = 5 * 1024 * 1024;
/// The raw query string of a GET request; Workers accept URLs of 16 KiB.
pub const QUERY_BYTES_MAX: usize = 16 * 1024;
/// An access key, wherever it is given.
pub const ACCESS_KEY_CHARACTERS_MAX: usize = 64;
/// A secret key that is brought from elsewhere.
pub const SECRET_KEY_CHARACTERS_MAX: usize = 512;
/// The `Idempotency-Key` header.
pub const IDEMPOTENCY_KEY_CHARACTERS_MAX: usize = 255;
/// A task's name, as the vendor has it.
pub const TASK_NAME_CHARACTERS_MAX: usize = 100;
/// Tasks of one access key: their list is not divided into pages.
pub const TASKS_MAX: u32 = 1000;
/// Validation stops collecting after this many errors, so that a hostile body cannot make a huge answer.
pub const ERRORS_MAX: usize = 50;
/// What a refusal for overload asks the caller to wait.
pub const RETRY_AFTER_SECONDS: u32 = 5;
/// What a usage report says of a key without a limit: the vendors' fields are numbers, and their clients calculate.
pub const UNLIMITED_SHOWN: u64 = 1_000_000_000;
/// One viewport side in CSS pixels; above it Chromium's compositor fails rather than renders.
pub const VIEWPORT_PIXELS_MAX: i64 = 16_384;
/// A video: one side, and all of a frame, in device pixels. Above it an encoder takes minutes for seconds.
pub const VIDEO_SIDE_PIXELS_MAX: u32 = 4_096;
pub const VIDEO_PIXELS_MAX: u32 = 4_096 * 2_304;
