//! What is known to break screenshot services, where it is not shown beside the option that it belongs to.

use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};
use snaphook_tests::picture::Picture;
use snaphook_tests::run;
use snaphook_tests::site::Site;
use snaphook_tests::stack::Stack;

async fn png(stack: &Stack, options: Json) -> Picture {
    let mut all = json!({ "format": "png", "viewport_width": 200, "viewport_height": 100 });
    all.as_object_mut().unwrap().extend(options.as_object().unwrap().clone());
    Picture::decode(&stack.client().take(&all).await.expect(200).body)
}

/// How many pixels are not white.
fn ink(picture: &Picture) -> usize {
    let points = (0..picture.height).flat_map(|y| (0..picture.width).map(move |x| (x, y)));
    points.filter(|(x, y)| picture.pixel(*x, *y) != 0xffffff).count()
}

#[test]
fn emoji_and_east_asian_characters_are_no_boxes() {
    run(async {
        let stack = Stack::shared();
        let written = async |text: &str| {
            let html = format!("<meta charset=utf-8><body style='margin:10px;font:40px sans-serif'>{text}");
            png(&stack, json!({ "html": html })).await
        };
        // A character that no font has is a box, and all boxes are alike.
        let boxes = written("&#x378;&#x379;").await;
        for (text, other) in [("漢字", "日本"), ("かな", "カナ"), ("한글", "국어")] {
            let (one, two) = (written(text).await, written(other).await);
            assert!(ink(&one) > 200 && ink(&two) > 200, "{text} leaves no trace");
            assert_ne!(one.rgba_bytes(), two.rgba_bytes(), "{text} and {other} look the same");
            assert_ne!(one.rgba_bytes(), boxes.rgba_bytes(), "{text}");
        }
        let emoji = written("😀🎉").await;
        let is_coloured = |x: u32, y: u32| {
            let [r, g, b, _] = emoji.rgba(x, y);
            r.abs_diff(g).max(g.abs_diff(b)) > 60
        };
        let coloured = (0..emoji.height).flat_map(|y| (0..emoji.width).map(move |x| (x, y)));
        assert!(coloured.filter(|(x, y)| is_coloured(*x, *y)).count() > 200, "emoji are in colour");
    });
}

#[test]
fn fonts_that_never_load_hold_nothing_up() {
    run(async {
        let (stack, site) = (Stack::shared(), Site::start());
        for display in ["block", "auto", "swap"] {
            let html = format!(
                "<style>@font-face {{ font-family: Never; src: url('{}'); font-display: {display} }}
                 body {{ margin: 0; background: #0f0; font: 30px Never, sans-serif }}</style>text",
                site.url("/never")
            );
            let picture = png(&stack, json!({ "html": html, "timeout": 20 })).await;
            assert_eq!(picture.pixel(199, 99), 0x00ff00, "{display}");
        }
        assert!(site.count("/never") >= 3, "the fonts were asked for");
    });
}

#[test]
fn a_phone_stays_a_phone_on_a_full_page() {
    run(async {
        let stack = Stack::shared();
        // What a page can find out about its screen, painted: a row of pixels for each answer, after the page was enlarged.
        let html = "<!doctype html><meta name=viewport content='width=device-width'><style>body{margin:0} i{display:block;height:20px;background:red}
            @media (max-width: 400px) { #narrow { background: lime } } @media (resolution: 3dppx) { #dense { background: lime } }
            @media (pointer: coarse) { #touch { background: lime } }</style>
            <i id=narrow></i><i id=dense></i><i id=touch></i><i id=view></i><div style='height:2000px'></div><script>
            const tell = () => { view.style.background = innerWidth === 390 && innerHeight === 844 ? 'lime' : 'red' };
            tell(); addEventListener('resize', tell)</script>";
        for algorithm in ["default", "by_sections"] {
            let options = json!({
                "html": html, "viewport_device": "iphone_13_pro", "viewport_width": null, "viewport_height": null,
                "full_page": true, "full_page_algorithm": algorithm,
            });
            let picture = png(&stack, options).await;
            assert_eq!(picture.size(), (390 * 3, 2080 * 3), "{algorithm}");
            let rows: Vec<u32> = (0..4).map(|row| picture.pixel(600, (row * 20 + 10) * 3)).collect();
            assert_eq!(rows, [0x00ff00; 4], "{algorithm}: narrow, dense, touch, view");
        }
    });
}

#[test]
fn a_window_that_a_page_opens_is_closed_and_the_page_stays() {
    run(async {
        let (stack, site) = (Stack::shared(), Site::start());
        // What is opened calls home for as long as it lives.
        let calling = site.url("/calling.html");
        let html = format!(
            "<body style='margin:0;background:#0f0'><a id=a target=_blank href='{calling}'>new</a>
             <form id=f target=_blank action='{calling}'></form><button id=b onclick='f.submit()'>send</button>",
        );
        for clicked in ["#a", "#b"] {
            let before = site.count("/call");
            // It lives while the render goes on: for as long as the script below keeps it.
            let scripts = format!(
                "document.querySelector('{clicked}').click(); await new Promise((done) => setTimeout(done, 2500))"
            );
            let options = json!({ "html": html, "scripts": format!("(async () => {{ {scripts} }})()") });
            let picture = png(&stack, options).await;
            assert_eq!(picture.pixel(199, 99), 0x00ff00, "{clicked}");
            let calls = site.count("/call") - before;
            assert!(calls < 20, "{clicked}: the window called {calls} times in two seconds and a half");
        }
        // The same page, taken, calls all the time.
        png(&stack, json!({ "url": calling, "delay": 2 })).await;
        assert!(site.count("/call") > 25, "{}", site.count("/call"));
    });
}

#[test]
fn lists_of_the_operator_are_used_as_well() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ads-own.txt"), "||127.0.0.1^*/square.svg\n##.own-ad\n").unwrap();
        let directory = folder.path().to_str().unwrap().to_owned();
        let stack = Stack::builder().set("SNAPHOOK_RENDER_BLOCKLISTS_DIR", &directory).start();
        let site = Site::start();
        let html = format!(
            "<body style='margin:0'><div class=own-ad style='height:100px;background:red'></div><img src='{}'>",
            site.url("/square.svg")
        );
        for (blocks, colour, loads) in [(false, 0xff0000, 1), (true, 0xffffff, 1)] {
            let picture = png(&stack, json!({ "html": html, "block_ads": blocks })).await;
            assert_eq!((picture.pixel(150, 90), site.count("/square.svg")), (colour, loads), "block_ads={blocks}");
        }
    });
}

#[test]
fn a_document_that_breaks_off_is_an_error_and_one_that_stops_itself_is_shown() {
    run(async {
        let (stack, site) = (Stack::shared(), Site::start());
        let client = stack.client();
        // Without a word from Chromium that it has loaded, both would last until the time limit.
        for wait_until in ["load", "domcontentloaded", "networkidle0"] {
            let (began, options) =
                (Instant::now(), json!({ "url": site.url("/broken"), "wait_until": [wait_until], "timeout": 60 }));
            let answer = client.take(&options).await.expect(500);
            assert_eq!(answer.json()["error_code"], "network_error", "{wait_until}");
            assert!(began.elapsed() < Duration::from_secs(30), "{wait_until}: {:?}", began.elapsed());
        }
        let began = Instant::now();
        let stopped = png(&stack, json!({ "url": site.url("/stopped"), "timeout": 60 })).await;
        assert_eq!(stopped.colour(150, 80), "#00ff00");
        assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());

        let small = Stack::builder().set("SNAPHOOK_RENDER_PAGE_BYTES_MAX", 1_000_000).start();
        let (began, client) = (Instant::now(), small.client());
        let id = client.enqueue("/take", &json!({ "url": site.url("/endless"), "timeout": 60 })).await;
        let view = client.request_when(&id, "failed", Duration::from_secs(50), |view| view["state"] == "failed").await;
        assert_eq!(view["error"]["code"], "network_error", "{view:#}");
        assert_eq!(
            (&view["refused"][0]["host"], &view["refused"][0]["reason"]),
            (&json!("127.0.0.1"), &json!("limit")),
            "{view:#}"
        );
        assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    });
}
