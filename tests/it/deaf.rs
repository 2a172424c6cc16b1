//! A browser that does what it is told and does not say so: each command of a render in turn is left unanswered, and none is
//! waited for longer than the render may take.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde_json::{Value as Json, json};
use snaphook_tests::client::Answer;
use snaphook_tests::site::Site;
use snaphook_tests::stack::Stack;
use snaphook_tests::wait::{self, s};
use snaphook_tests::{repository, run};

/// Commands whose answers no picture waits for, or not until its end.
const NOT_WAITED_FOR: &[&str] =
    &["Fetch.continueRequest", "Fetch.fulfillRequest", "IO.close", "Target.disposeBrowserContext"];

/// Commands that make a context, as a rule for the next render. One with a proxy of its own has to make it itself.
const MAKES_CONTEXT: [&str; 2] = ["Target.createBrowserContext", "Browser.setDownloadBehavior"];

/// The files of `tests/browser/deaf.mjs`.
struct Deaf {
    folder: tempfile::TempDir,
}

impl Deaf {
    fn new() -> Deaf {
        let deaf = Deaf { folder: tempfile::tempdir().unwrap() };
        deaf.mute("");
        for name in ["asked", "muted"] {
            std::fs::write(deaf.file(name), "").unwrap();
        }
        deaf
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A program to be started as Chromium.
    fn program(&self, chromium: &Path) -> PathBuf {
        let (script, program) = (repository("tests/browser/deaf.mjs"), self.file("chromium"));
        let text = format!(
            "#!/bin/sh\nexec node '{}' '{}' '{}' \"$@\"\n",
            script.display(),
            self.folder.path().display(),
            chromium.display()
        );
        std::fs::write(&program, text).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        program
    }

    fn mute(&self, method: &str) {
        std::fs::write(self.file("mute.new"), method).unwrap();
        std::fs::rename(self.file("mute.new"), self.file("mute")).unwrap();
    }

    /// The methods in a file, from a line on.
    fn lines(&self, name: &str, from: usize) -> Vec<String> {
        std::fs::read_to_string(self.file(name)).unwrap().lines().skip(from).map(str::to_owned).collect()
    }
}

/// Renders that ask for as much as renders can, the quickest first.
fn renders(site: &Site) -> [Json; 3] {
    [
        json!({ "html": "<p id=a>x", "format": "webp", "selector": "#a", "click": "#a", "hover": "#a" }),
        json!({ "html": "<p>x", "format": "pdf" }),
        json!({
            "url": site.url("/element.html"), "format": "png", "full_page": true, "cookies": ["a=b"], "headers": ["X-A: b"],
            "authorization": "Bearer x", "user_agent": "deaf", "bypass_csp": true, "dark_mode": true, "reduced_motion": true,
            "media_type": "print", "geolocation_latitude": 1, "geolocation_longitude": 1, "time_zone": "Asia/Tokyo",
            "styles": "p { color: red }", "scripts": "window.x = 1", "hide_selectors": ["i"], "block_resources": ["font"],
            "omit_background": true, "metadata_fonts": true, "metadata_icon": true,
        }),
    ]
}

/// Seconds that a render may take here: on a busy machine they may be over before a command's turn, and then there are more.
const TIMEOUTS: [u64; 3] = [3, 6, 12];

/// A service with such a browser.
struct Service {
    deaf: Deaf,
    stack: Stack,
}

impl Service {
    fn start() -> Service {
        let (deaf, chromium) = (Deaf::new(), crate::attack::browsers().remove(0));
        let stack = Stack::builder().set("SNAPHOOK_RENDER_CHROMIUM", deaf.program(&chromium).display()).start();
        Service { deaf, stack }
    }

    /// Every method of these renders, each with a render that asks for it.
    async fn methods(&self, renders: &[Json]) -> BTreeMap<String, Json> {
        let mut found = BTreeMap::new();
        for options in renders {
            let before = self.deaf.lines("asked", 0).len();
            self.stack.client().take(options).await.expect(200);
            let is_over =
                || self.deaf.lines("asked", before).iter().any(|method| method == "Target.disposeBrowserContext");
            wait::for_it("its end", s(10), || is_over().then_some(())).await;
            for method in self.deaf.lines("asked", before) {
                found.entry(method).or_insert_with(|| options.clone());
            }
        }
        // By this one the service sees, each second, whether the browser is well.
        found.remove("Browser.getVersion");
        found
    }

    /// The answer to a render one of whose commands is not answered.
    async fn take_without(&self, method: &str, options: &Json) -> Answer {
        let mut options = options.clone();
        let before = self.deaf.lines("muted", 0).len();
        for timeout in TIMEOUTS {
            options["timeout"] = json!(timeout);
            self.deaf.mute(method);
            let began = Instant::now();
            let answer = self.stack.client().take(&options).await;
            assert!(began.elapsed() < s(timeout + 2), "{method}: {:?}", began.elapsed());
            // What is asked when the answer is out takes a moment.
            let is_muted = || self.deaf.lines("muted", before).iter().any(|muted| muted == method);
            let was_muted = wait::within(s(2), is_muted).await;
            self.deaf.mute("");
            if was_muted {
                return answer;
            }
        }
        panic!("{method} was not asked for again");
    }
}

#[test]
fn no_command_of_a_render_is_waited_for_longer_than_the_render_may_take() {
    const AT_ONCE: usize = 3;
    let site = Site::start();
    let services: Vec<Service> = (0..AT_ONCE).map(|_| Service::start()).collect();
    run(async {
        let mut methods = services[0].methods(&renders(&site)).await;
        for method in MAKES_CONTEXT {
            methods.get_mut(method).unwrap()["proxy"] = json!(site.url("/"));
        }
        let methods: Vec<(String, Json)> = methods.into_iter().collect();
        assert!(methods.len() >= 25, "{methods:?}");
        let shares = services.iter().enumerate().map(async |(number, service)| {
            let mut survived = Vec::new();
            for (method, options) in methods.iter().skip(number).step_by(AT_ONCE) {
                let answer = service.take_without(method, options).await;
                match answer.status.as_u16() {
                    200 => survived.push(method.clone()),
                    _ => assert_eq!(answer.json()["error_code"], "timeout_error", "{method}: {}", answer.text()),
                }
                service.stack.client().take(&json!({ "html": "<p>well", "timeout": 30 })).await.expect(200);
            }
            survived
        });
        let survived = futures::future::join_all(shares).await.concat();
        let unexpected: Vec<&String> =
            survived.iter().filter(|method| !NOT_WAITED_FOR.contains(&method.as_str())).collect();
        assert!(unexpected.is_empty(), "{unexpected:?}");
    });
}
