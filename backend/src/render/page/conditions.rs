//! What of the page makes the caller do without a picture.

use snaphook_shared::code::Code;

use super::Page;
use crate::domain::failure::Failure;

impl Page<'_> {
    /// Whether a request failed that must not.
    pub(super) fn check_requests(&self) -> Result<(), Failure> {
        match self.watcher.now().failed_request {
            Some(url) => Err(Failure::new(Code::MatchedFailedRequest, format!("{url} failed"))),
            None => Ok(()),
        }
    }

    pub(super) async fn check_content(&self) -> Result<(), Failure> {
        let conditions = &self.options.fail;
        if conditions.content_contains.is_empty() && conditions.content_missing.is_empty() {
            return Ok(());
        }
        let text: String = self.evaluate("document.documentElement ? document.documentElement.innerText : ''").await?;
        let text = text.to_lowercase();
        if conditions.content_contains.iter().any(|needle| text.contains(&needle.to_lowercase())) {
            return Err(Failure::new(Code::ContentContainsSpecifiedString, "a text that must not be there is"));
        }
        if conditions.content_missing.iter().any(|needle| !text.contains(&needle.to_lowercase())) {
            return Err(Failure::new(Code::ContentMissingSpecifiedString, "a text that must be there is not"));
        }
        Ok(())
    }
}
