//! What is kept out of a page: ads, trackers, consent banners, chats, social widgets, annoyances.
//!
//! Rules are in the format of Adblock Plus, so that any public list can be added: those in the operator's directory are
//! read beside our own small ones (whose licence is ours; the large public lists have others). Engines are built once.

use std::collections::HashSet;
use std::path::Path;

use adblock::Engine;
use adblock::lists::{FilterSet, ParseOptions};
use adblock::request::Request;
use chromiumoxide::cdp::browser_protocol::network::ResourceType;
use snaphook_shared::options::model::Blocking;

/// What a list is against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Category {
    Ads,
    Trackers,
    Cookies,
    Chats,
    Socials,
    Annoyances,
}

impl Category {
    const ALL: [Category; 6] = [
        Category::Ads,
        Category::Trackers,
        Category::Cookies,
        Category::Chats,
        Category::Socials,
        Category::Annoyances,
    ];

    /// What the names of the operator's files begin with.
    const fn name(self) -> &'static str {
        match self {
            Category::Ads => "ads",
            Category::Trackers => "trackers",
            Category::Cookies => "cookies",
            Category::Chats => "chats",
            Category::Socials => "socials",
            Category::Annoyances => "annoyances",
        }
    }

    const fn own_list(self) -> &'static str {
        match self {
            Category::Ads => include_str!("lists/ads.txt"),
            Category::Trackers => include_str!("lists/trackers.txt"),
            Category::Cookies => include_str!("lists/cookies.txt"),
            Category::Chats => include_str!("lists/chats.txt"),
            Category::Socials => include_str!("lists/socials.txt"),
            Category::Annoyances => include_str!("lists/annoyances.txt"),
        }
    }

    fn is_wanted(self, blocking: &Blocking) -> bool {
        match self {
            Category::Ads => blocking.ads,
            Category::Trackers => blocking.trackers,
            Category::Cookies => blocking.cookie_banners,
            Category::Chats => blocking.chats,
            Category::Socials => blocking.socials,
            Category::Annoyances => blocking.annoyances,
        }
    }
}

/// The lists, ready to be asked. It lives as long as the service.
pub struct Blocklists {
    engines: Vec<(Category, Engine)>,
}

impl Blocklists {
    /// Builds an engine of each category, from our list and from the `.txt` files in `directory` whose names begin with
    /// the category's (`ads-easylist.txt`).
    ///
    /// # Errors
    /// If the directory or a file in it cannot be read: an operator who names lists wants them used.
    pub fn load(directory: Option<&Path>) -> std::io::Result<Blocklists> {
        let mut sets: Vec<(Category, FilterSet)> = Vec::new();
        for category in Category::ALL {
            let mut set = FilterSet::new(false);
            set.add_filter_list(category.own_list().to_owned(), ParseOptions::default());
            sets.push((category, set));
        }
        for entry in directory.map(std::fs::read_dir).transpose()?.into_iter().flatten() {
            let path = entry?.path();
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            if !name.ends_with(".txt") {
                continue;
            }
            match sets.iter_mut().find(|(category, _)| name.starts_with(category.name())) {
                Some((category, set)) => {
                    set.add_filter_list(std::fs::read_to_string(&path)?, ParseOptions::default());
                    tracing::info!(list = name, category = category.name(), "a block list was read");
                }
                None => tracing::warn!(list = name, "a block list's name begins with no category, so it is not used"),
            }
        }
        let build = |(category, set)| (category, Engine::new_with_filter_set(set));
        Ok(Blocklists { engines: sets.into_iter().map(build).collect() })
    }

    fn wanted<'a>(&'a self, blocking: &'a Blocking) -> impl Iterator<Item = &'a Engine> {
        self.engines.iter().filter(|(category, _)| category.is_wanted(blocking)).map(|(_, engine)| engine)
    }

    /// Whether a request of this page is to be stopped.
    pub(super) fn stops(&self, blocking: &Blocking, url: &str, page: &str, kind: &ResourceType) -> bool {
        if !wants_lists(blocking) {
            return false;
        }
        let Ok(request) = Request::new(url, page, kind_name(kind), "get") else { return false };
        self.wanted(blocking).any(|engine| engine.check_network_request(&request).should_block())
    }

    /// The selectors to hide on a page that has these classes and ids.
    pub(super) fn hidden(&self, blocking: &Blocking, page: &str, classes: &[String], ids: &[String]) -> Vec<String> {
        let mut selectors = HashSet::new();
        for engine in self.wanted(blocking) {
            let of_page = engine.url_cosmetic_resources(page);
            if !of_page.generichide {
                selectors.extend(engine.hidden_class_id_selectors(classes, ids, &of_page.exceptions));
            }
            selectors.extend(of_page.hide_selectors);
        }
        let mut selectors: Vec<String> = selectors.into_iter().collect();
        selectors.sort();
        selectors
    }
}

/// Whether any list is asked for.
pub(super) fn wants_lists(blocking: &Blocking) -> bool {
    Category::ALL.into_iter().any(|category| category.is_wanted(blocking))
}

/// Whether requests must be looked at one by one.
pub(super) fn wants_requests(blocking: &Blocking) -> bool {
    wants_lists(blocking) || !blocking.requests.is_empty() || !blocking.resources.is_empty()
}

/// A kind of resource as filter lists call it. What arrives here as a document is a frame: the page itself is exempt.
fn kind_name(kind: &ResourceType) -> &'static str {
    match kind {
        ResourceType::Document => "subdocument",
        ResourceType::Stylesheet => "stylesheet",
        ResourceType::Image => "image",
        ResourceType::Media | ResourceType::TextTrack => "media",
        ResourceType::Font => "font",
        ResourceType::Script => "script",
        ResourceType::Xhr | ResourceType::Fetch | ResourceType::EventSource => "xmlhttprequest",
        ResourceType::WebSocket => "websocket",
        ResourceType::Ping => "ping",
        ResourceType::CspViolationReport => "csp_report",
        _ => "other",
    }
}

/// A kind of resource as the vendors call it.
pub(super) fn vendor_name(kind: &ResourceType) -> &'static str {
    match kind {
        ResourceType::Document => "document",
        ResourceType::Stylesheet => "stylesheet",
        ResourceType::Image => "image",
        ResourceType::Media => "media",
        ResourceType::Font => "font",
        ResourceType::Script => "script",
        ResourceType::TextTrack => "texttrack",
        ResourceType::Xhr => "xhr",
        ResourceType::Fetch => "fetch",
        ResourceType::EventSource => "eventsource",
        ResourceType::WebSocket => "websocket",
        ResourceType::Manifest => "manifest",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use adblock::lists::{FilterFormat, parse_filter};

    use super::*;

    type Switch = fn(&mut Blocking);

    const PAGE: &str = "https://news.example.com/today";

    fn only(set: impl Fn(&mut Blocking)) -> Blocking {
        let mut blocking = Blocking::default();
        set(&mut blocking);
        blocking
    }

    #[test]
    fn every_line_of_our_lists_is_a_rule() {
        for category in Category::ALL {
            for line in category.own_list().lines().filter(|line| !line.starts_with('!') && !line.is_empty()) {
                let options = ParseOptions { format: FilterFormat::Standard, ..ParseOptions::default() };
                assert!(parse_filter(line, false, options).is_ok(), "{}: {line}", category.name());
            }
        }
    }

    #[test]
    fn each_switch_stops_its_own_and_leaves_the_rest() {
        let lists = Blocklists::load(None).unwrap();
        let cases: [(&str, Switch); 6] = [
            ("https://securepubads.g.doubleclick.net/tag/js/gpt.js", |b| b.ads = true),
            ("https://www.google-analytics.com/analytics.js", |b| b.trackers = true),
            ("https://consent.cookiebot.com/uc.js", |b| b.cookie_banners = true),
            ("https://widget.intercom.io/widget/abc", |b| b.chats = true),
            ("https://platform.twitter.com/widgets.js", |b| b.socials = true),
            ("https://cdn.onesignal.com/sdks/OneSignalSDK.js", |b| b.annoyances = true),
        ];
        for (at, (url, set)) in cases.iter().enumerate() {
            let stops = |blocking: &Blocking| lists.stops(blocking, url, PAGE, &ResourceType::Script);
            assert!(stops(&only(set)), "{url}");
            assert!(!stops(&Blocking::default()), "{url} without being asked");
            let others = cases.iter().enumerate().filter(|(other, _)| *other != at);
            assert_eq!(others.filter(|(_, (_, set))| stops(&only(set))).count(), 0, "{url} by another switch");
        }
        let all = only(|b| {
            (b.ads, b.trackers, b.cookie_banners) = (true, true, true);
            (b.chats, b.socials, b.annoyances) = (true, true, true);
        });
        for url in ["https://news.example.com/app.js", "https://cdn.jsdelivr.net/npm/vue"] {
            assert!(!lists.stops(&all, url, PAGE, &ResourceType::Script), "{url}");
        }
    }

    #[test]
    fn hiding_goes_by_the_classes_and_ids_that_are_there() {
        let lists = Blocklists::load(None).unwrap();
        let cookies = only(|b| b.cookie_banners = true);
        let hidden = lists.hidden(&cookies, PAGE, &["cc-window".into()], &["onetrust-banner-sdk".into()]);
        assert!(hidden.contains(&".cc-window".to_owned()) && hidden.contains(&"#onetrust-banner-sdk".to_owned()));
        assert!(!hidden.contains(&".cky-modal".to_owned()), "{hidden:?}");
        assert!(lists.hidden(&Blocking::default(), PAGE, &["cc-window".into()], &[]).is_empty());
    }

    #[test]
    fn the_operators_lists_are_added_by_their_names() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("ads-mine.txt"), "||mine.example^\n").unwrap();
        std::fs::write(directory.path().join("else.txt"), "||else.example^\n").unwrap();
        let lists = Blocklists::load(Some(directory.path())).unwrap();
        let ads = only(|b| b.ads = true);
        assert!(lists.stops(&ads, "https://mine.example/x.png", PAGE, &ResourceType::Image));
        assert!(!lists.stops(&ads, "https://else.example/x.png", PAGE, &ResourceType::Image));
        assert!(Blocklists::load(Some(&directory.path().join("none"))).is_err());
    }
}
