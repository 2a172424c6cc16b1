//! The dashboard in a real browser, as an operator uses it: looked at by axe, with a picture of each page, and worked with.

use serde_json::json;
use snaphook_tests::client::Client;
use snaphook_tests::operator::new_password;
use snaphook_tests::receiver::{Behaviour, Receiver};
use snaphook_tests::site::Site;
use snaphook_tests::stack::Stack;
use snaphook_tests::wait::s;
use snaphook_tests::{repository, run};

use crate::programs;

/// The browser that looks at the pages; the one that renders may be headless only, which does as well.
pub(crate) fn browser() -> String {
    let from_path = |name: &str| {
        std::env::split_paths(&std::env::var_os("PATH").unwrap())
            .map(|folder| folder.join(name))
            .find(|file| file.is_file())
    };
    std::env::var("SNAPHOOK_RENDER_CHROMIUM").unwrap_or_else(|_| {
        let names = ["chromium", "chromium-headless-shell", "chrome-headless-shell", "google-chrome"];
        names.into_iter().find_map(from_path).expect("a Chromium").display().to_string()
    })
}

/// What there is a picture of when it is done.
const STEPS: [&str; 27] = [
    "did-wrong-password",
    "did-filtered",
    "did-search",
    "did-live",
    "did-retried",
    "did-tab-to-retry",
    "did-cancelled",
    "did-downloaded",
    "did-replayed",
    "did-replayed-all",
    "did-imported",
    "did-signing",
    "did-rotated",
    "did-overlap",
    "did-of-one-key",
    "did-secret-gone",
    "did-limited",
    "did-tab-to-revoke",
    "did-revoked",
    "did-enabled",
    "did-follow-a-request",
    "did-live-deliveries",
    "did-filter-deliveries",
    "did-older",
    "did-session-ended",
    "did-signed-out",
    "did-rows-without-script",
];

#[test]
fn an_operator_works_with_every_page() {
    run(async {
        let stack = Stack::builder().set("SNAPHOOK_WEBHOOK_SCHEDULE_SECONDS", "0").start();
        let (client, other) = (stack.client(), Client::new(&stack.api, &stack.new_key()));
        let (site, receiver, gone) = (Site::start(), Receiver::start(), Receiver::start());
        receiver.behave(Behaviour::Status(500));
        gone.behave(Behaviour::Status(410));
        let given_up = |view: &serde_json::Value| view["webhook"]["state"] == "dead";
        let options = json!({ "url": site.url("/article.html"), "format": "png", "webhook_url": receiver.url() });
        let good = client.enqueue("/v1/screenshot", &options).await;
        client.request_when(&good, "given up", s(30), given_up).await;
        let failed = other.enqueue("/take", &json!({ "url": site.url("/status/404") })).await;
        other.request_when(&failed, "an end", s(30), |view| view["finished_at"].is_string()).await;
        let blocked = json!({ "html": "<p>x<img src=http://169.254.169.254/>" });
        let refused = other.take(&blocked).await.expect(200).header("x-snaphook-request-id").to_owned();
        let options = json!({ "html": "<p>x", "webhook_url": gone.url() });
        let disabled = other.enqueue("/v1/screenshot", &options).await;
        other.request_when(&disabled, "given up", s(30), given_up).await;

        let said = programs::ask(
            "node",
            "dashboard.mjs",
            &json!({
                "base": stack.api,
                "password": new_password(&stack),
                "access_key": client.key.access_key,
                "executable": browser(),
                "sandbox": !rustix::process::geteuid().is_root(),
                "never": site.url("/never"),
                "slow": site.url("/slow?4000"),
                "receiver": receiver.url(),
                "pictures": repository("target/test-artefacts/dashboard"),
                "paths": {
                    "requests": "/dashboard/requests",
                    "request": format!("/dashboard/requests/{good}"),
                    "failed": format!("/dashboard/requests/{failed}"),
                    "refused": format!("/dashboard/requests/{refused}"),
                    "deliveries": "/dashboard/deliveries?state=dead",
                    "delivery": format!("/dashboard/deliveries/{}", good.replace("req_", "msg_")),
                    "access": "/dashboard/access",
                    "key": format!("/dashboard/access/{}", other.key.access_key),
                    "playground": "/dashboard/playground",
                    "usage": "/dashboard/usage",
                    "storage": "/dashboard/storage",
                    "health": "/dashboard/health",
                    "nowhere": "/dashboard/requests/req_0",
                },
                "public": { "docs": "/docs", "error": "/docs/errors/timeout" },
            }),
        );
        assert_eq!(said["violations"], json!([]), "axe: {:#}", said["violations"]);
        assert_eq!((&said["console"], &said["overflowing"]), (&json!([]), &json!([])));
        assert_eq!(
            said["pages"].as_array().unwrap().len(),
            64,
            "fifteen pages in light and dark, wide and narrow, and two more twice"
        );
        let scales = said["scales"].as_array().unwrap();
        let good = json!({ "scrolls": true, "shown": true, "level": true });
        assert!(scales.len() == 4 && scales.iter().all(|scale| *scale == good), "{scales:?}");
        assert_eq!(said["wrongPassword"], "That is not the password.");
        assert_eq!(said["skipLink"], json!({ "text": "Skip to the content", "outline": "solid 2px" }));
        assert_eq!(said["filtered"], json!(["failed"]));
        assert_eq!((&said["byKey"], &said["byText"], &said["since"]), (&json!(1), &json!(1), &json!(0)));
        assert_eq!((&said["until"], &said["cleared"]), (&json!(true), &json!(["", true])));
        assert_eq!((&said["live"], &said["leftAlone"], &said["unasked"]), (&json!(true), &json!(true), &json!(0)));
        assert_eq!(said["unseen"], json!([]), "where the keyboard is must be seen");
        assert_eq!(said["followed"], json!([true, 1]), "it was followed without being loaded again");
        assert_eq!(said["selectionLeftAlone"], true);
        let (states, urls) = (&said["deliveriesFiltered"][0], &said["deliveriesFiltered"][1]);
        assert!(
            states.as_array().is_some_and(|states| !states.is_empty() && states.iter().all(|state| state == "dead"))
        );
        let is_receivers = |url: &serde_json::Value| url.as_str().is_some_and(|url| url.starts_with(&receiver.url()));
        assert!(urls.as_array().is_some_and(|urls| urls.iter().all(is_receivers)), "{urls}");
        assert_eq!((&said["noDelivery"], &said["deliveriesCleared"]), (&json!("No delivery fits."), &json!("")));
        assert_eq!(said["paged"], json!([true, true, false, true]));
        assert_eq!(said["sessionEnded"], "/dashboard/login");
        let steps: Vec<&str> = said["steps"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
        assert_eq!(steps, STEPS);
        for (name, part) in [
            ("retried", "the new request"),
            ("retriedByKeyboard", "the new request"),
            ("replayed", "sent again"),
            ("limited", "from the next request on"),
            ("revoked", "revoked"),
            ("enabled", "is enabled"),
        ] {
            assert!(said[name].as_str().is_some_and(|text| text.contains(part)), "{name}: {}", said[name]);
        }
        assert_eq!((&said["secretLength"], &said["secretGone"]), (&json!(43), &json!(true)));
        assert_eq!(said["cancelled"], json!(["The request is cancelled.", "cancelled"]));
        assert_eq!(said["downloaded"], "PNG");
        // The one that was sent again may be dead again by then, or not.
        let count = said["replayedAll"].as_str().unwrap().strip_suffix(" to be sent again.").unwrap().to_owned();
        assert!((1..=2).contains(&count.parse::<u32>().unwrap()), "{count}");
        assert_eq!(said["imported"], "The key is imported.");
        assert_eq!(said["signing"], json!(["The rule for links holds from the next request on.", true]));
        let rotated = said["rotated"].as_array().unwrap();
        assert_eq!((&rotated[0], rotated[1].as_str().map(str::len)), (&json!("brought-along"), Some(43)));
        assert_eq!(said["overlap"], 1, "until when the old secret is good is told");
        assert_eq!(said["ranges"], json!([["7 days", 2, true], ["30 days", 2, true], ["24 hours", 2, true]]));
        assert_eq!(said["ofOneKey"], 1);
        assert_eq!(said["signedOut"], "/dashboard/login");
        assert!(said["rowsWithoutScript"].as_u64().unwrap() >= 4, "{}", said["rowsWithoutScript"]);
    });
}
