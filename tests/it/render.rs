//! What the pictures show, pixel by pixel.

use std::time::Instant;

use serde_json::{Value as Json, json};
use snaphook_tests::client::Answer;
use snaphook_tests::picture::{Picture, jpeg_size, webp_size};
use snaphook_tests::run;
use snaphook_tests::site::Site;
use snaphook_tests::stack::{Shared, Stack};
use snaphook_tests::wait::s;

const GREEN: u32 = 0x00ff00;

/// Takes a PNG with ScreenshotOne's route.
async fn take(stack: &Shared, options: Json) -> Picture {
    Picture::decode(&take_as(stack, "png", options).await.body)
}

async fn take_as(stack: &Shared, format: &str, mut options: Json) -> Answer {
    options["format"] = json!(format);
    let defaults = [("viewport_width", 200), ("viewport_height", 100)];
    for (name, value) in defaults {
        if options.get(name).is_none() {
            options[name] = json!(value);
        }
    }
    stack.client().take(&options).await.expect(200)
}

#[test]
fn the_viewport_and_its_scale_decide_the_size() {
    run(async {
        let (stack, site) = (Stack::shared(), Site::start());
        let url = site.url("/colors.html");
        for (width, height, scale) in [(300, 200, 1), (300, 200, 2), (411, 133, 3), (1, 1, 1)] {
            let options = json!({
                "url": url, "viewport_width": width, "viewport_height": height, "device_scale_factor": scale,
            });
            let picture = take(&stack, options).await;
            assert_eq!(picture.size(), (width * scale, height * scale));
            assert_eq!(picture.pixel(0, 0), 0xff0000);
            if width > 40 {
                assert_eq!(picture.pixel(40 * scale - 1, 20 * scale - 1), 0xff0000, "at {scale}");
                assert_eq!(picture.pixel(40 * scale, 20 * scale), 0x204080, "at {scale}");
            }
        }
        let unset = stack.client().take(&json!({ "url": url, "format": "png" })).await.expect(200);
        assert_eq!(Picture::decode(&unset.body).size(), (1280, 1024));
    });
}

#[test]
fn a_full_page_is_taken_whole_and_not_stretched() {
    run(async {
        let (stack, site) = (Stack::shared(), Site::start());
        for scale in [1, 2] {
            let options = json!({
                "url": site.url("/tall.html"), "full_page": true, "viewport_width": 240, "viewport_height": 300,
                "device_scale_factor": scale, "full_page_scroll_delay": 100,
            });
            let picture = take(&stack, options).await;
            assert_eq!(picture.size(), (240 * scale, 2310 * scale));
            assert_eq!(picture.pixel(5, 0), 0x0000ff);
            assert_eq!(picture.pixel(5, 300 * scale - 1), 0x0000ff, "one screen is what the viewport is");
            assert_eq!(picture.pixel(5, 300 * scale), GREEN);
            assert_eq!(picture.pixel(5, 2300 * scale - 1), GREEN);
            assert_eq!(picture.pixel(5, 2300 * scale), 0xff0000);
            assert_eq!(picture.pixel(240 * scale - 1, 2310 * scale - 1), 0xff0000);
        }
        let options = json!({
            "url": site.url("/tall.html"), "full_page": true, "full_page_max_height": 700, "viewport_height": 300,
            "full_page_scroll": false,
        });
        assert_eq!(take(&stack, options).await.size(), (200, 700));
        let options = json!({ "url": site.url("/tall.html"), "viewport_height": 300 });
        assert_eq!(take(&stack, options).await.size(), (200, 300), "without full_page only the viewport");
    });
}

#[test]
fn the_lower_end_of_a_very_tall_page_is_there() {
    run(async {
        let stack = Stack::shared();
        let html = "<body style='margin:0'><div style='height:29990px;background:#0f0'></div>
                    <div style='height:10px;background:#f00'></div>";
        // In one shot, and in strips.
        for width in [60, 1_200] {
            let options =
                json!({ "html": html, "full_page": true, "full_page_scroll": false, "viewport_width": width });
            let picture = take(&stack, options).await;
            assert_eq!(picture.size(), (width, 30_000));
            assert_eq!((picture.pixel(30, 29_989), picture.pixel(30, 29_990)), (GREEN, 0xff0000));
        }
    });
}

#[test]
fn pictures_that_load_lazily_are_on_a_full_page() {
    run(async {
        let (stack, site) = (Stack::shared(), Site::start());
        let options = json!({
            "url": site.url("/lazy.html"), "full_page": true, "viewport_width": 120, "viewport_height": 1000,
            "full_page_scroll_delay": 100,
        });
        let picture = take(&stack, options).await;
        assert_eq!(picture.size(), (120, 16_000));
        assert_eq!(site.count("/square.svg"), 4);
        for top in [0, 5_000, 10_000, 15_900] {
            assert_eq!(picture.pixel(50, top + 50), 0xaa00aa, "at {top}");
        }
        assert_eq!(picture.pixel(50, 200), 0xffffff);
    });
}

#[test]
fn one_element_or_one_area_can_be_taken() {
    run(async {
        let (stack, site) = (Stack::shared(), Site::start());
        let url = site.url("/element.html");
        let picture = take(&stack, json!({ "url": url, "selector": "#box" })).await;
        assert_eq!(picture.size(), (120, 80));
        for (x, y) in [(0, 0), (119, 0), (0, 79), (119, 79)] {
            assert_eq!(picture.pixel(x, y), 0x008080, "({x}, {y})");
        }
        let picture = take(&stack, json!({ "url": url, "selector": "#box", "device_scale_factor": 2 })).await;
        assert_eq!((picture.size(), picture.pixel(239, 159)), ((240, 160), 0x008080));
        let area = json!({ "url": url, "clip_x": 40, "clip_y": 1490, "clip_width": 30, "clip_height": 40 });
        let picture = take(&stack, area).await;
        assert_eq!((picture.size(), picture.pixel(9, 9), picture.pixel(10, 10)), ((30, 40), 0xffffff, 0x008080));

        let missing = json!({ "url": url, "selector": "#nowhere", "error_on_selector_not_found": true });
        let answer = stack.client().take(&missing).await.expect(400);
        assert_eq!(answer.json()["error_code"], "selector_not_found");
        let answer = stack.client().take(&json!({ "url": url, "selector": "###" })).await.expect(400);
        assert_eq!(answer.json()["error_details"][0]["message"], "\"selector\" is not a valid selector");
    });
}

#[test]
fn html_has_an_https_origin_of_its_own() {
    run(async {
        let stack = Stack::shared();
        let html = "<body style='margin:0;background:#f00'><script>
            localStorage.x = 'y';
            const good = isSecureContext && location.protocol === 'https:' && origin.startsWith('https://')
                && crypto.subtle && localStorage.x === 'y' && document.characterSet === 'UTF-8';
            document.body.style.background = good ? '#0f0' : '#f00';
            </script>";
        for path in ["/take", "/v1/screenshot"] {
            let options = json!({ "html": html, "format": "png", "viewport_width": 20, "viewport_height": 20 });
            let answer = stack.client().post(path, &options).await.expect(200);
            assert_eq!(Picture::decode(&answer.body).pixel(10, 10), GREEN, "{path}");
        }
    });
}

#[test]
fn each_format_is_what_it_says() {
    run(async {
        let (stack, site) = (Stack::shared(), Site::start());
        let options = json!({ "url": site.url("/colors.html") });
        let png = take_as(&stack, "png", options.clone()).await;
        assert_eq!(png.header("content-type"), "image/png");
        assert!(png.body.starts_with(b"\x89PNG\r\n\x1a\n"));
        for name in ["jpeg", "jpg"] {
            let jpeg = take_as(&stack, name, options.clone()).await;
            assert_eq!((jpeg.header("content-type"), jpeg_size(&jpeg.body)), ("image/jpeg", Some((200, 100))));
        }
        let webp = take_as(&stack, "webp", options.clone()).await;
        assert_eq!((webp.header("content-type"), webp_size(&webp.body)), ("image/webp", Some((200, 100))));

        let noise = "<canvas width=200 height=100></canvas><script>const c = document.querySelector('canvas')
            .getContext('2d'); for (let i = 0; i < 4000; i++) { c.fillStyle = `hsl(${i * 47} 90% 50%)`;
            c.fillRect(i * 37 % 200, i * 91 % 100, 3, 3) }</script>";
        let size = async |quality: u32| {
            take_as(&stack, "jpeg", json!({ "html": noise, "image_quality": quality })).await.body.len()
        };
        assert!(size(10).await * 2 < size(95).await, "quality makes a difference");
    });
}

#[test]
fn a_picture_larger_than_its_format_allows_is_refused() {
    run(async {
        let stack = Stack::shared();
        let html = "<body style='margin:0'><div style='height:20000px'></div>";
        let options = |format: &str| json!({ "html": html, "full_page": true, "full_page_scroll": false, "viewport_width": 50, "format": format });
        let answer = stack.client().take(&options("webp")).await.expect(400);
        assert_eq!(answer.json()["error_code"], "resulting_image_too_large");
        let answer = stack.client().take(&options("jpeg")).await.expect(200);
        assert_eq!(jpeg_size(&answer.body), Some((50, 20_000)));
    });
}

#[test]
fn it_waits_for_what_was_asked() {
    run(async {
        let (stack, site) = (Stack::shared(), Site::start());
        let late = site.url("/late.html");
        let started = Instant::now();
        let picture = take(&stack, json!({ "url": late, "delay": 2 })).await;
        assert_eq!(picture.pixel(100, 50), GREEN);
        assert!(started.elapsed() >= s(2));
        let picture = take(&stack, json!({ "url": late, "wait_for_selector": "#ready" })).await;
        assert_eq!(picture.pixel(100, 50), GREEN);
        let picture = take(&stack, json!({ "url": site.url("/fetching.html"), "wait_until": "networkidle0" })).await;
        assert_eq!(picture.pixel(100, 50), GREEN, "a request was still under way");
        let options =
            json!({ "url": site.url("/late.html"), "scripts": "new Promise(done => setTimeout(done, 1600))" });
        assert_eq!(take(&stack, options).await.pixel(100, 50), GREEN);
    });
}

#[test]
fn connections_that_stay_open_do_not_keep_a_page_from_being_idle() {
    run(async {
        let (stack, site) = (Stack::shared(), Site::start());
        for wait_until in ["networkidle0", "networkidle2"] {
            let started = Instant::now();
            let options = json!({ "url": site.url("/streams.html"), "wait_until": wait_until, "timeout": 20 });
            let picture = take(&stack, options).await;
            assert_eq!(picture.pixel(100, 50), GREEN, "both are open");
            assert!(started.elapsed() < s(10), "{:?}", started.elapsed());
        }
        assert_eq!((site.count("/events"), site.count("/socket")), (2, 2));
    });
}

#[test]
fn a_page_that_asks_questions_goes_on_without_an_answer() {
    run(async {
        let (stack, site) = (Stack::shared(), Site::start());
        let started = Instant::now();
        let picture = take(&stack, json!({ "url": site.url("/dialogs.html"), "timeout": 15 })).await;
        assert_eq!(picture.pixel(100, 50), GREEN, "every question was dismissed");
        assert!(started.elapsed() < s(10), "{:?}", started.elapsed());
    });
}

#[test]
fn nothing_passes_from_one_render_to_the_next() {
    run(async {
        let (stack, site) = (Stack::shared(), Site::start());
        let url = site.url("/memory.html");
        let render = || take(&stack, json!({ "url": url }));
        let (first, second) = futures::join!(render(), render());
        for picture in [first, second, render().await, render().await] {
            assert_eq!(picture.pixel(100, 50), GREEN);
        }
        let known = take(&stack, json!({ "url": url, "cookies": ["been=here"] })).await;
        assert_eq!(known.pixel(100, 50), 0xff0000, "the page would notice");
        let requests = &site.requests("/memory.html")[..4];
        assert_eq!(site.count("/memory.html"), 5, "none came from a cache");
        assert!(requests.iter().all(|headers| !headers.contains_key("cookie")), "{requests:?}");
    });
}

#[test]
fn headers_and_credentials_go_to_the_page_and_its_origin_alone() {
    run(async {
        let (stack, site, other) = (Stack::shared(), Site::start(), Site::start());
        let options = json!({
            "url": site.url(&format!("/headers.html#{}", other.url(""))), "wait_until": "networkidle0",
            "headers": ["X-Visitor: me", "X-Colour:blue"], "authorization": "Basic c2VjcmV0",
            "cookies": ["session=s3cret; HttpOnly"], "user_agent": "Test/1.0",
        });
        take(&stack, options).await;
        for path in ["/headers.html", "/square.svg"] {
            let headers = &site.requests(path)[0];
            assert_eq!(headers["x-visitor"], "me", "{path}");
            assert_eq!(headers["x-colour"], "blue", "{path}");
            assert_eq!(headers["authorization"], "Basic c2VjcmV0", "{path}");
            assert_eq!(headers["cookie"], "session=s3cret", "{path}");
            assert_eq!(headers["user-agent"], "Test/1.0", "{path}");
        }
        for path in ["/square.svg", "/status/200"] {
            let headers = &other.requests(path)[0];
            for name in ["x-visitor", "x-colour", "authorization"] {
                assert!(!headers.contains_key(name), "{name} went elsewhere: {headers:?}");
            }
        }
        // Neither do they follow a redirect to another origin.
        let options = json!({
            "url": site.url(&format!("/redirect?{}", other.url("/colors.html"))),
            "headers": ["X-Visitor: me"], "authorization": "Basic c2VjcmV0",
        });
        take(&stack, options).await;
        assert_eq!(site.requests("/redirect")[0]["authorization"], "Basic c2VjcmV0");
        let headers = &other.requests("/colors.html")[0];
        assert!(!headers.contains_key("authorization") && !headers.contains_key("x-visitor"), "{headers:?}");
    });
}

#[test]
fn a_page_can_be_changed_before_it_is_taken() {
    run(async {
        let (stack, site) = (Stack::shared(), Site::start());
        let url = site.url("/colors.html");
        let picture = take(&stack, json!({ "url": url, "hide_selectors": ["#square", "((("] })).await;
        assert_eq!(picture.pixel(5, 5), 0x204080, "hidden, for all that the other selector is none");
        let picture = take(&stack, json!({ "url": url, "styles": "#square { background: #00ff00 !important }" })).await;
        assert_eq!(picture.pixel(5, 5), GREEN);
        let script = "document.querySelector('#square').style.background = '#00ff00'";
        let picture = take(&stack, json!({ "url": url, "scripts": script })).await;
        assert_eq!(picture.pixel(5, 5), GREEN);
        let html = "<body style='margin:0'><button style='position:absolute;top:50px' onclick=\"document.body.style\
                    .background='#00ff00'\">x</button>";
        let picture = take(&stack, json!({ "html": html, "click": "button" })).await;
        assert_eq!(picture.pixel(150, 20), GREEN);
        let nothing = stack.client().take(&json!({ "html": html, "click": "#none" })).await.expect(400);
        assert_eq!(nothing.json()["error_code"], "selector_not_found");
    });
}

#[test]
fn the_emulated_device_is_what_was_asked() {
    run(async {
        let stack = Stack::shared();
        let html = |condition: &str| {
            format!(
                "<body style='margin:0;background:#f00'><script>
                 document.body.style.background = ({condition}) ? '#00ff00' : '#f00'</script>"
            )
        };
        for (condition, option, value) in [
            ("matchMedia('(prefers-color-scheme: dark)').matches", "dark_mode", json!(true)),
            ("matchMedia('(prefers-color-scheme: light)').matches", "dark_mode", json!(false)),
            ("matchMedia('(prefers-reduced-motion: reduce)').matches", "reduced_motion", json!(true)),
            ("matchMedia('print').matches", "media_type", json!("print")),
            ("Intl.DateTimeFormat().resolvedOptions().timeZone === 'Asia/Tokyo'", "time_zone", json!("Asia/Tokyo")),
            ("navigator.maxTouchPoints > 0", "viewport_has_touch", json!(true)),
            ("screen.orientation.type === 'landscape-primary'", "viewport_landscape", json!(true)),
            ("navigator.userAgent === 'Test/2'", "user_agent", json!("Test/2")),
        ] {
            let mut options = json!({ "html": html(condition) });
            options[option] = value;
            assert_eq!(take(&stack, options).await.pixel(100, 50), GREEN, "{option}");
        }
        let options = json!({ "html": "<body style='margin:0'>", "omit_background": true });
        assert_eq!(take(&stack, options).await.rgba(100, 50)[3], 0, "nothing is there, so all is seen through");
        let wrong = stack.client().take(&json!({ "html": "x", "time_zone": "Mars/Base" })).await.expect(400);
        assert_eq!(wrong.json()["error_details"][0]["message"], "\"time_zone\" is not a known time zone");
        // What is refused is refused before anybody is asked for the page.
        let site = Site::start();
        let options = json!({ "url": site.url("/colors.html"), "time_zone": "Mars/Base", "authorization": "Bearer x" });
        stack.client().take(&options).await.expect(400);
        assert_eq!(site.count("/colors.html"), 0);
    });
}

#[test]
fn a_text_in_the_page_can_make_it_fail() {
    run(async {
        let stack = Stack::shared();
        let client = stack.client();
        for (option, text, code) in [
            ("fail_if_content_contains", "Sold OUT", "content_contains_specified_string"),
            ("fail_if_content_missing", "In stock", "content_missing_specified_string"),
        ] {
            let mut options = json!({ "html": "<p>Sorry, sold out" });
            options[option] = json!([text]);
            let answer = client.take(&options).await.expect(500);
            assert_eq!(answer.json()["error_code"], code);
            options["html"] = json!("<p>In stock");
            client.take(&options).await.expect(200);
        }
    });
}

#[test]
fn many_at_once_are_all_rendered_and_not_mixed_up() {
    run(async {
        let stack = Stack::shared();
        let renders = (1..=12u32).map(|number| {
            let html = format!("<body style='margin:0;background:#{:06x}'>", number * 0x101010);
            let stack = &stack;
            async move {
                let picture = take(stack, json!({ "html": html })).await;
                (number * 0x101010, picture.pixel(100, 50))
            }
        });
        for (asked, got) in futures::future::join_all(renders).await {
            assert_eq!(asked, got);
        }
    });
}
