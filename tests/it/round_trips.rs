//! What a picture asks of Chromium, command by command. Each is here because there is no such picture without it; one more
//! costs every picture, so it has to be entered here with its reason.

use std::time::Duration;

use serde_json::{Value as Json, json};
use snaphook_tests::run;
use snaphook_tests::site::Site;
use snaphook_tests::stack::Stack;
use snaphook_tests::wait;

const LIMIT: Duration = Duration::from_secs(20);

/// In the order in which they are sent. Those between two waits go together.
const PICTURE: [&str; 15] = [
    // The page, at its address and held, in a context that was made before.
    "Target.createTarget",
    // Waits for the page. Events of the page: dialogs to be dismissed, departures by script.
    "Page.enable",
    // When the page has loaded, and which document it was.
    "Page.setLifecycleEventsEnabled",
    // The host's answer, why there is none, and whether the network is idle.
    "Network.enable",
    // Whether the page has crashed: what was asked of it is never answered then.
    "Inspector.enable",
    // Frames of other sites are watched and held to the same rules; windows are closed.
    "Target.setAutoAttach",
    // The size and density that were asked for.
    "Emulation.setDeviceMetricsOverride",
    // The zone that is the same wherever this runs.
    "Emulation.setTimezoneOverride",
    // No windows of its own.
    "Page.addScriptToEvaluateOnNewDocument",
    // Now it may begin.
    "Runtime.runIfWaitingForDebugger",
    // Waits for the load event. Fonts.
    "Runtime.evaluate",
    // Waits for the fonts.
    "Page.captureScreenshot",
    // After the answer: all of it goes.
    "Target.disposeBrowserContext",
    // Isolation of the next one: cookies, cache, storage and a way out of its own.
    "Target.createBrowserContext",
    // Waits for the context. A page must not put files on this machine.
    "Browser.setDownloadBehavior",
];

/// The commands that were sent so far, of all that the backend has said; but for the one by which it sees, each second, whether
/// the browser is well.
fn sent(stack: &Stack) -> Vec<String> {
    let log = stack.backend_log();
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Json>(line).ok());
    let methods = lines.filter_map(|line| line["fields"]["method"].as_str().map(str::to_owned));
    methods.filter(|method| method != "Browser.getVersion").collect()
}

#[test]
fn a_picture_asks_for_no_more_than_it_needs() {
    run(async {
        let stack = Stack::builder()
            .set("SNAPHOOK_LOG_LEVEL", "info,snaphook::render::cdp=trace")
            .set("SNAPHOOK_LOG_FORMAT", "json")
            .set("SNAPHOOK_RENDER_CONCURRENCY", 1)
            .start();
        let site = Site::start();
        let picture = json!({ "url": site.url("/plain.html"), "format": "png" });
        let contexts = async |count: usize| {
            wait::for_it("a context for the next picture", LIMIT, || {
                let made = sent(&stack).iter().filter(|method| Some(&method.as_str()) == PICTURE.last()).count();
                (made == count).then_some(())
            })
            .await;
        };
        // One for the self-test, one for the first picture, one for the second.
        contexts(2).await;
        stack.client().take(&picture).await.expect(200);
        contexts(3).await;
        let before = sent(&stack).len();
        stack.client().take(&picture).await.expect(200);
        contexts(4).await;
        assert_eq!(sent(&stack)[before..], PICTURE);
    });
}
