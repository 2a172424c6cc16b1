//! The vendors' own SDKs, unmodified, through the edge: pictures come, and errors arrive as the SDKs' own.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value as Json, json};
use snaphook_tests::picture::Picture;
use snaphook_tests::site::Site;
use snaphook_tests::stack::{Shared, Stack};
use snaphook_tests::video::Video;
use snaphook_tests::{repository, run};

use crate::programs;

/// Runs an SDK's script against the edge.
fn drive(stack: &Shared, site: &Site, program: impl AsRef<Path>, script: &str) -> Json {
    let given = json!({
        "base": stack.edge_url(), "access_key": stack.key.access_key, "secret_key": stack.key.secret_key,
        "url": site.url("/colors.html"), "failing_url": site.url("/status/404"),
    });
    programs::ask(program.as_ref(), script, &given)
}

/// Checks that a base64 text is the picture that all scripts take: the red square is hidden in it.
#[track_caller]
fn assert_picture(file: &Json) {
    let picture = Picture::decode(&BASE64.decode(file.as_str().unwrap()).unwrap());
    assert_eq!((picture.size(), picture.pixel(5, 5)), ((160, 120), 0x204080));
}

/// Checks that a base64 text is a video of the page that all scripts record.
#[track_caller]
fn assert_video(file: &Json, codec: &str) {
    let video = Video::decode(&BASE64.decode(file.as_str().unwrap()).unwrap());
    assert_eq!((video.codec.as_str(), video.size()), (codec, (160, 120)));
    let [red, green, blue, _] = video.at(0.9).rgba(5, 5);
    assert!(red.abs_diff(0x20) < 9 && green.abs_diff(0x40) < 9 && blue.abs_diff(0x80) < 9, "{red} {green} {blue}");
}

/// The error in a base64 text.
fn error(file: &Json) -> Json {
    serde_json::from_slice(&BASE64.decode(file.as_str().unwrap()).unwrap()).unwrap()
}

/// What docs/moving.md says is to be changed for an SDK, and the line of the script that runs that SDK here.
const LINES: [(&str, &str, &str); 3] = [
    (
        "`new Client(accessKey, secretKey, \"https://shots.example.com\")`",
        "screenshotone.mjs",
        "const client = new Client(access_key, secret_key, base);",
    ),
    (
        "`screenshotone.sdk.API_BASE_URL = \"https://shots.example.com\"`",
        "screenshotone_python.py",
        "screenshotone.sdk.API_BASE_URL = given[\"base\"]",
    ),
    (
        "`APIClient.base_url = \"https://shots.example.com\"`, from `screenshotmax.client`",
        "screenshotmax_python.py",
        "APIClient.base_url = given[\"base\"]",
    ),
];

#[test]
fn what_moving_says_to_be_seen_working_is_what_runs_here() {
    let moving = std::fs::read_to_string(repository("docs/moving.md")).unwrap();
    let rows = moving.lines().filter(|line| line.starts_with('|') && line.contains("in every test run"));
    let of_sdks: Vec<&str> = rows.filter(|row| !row.contains("links and HTTP")).collect();
    assert_eq!(of_sdks.len(), LINES.len(), "{of_sdks:#?}");
    for (row, (told, script, line)) in of_sdks.iter().zip(LINES) {
        assert!(row.contains(told), "{told}: {row}");
        let text = std::fs::read_to_string(repository("tests/sdk").join(script)).unwrap();
        assert!(text.contains(line), "{script} does not say: {line}");
    }
}

#[test]
fn the_screenshotone_npm_sdk_works() {
    run(async {
        let (stack, site) = (Stack::shared(), Site::start());
        let said = drive(&stack, &site, "node", "screenshotone.mjs");
        for name in ["take", "signed", "unsigned"] {
            assert_picture(&said[name]["file"]);
            assert_eq!(said[name]["type"], "image/png", "{name}");
        }
        assert_eq!(said["animate"]["type"], "video/webm");
        assert_video(&said["animate"]["file"], "vp9");
        assert!(said["store_animation"]["key"].as_str().unwrap().ends_with(".webm"), "{}", said["store_animation"]);
        assert_eq!(said["store"]["bucket"], "snaphook");
        assert!(said["store"]["key"].as_str().unwrap().ends_with(".png"), "{}", said["store"]);
        assert_eq!(said["tampered"]["status"], 400);
        assert_eq!(error(&said["tampered"]["file"])["error_code"], "signature_is_not_valid");
        assert!(said["async_take"].as_u64().is_some(), "accepted is a success to it: {}", said["async_take"]);
        for (name, code, status) in [
            ("invalid", "request_not_valid", 400),
            ("failing", "host_returned_error", 500),
            ("wrong_secret", "signature_is_not_valid", 400),
        ] {
            let error = &said[name];
            assert_eq!(
                (&error["own"], &error["errorCode"], &error["httpStatusCode"]),
                (&json!(true), &json!(code), &json!(status))
            );
            assert!(error["errorMessage"].as_str().is_some_and(|text| !text.is_empty()), "{error}");
            let page = stack.client().get(error["documentationUrl"].as_str().unwrap()).await.expect(200);
            assert!(page.text().contains(code), "the link explains {code}");
        }
    });
}

#[test]
fn the_screenshotone_pypi_sdk_works() {
    run(async {
        let (stack, site) = (Stack::shared(), Site::start());
        let said = drive(&stack, &site, programs::python(), "screenshotone_python.py");
        assert_picture(&said["take"]);
        for name in ["signed", "unsigned"] {
            assert_picture(&said[name]["file"]);
        }
        assert_eq!(error(&said["tampered"]["file"])["error_code"], "signature_is_not_valid");
        let invalid = &said["invalid"];
        assert_eq!(
            (&invalid["own"], &invalid["error_code"]),
            (&json!("InvalidRequestException"), &json!("request_not_valid"))
        );
        assert!(invalid["message"].as_str().unwrap().contains("\"delay\" must be less than or equal to"), "{invalid}");
        let failing = &said["failing"];
        assert_eq!(
            (&failing["own"], &failing["error_code"]),
            (&json!("APIErrorException"), &json!("host_returned_error"))
        );
        assert_eq!(failing["host_returned_status_code"], 404);
        let unknown = &said["unknown_key"];
        assert_eq!(
            (&unknown["own"], &unknown["error_code"]),
            (&json!("InvalidRequestException"), &json!("access_key_invalid"))
        );
    });
}

#[test]
fn the_screenshotmax_pypi_sdk_works() {
    run(async {
        let (stack, site) = (Stack::shared(), Site::start());
        let said = drive(&stack, &site, programs::python(), "screenshotmax_python.py");
        for name in ["signed", "unsigned", "signed_url", "unsigned_url"] {
            assert_picture(&said[name]["file"]);
            assert_eq!(said[name]["type"], "image/png", "{name}");
        }
        for name in ["screencast", "screencast_url"] {
            assert_eq!(said[name]["type"], "video/quicktime", "{name}");
            assert_video(&said[name]["file"], "h264");
        }
        assert_eq!(said["tampered"]["status"], 401);
        for (name, code, status) in [
            ("tampered", "signature_is_not_valid", 401),
            ("wrong_secret", "signature_is_not_valid", 401),
            ("invalid", "request_not_valid", 400),
            ("unknown_format", "request_not_valid", 400),
            ("failing", "host_returned_error", 500),
        ] {
            let error = error(&said[name]["file"]);
            assert_eq!((&error["code"], &error["statusCode"]), (&json!(code), &json!(status)), "{name}: {error}");
        }
    });
}

#[test]
fn the_python_sdk_can_be_given_the_status_that_it_takes_for_an_acceptance() {
    run(async {
        let stack = Stack::builder().set("SNAPHOOK_COMPAT_SCREENSHOTONE_ASYNC_STATUS", 200).edge().start();
        let options = json!({ "html": "<p>x", "async": true });
        let one = stack.edge_client().take(&options).await.expect(200);
        assert_eq!(one.json()["status"], "Accepted");
        stack.edge_client().screenshot(&options).await.expect(202);
    });
}

#[test]
fn the_screenshotmax_pypi_sdk_gets_paper_text_devices_and_usage() {
    run(async {
        let (stack, site) = (Stack::shared(), Site::start());
        let given = json!({
            "base": stack.edge_url(), "access_key": stack.key.access_key, "secret_key": stack.key.secret_key,
            "url": site.url("/article.html"),
        });
        let said = programs::ask(programs::python(), "screenshotmax_families.py", &given);
        let file = |name: &str| {
            let file = BASE64.decode(said[name]["file"].as_str().unwrap()).unwrap();
            (said[name]["type"].as_str().unwrap().to_owned(), String::from_utf8_lossy(&file).into_owned())
        };
        for name in ["pdf", "pdf_unsigned"] {
            let (kind, pdf) = file(name);
            assert!(kind == "application/pdf" && pdf.starts_with("%PDF-"), "{name}: {kind} {pdf:.300}");
            assert!(pdf.contains("/MediaBox [0 0 841.") || pdf.contains("/MediaBox [0 0 842"), "A4, turned");
        }
        let (kind, markdown) = file("markdown");
        assert!(kind.starts_with("text/markdown") && markdown.starts_with("# Heading"), "{kind}: {markdown}");
        let (kind, html) = file("html");
        assert!(kind.starts_with("text/html") && !html.contains("id=\"made\""), "its scripts did not run: {html}");
        let devices = said["devices"]["devices"].as_array().unwrap();
        assert!(devices.len() > 50 && devices.iter().any(|device| device["id"] == "iphone_13_pro"), "{devices:?}");
        assert!(said["usage"]["hits"]["used"].as_u64().is_some_and(|used| used >= 4), "{}", said["usage"]);
    });
}
