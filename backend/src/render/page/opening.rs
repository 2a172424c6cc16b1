//! The way to the page's document, and what its host had to say.

use std::time::Duration;

use chromiumoxide::cdp::browser_protocol::fetch::EnableParams as FetchEnableParams;
use chromiumoxide::cdp::browser_protocol::page::NavigateParams;
use chromiumoxide::cdp::js_protocol::runtime::EvaluateParams;
use snaphook_shared::code::Code;
use snaphook_shared::options::model::{Medium, Options, WaitUntil};
use snaphook_shared::secret::Secret;
use snaphook_shared::target::{NativeUrlParser, ParseUrl};

use super::{Order, Page, crashed};
use crate::domain::failure::Failure;
use crate::render::events::{MainResponse, Opened};

/// Chromium's word for a navigation that was given up.
const ABORTED: &str = "net::ERR_ABORTED";
/// The origin of HTML that has no address of its own. `.invalid` never resolves, so nothing else can live there.
pub(super) const HTML_ADDRESS: &str = "https://html.snaphook.invalid/";

impl Page<'_> {
    /// Prepares the page and lets it begin, and judges the host's answer.
    pub(super) async fn open(&mut self, intercept: Option<FetchEnableParams>) -> Result<(), Failure> {
        let orders = self.prepare(intercept)?;
        if self.tab.is_led {
            futures::future::try_join_all(orders).await?;
            self.navigate(address(self.options)).await?;
        } else {
            self.begin(orders).await?;
        }
        if self.options.source.url.is_none() {
            return Ok(());
        }
        let seen = self.watcher.until(|state| state.main.is_some()).await;
        if seen.crashed {
            return Err(crashed());
        }
        let Some(main) = seen.main else { return Ok(()) };
        judge_egress(&main)?;
        if (200..300).contains(&main.status) || self.options.fail.ignore_host_errors {
            return Ok(());
        }
        let code = match main.status {
            401 => Code::HostRequiresAuthentication,
            _ => Code::HostReturnedError,
        };
        let mut failure = Failure::new(code, format!("the host answered {}", main.status));
        failure.problem.returned_status_code = Some(main.status);
        Err(failure)
    }

    /// Sees a page that was made at its address through to its document.
    async fn begin(&mut self, orders: Vec<Order>) -> Result<(), Failure> {
        let opening = async {
            futures::future::try_join_all(orders).await?;
            Ok(self.watcher.until(|state| state.opening().is_some()).await)
        };
        let opened =
            tokio::time::timeout(navigation_limit(self.options), opening).await.map_err(|_| unanswered())??;
        if opened.opening() == Some(Err(ABORTED)) {
            self.still_there().await?;
        }
        match opened.opening() {
            Some(Ok(loader)) => self.opened.loader = loader.to_owned(),
            // What has no page to show, and is said to have one, is there to be kept.
            Some(Err(ABORTED)) if opened.main.as_ref().is_some_and(|main| ![204, 205].contains(&main.status)) => {
                return Err(download());
            }
            // The proxy's own refusal of a plain request is a document, and is judged below; this is all the rest.
            Some(Err(error)) => return Err(navigation_failure(error)),
            None => return Err(crashed()),
        }
        Ok(())
    }

    async fn navigate(&mut self, address: &str) -> Result<(), Failure> {
        // What we tell the browser to open it opens, `file:` and its own pages too; a page may have had a say in the address.
        let address = web_address(address).ok_or_else(|| Failure::new(Code::TargetNotAllowed, "not a web address"))?;
        let navigate = self.call(NavigateParams::new(address));
        let navigated =
            tokio::time::timeout(navigation_limit(self.options), navigate).await.map_err(|_| unanswered())??;
        if navigated.is_download == Some(true) {
            return Err(download());
        }
        if let Some(error) = navigated.error_text.filter(|text| !text.is_empty()) {
            if error == ABORTED {
                self.still_there().await?;
            }
            return Err(navigation_failure(&error));
        }
        let loader = navigated.loader_id.ok_or_else(|| Failure::internal("the navigation opened no document"))?;
        self.opened = Opened { frame: navigated.frame_id.into(), loader: loader.into() };
        Ok(())
    }

    /// A page whose process ends on its way to a document is said to have given up, as one that was led to a download is; the
    /// word that it crashed comes after that. Only one that is there answers.
    async fn still_there(&mut self) -> Result<(), Failure> {
        let answer = self.call(EvaluateParams::new("0"));
        tokio::select! {
            _ = self.watcher.until(|_| false) => Err(crashed()),
            answer = answer => answer.map(drop),
        }
    }

    /// Goes to another page as a visitor does who follows a link: whatever status it answers is shown. What was to be kept
    /// out or hidden is so there too.
    pub(in crate::render) async fn leave_for(&mut self, address: &str) -> Result<(), Failure> {
        self.navigate(address).await?;
        self.wait_for(&[WaitUntil::DomContentLoaded]).await?;
        self.main_response().map_or(Ok(()), |main| judge_egress(&main))?;
        self.block().await?;
        self.restyle().await
    }
}

/// An answer that is the egress proxy's own says why there is none of the host.
pub(super) fn judge_egress(main: &MainResponse) -> Result<(), Failure> {
    match main.egress.as_deref() {
        Some("refused") => Err(Failure::new(Code::TargetNotAllowed, "the egress proxy refused the page")),
        Some("name-not-resolved") => Err(Failure::new(Code::NameNotResolved, "the name was not resolved")),
        Some(other) => Err(Failure::new(Code::NetworkError, format!("egress: {other}"))),
        None => Ok(()),
    }
}

/// Where the page is to be found.
pub(in crate::render) fn address(options: &Options) -> &str {
    options.source.url.as_deref().unwrap_or(HTML_ADDRESS)
}

/// Where the page can be created at once; None where it has to be blank first and then be led to its address. What a page is
/// made of while it is held does not always outlive its beginning: the scale of a phone and the media that it is shown on
/// were seen to be lost, and frames of a recording to be another page's.
pub(in crate::render) fn birthplace(options: &Options) -> Option<&str> {
    let (emulation, network) = (&options.emulation, &options.network);
    let is_plain = options.medium() != Medium::Video
        && !(options.viewport.mobile || options.viewport.touch)
        && emulation.media_type.is_none()
        && emulation.dark_mode.is_none()
        && emulation.reduced_motion.is_none()
        && !emulation.reduce_motion
        && emulation.vision_deficiency.is_none()
        && !options.source.without_javascript
        && !network.bypass_csp
        && network.user_agent.is_none()
        && !options.output.omit_background
        && !options.blocking.resources.iter().any(|name| name == "websocket");
    // What Chromium may refuse ends the render before anybody was asked for anything.
    let is_language = |header: &Secret| {
        header.expose().split_once(':').is_some_and(|(name, _)| name.trim().eq_ignore_ascii_case("accept-language"))
    };
    let may_be_refused = !network.cookies.is_empty()
        || emulation.time_zone.as_deref().is_some_and(|zone| zone != "GMT")
        || network.headers.iter().any(is_language);
    (is_plain && !may_be_refused).then(|| address(options))
}

/// An address of the web, as the browser writes it; None for whatever else there is.
pub(in crate::render) fn web_address(address: &str) -> Option<String> {
    let parts = NativeUrlParser.parse(address)?;
    ["http", "https"].contains(&parts.scheme.as_str()).then_some(parts.serialized)
}

fn navigation_limit(options: &Options) -> Duration {
    Duration::from_secs(u64::from(options.wait.navigation_timeout_s.max(1)))
}

fn unanswered() -> Failure {
    Failure::new(Code::TimeoutError, "the host did not answer within the navigation timeout")
}

fn download() -> Failure {
    Failure::invalid("url", "\"url\" leads to a download, and not to a page")
}

/// Chromium's words for a navigation that led nowhere.
fn navigation_failure(error: &str) -> Failure {
    let code = match error {
        "net::ERR_NAME_NOT_RESOLVED" => Code::NameNotResolved,
        "net::ERR_TIMED_OUT" | "net::ERR_CONNECTION_TIMED_OUT" => Code::TimeoutError,
        "net::ERR_UNSAFE_REDIRECT" | "net::ERR_UNSAFE_PORT" | "net::ERR_DISALLOWED_URL_SCHEME" => {
            Code::TargetNotAllowed
        }
        _ => Code::NetworkError,
    };
    Failure::new(code, error)
}
