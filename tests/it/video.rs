//! `/animate` and `/v1/screencast`: every format decoded, its time measured, and nothing left behind.

use serde_json::{Value as Json, json};
use snaphook_tests::client::{Answer, Client};
use snaphook_tests::descendants;
use snaphook_tests::picture::Picture;
use snaphook_tests::receiver::Receiver;
use snaphook_tests::run;
use snaphook_tests::site::Site;
use snaphook_tests::stack::Stack;
use snaphook_tests::video::Video;
use snaphook_tests::wait::{self, s};

/// Red, green and blue by the clock, half a second each.
const COLOURS: &str = "<!doctype html><style>@keyframes c { 0% { background: #f00 } 33.333% { background: #0f0 }
    66.667% { background: #00f } 100% { background: #f00 } } body { animation: c 1.5s step-end infinite }</style><body>";

/// Four viewports: red, green, green, blue.
const TALL: &str = "<!doctype html><style>body { margin: 0 } div { height: 120px; background: #0f0 }</style>
    <div style='background:#f00'></div><div></div><div></div><div style='background:#00f'></div>";

/// Options over a small viewport.
fn small(options: Json) -> Json {
    let mut all = json!({ "viewport_width": 160, "viewport_height": 120, "duration": 1 });
    all.as_object_mut().unwrap().extend(options.as_object().unwrap().clone());
    all
}

async fn animate(client: &Client, options: Json) -> Answer {
    client.post("/animate", &small(options)).await.expect(200)
}

async fn video(client: &Client, options: Json) -> Video {
    Video::decode(&animate(client, options).await.body)
}

/// A page that fills itself by a data URL would be another origin; the site's own address is none that HTML could be at.
async fn screencast(client: &Client, site: &Site, options: Json) -> Video {
    let mut options = small(options);
    options["url"] = json!(site.url("/bands.html"));
    options["block_annoyance"] = json!("none");
    Video::decode(&client.post("/v1/screencast", &options).await.expect(200).body)
}

fn named(colours: &[(f64, String)]) -> Vec<&str> {
    let name = |colour: &str| match colour {
        "#ff0000" => "red",
        "#00ff00" => "green",
        "#0000ff" => "blue",
        _ => "other",
    };
    colours.iter().map(|(_, colour)| name(colour)).collect()
}

#[test]
fn every_format_keeps_the_pages_time() {
    run(async {
        let stack = Stack::shared();
        let formats = [
            ("mp4", "video/mp4", "h264", "yuv420p", 50),
            ("webm", "video/webm", "vp9", "yuv420p", 50),
            ("mov", "video/quicktime", "h264", "yuv420p", 50),
            ("avi", "video/x-msvideo", "mpeg4", "yuv420p", 50),
            ("gif", "image/gif", "gif", "bgra", 25),
        ];
        let client = stack.client();
        for (format, content_type, codec, pixels, frames) in formats {
            let answer = animate(&client, json!({ "html": COLOURS, "format": format, "duration": 2 })).await;
            assert_eq!(answer.header("content-type"), content_type);
            let video = Video::decode(&answer.body);
            assert_eq!((video.codec.as_str(), video.pixels.as_str(), video.size()), (codec, pixels, (160, 120)));
            assert!(video.container.contains(format), "{}", video.container);
            assert_eq!(video.frames.len(), frames, "{format}");
            assert!((video.seconds - 2.0).abs() < 0.09, "{format}: {} s", video.seconds);
            // The first colour was there before, and the last one goes on: all others last for half a second.
            let colours = video.colours(80, 60);
            assert!((4..=5).contains(&colours.len()), "{format}: {colours:?}");
            // A busy machine shows one of them late, and the next one not the later for it.
            let lengths: Vec<f64> = colours.windows(2).skip(1).map(|pair| pair[1].0 - pair[0].0).collect();
            let mean = lengths.iter().sum::<f64>() / lengths.len() as f64;
            assert!((mean - 0.5).abs() < 0.15 && lengths.iter().all(|length| *length > 0.2), "{format}: {colours:?}");
            let order = named(&colours).concat();
            assert!("redgreenblueredgreenbluered".contains(&order), "{format}: {order}");
        }
    });
}

#[test]
fn a_video_is_as_large_as_it_was_wanted() {
    run(async {
        let stack = Stack::shared();
        let client = stack.client();
        let html = "<!doctype html><body style='margin:0;background:#f00'>";
        for (options, size) in [
            (json!({ "viewport_width": 161, "viewport_height": 121 }), (160, 120)),
            (json!({ "viewport_width": 161, "viewport_height": 121, "format": "gif" }), (161, 121)),
            (json!({ "device_scale_factor": 2 }), (320, 240)),
            (json!({ "width": 80, "height": 80, "device_scale_factor": 2 }), (160, 160)),
            (json!({ "aspect_ratio": "16:9" }), (214, 120)),
            (json!({ "clip_x": 20, "clip_y": 10, "clip_width": 33, "clip_height": 21, "format": "gif" }), (33, 21)),
        ] {
            let mut all = options.clone();
            all["html"] = json!(html);
            let video = video(&client, all).await;
            assert_eq!(video.size(), size, "{options}");
            let (width, height) = size;
            assert_eq!(video.at(0.5).colour(width / 2, height / 2), "#ff0000", "{options}");
        }
        // What does not fill the picture lies in its middle.
        let boxed = video(&client, json!({ "html": html, "width": 160, "height": 160 })).await;
        let column: Vec<String> = [10, 80, 150].iter().map(|y| boxed.at(0.5).colour(80, *y)).collect();
        assert_eq!(column, ["#000000", "#ff0000", "#000000"]);
    });
}

#[test]
fn details_are_as_sharp_as_the_device() {
    run(async {
        let stack = Stack::shared();
        let client = stack.client();
        // Lines of one device pixel.
        let html = "<!doctype html><body style='margin:0'><div style='height:120px;background:repeating-linear-gradient(90deg,#000 0 .5px,#fff .5px 1px)'>";
        let options = json!({ "html": html, "device_scale_factor": 2, "format": "gif" });
        let video = video(&client, options).await;
        let row: Vec<String> = (100..104).map(|x| video.at(0.5).colour(x, 60)).collect();
        assert_eq!(row, ["#000000", "#ffffff", "#000000", "#ffffff"]);
    });
}

#[test]
fn a_background_can_be_left_out_of_a_mov() {
    run(async {
        let stack = Stack::shared();
        let client = stack.client();
        let html = "<!doctype html><body style='margin:0'><div style='width:50px;height:50px;background:#f00'>";
        let options = json!({ "html": html, "format": "mov", "omit_background": true });
        let video = video(&client, options).await;
        assert_eq!(video.codec, "qtrle");
        assert_eq!((video.at(0.5).rgba(10, 10), video.at(0.5).rgba(150, 100)[3]), ([255, 0, 0, 255], 0));
    });
}

#[test]
fn a_scroll_goes_down_and_comes_back() {
    run(async {
        let (stack, site) = (Stack::shared(), Site::start());
        let client = stack.client();
        let options = json!({
            "scenario": "scroll", "scroll_by_duration": 400, "scroll_by_amount": 1000, "scroll_by_delay": 100,
            "scroll_back_delay": 300, "duration": 2,
        });
        let video = screencast(&client, &site, options).await;
        assert_eq!(named(&video.colours(80, 60)).join(" "), "red green blue green red");
        assert_eq!(
            (video.at(0.0).colour(80, 10), video.at(1.95).colour(80, 110)),
            ("#ff0000".into(), "#ff0000".into())
        );
        // It takes the time that it was given, whatever the machine's frame rate is.
        let colours = video.colours(80, 60);
        let (down, back) = (colours[2].0 - colours[1].0, colours[3].0 - colours[2].0);
        assert!((down - 0.24).abs() < 0.12, "240 of 360 pixels in 400 ms: {colours:?}");
        assert!((back - 0.42).abs() < 0.15, "60 pixels, 300 ms, 60 pixels: {colours:?}");
        // This vendor's videos are as long as was said; the other's end with the scrolling.
        assert_eq!(video.frames.len(), 50);
        let options =
            json!({ "html": TALL, "scenario": "scroll", "scroll_duration": 300, "scroll_back": false, "duration": 4 });
        let video = self::video(&client, options).await;
        assert!((1.0..1.6).contains(&video.seconds), "{}", video.seconds);
        assert_eq!(video.at(9.0).colour(80, 60), "#0000ff");
    });
}

#[test]
fn a_recording_can_go_on_to_another_page() {
    run(async {
        let (stack, site) = (Stack::shared(), Site::start());
        let client = stack.client();
        let options = |more: Json| {
            let mut all = json!({
                "url": site.url("/links.html"), "scenario": "scroll", "scroll_try_navigate": true, "duration": 3,
                "scroll_navigate_after": 800, "scroll_complete": false, "scroll_duration": 300,
            });
            all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            all
        };
        let ends = async |more: Json| {
            let video = self::video(&client, options(more)).await;
            assert_eq!(video.at(0.2).colour(80, 110), "#ffffff");
            video.at(2.9).colour(80, 110)
        };
        assert_eq!(ends(json!({ "scroll_navigate_to_url": site.url("/plain.html?blue") })).await, "#0000ff");
        assert_eq!(ends(json!({ "scroll_navigate_link_hints": ["nowhere", "prices"] })).await, "#00ff00");
        // No word: the first link that is seen and stays on the site.
        assert_eq!(ends(json!({ "scroll_navigate_link_hints": [] })).await, "#ff0000");
        assert_eq!(ends(json!({ "scroll_navigate_link_hints": ["nowhere"] })).await, "#ffffff");
        // It leads nowhere that a page may not be.
        let forbidden = json!({ "scroll_navigate_to_url": "http://169.254.169.254/latest" });
        let answer = client.post("/animate", &small(options(forbidden))).await.expect(400);
        assert_eq!(answer.json()["error_code"], "target_not_allowed");
    });
}

#[test]
fn a_page_cannot_lead_a_recording_off_the_web() {
    run(async {
        let (stack, site) = (Stack::shared(), Site::start());
        let file = tempfile::Builder::new().suffix(".html").tempfile().unwrap();
        std::fs::write(&file, "<body style='margin:0;background:#00f'>").unwrap();
        let ends = async |address: &str| {
            let options = json!({
                "url": site.url(&format!("/lying.html?{address}")), "scenario": "scroll", "scroll_try_navigate": true,
                "scroll_navigate_link_hints": [], "scroll_navigate_after": 600, "scroll_complete": false,
                "scroll_duration": 300, "duration": 2,
            });
            self::video(&stack.client(), options).await.at(1.9).colour(80, 110)
        };
        // It does get its way where that is somewhere on the web.
        assert_eq!(ends(&site.url("/plain.html?green")).await, "#00ff00");
        for address in [
            &format!("file://{}", file.path().display()),
            "chrome://version/",
            "about:version",
            "data:text/html,<body%20bgcolor=blue>",
        ] {
            assert_eq!(ends(address).await, "#ffffff", "{address}");
        }
    });
}

#[test]
fn a_video_is_stored_announced_and_cached_like_a_picture() {
    run(async {
        let (stack, receiver) = (Stack::shared(), Receiver::start());
        let client = stack.edge_client();
        let options = small(json!({ "html": COLOURS, "format": "webm", "webhook_url": receiver.url() }));
        let id = client.enqueue("/animate", &options).await;
        let view = client.done(&id, s(40)).await;
        let url = view["file"]["url"].as_str().unwrap();
        assert!(url.ends_with(".webm"), "{url}");
        let file = stack.client().get(url).await.expect(200);
        assert_eq!((file.header("content-type"), Video::decode(&file.body).codec.as_str()), ("video/webm", "vp9"));
        wait::for_it("the webhook", s(20), || (!receiver.all().is_empty()).then_some(())).await;

        let options = small(json!({ "html": COLOURS, "cache": true, "cache_key": "video", "response_type": "json" }));
        let first = client.post("/animate", &options).await.expect(200);
        let again = client.post("/animate", &options).await.expect(200);
        assert_eq!((first.header("x-snaphook-cache"), again.header("x-snaphook-cache")), ("miss", "hit"));
        assert_eq!(first.json(), again.json());
        assert!(first.json()["screenshot_url"].as_str().unwrap().ends_with(".mp4"));
        let answer =
            client.get(&client.signed("/animate", "html=x&duration=1&attachment_name=film&response_type=empty")).await;
        assert_eq!((answer.status.as_u16(), answer.body.len()), (200, 0));
    });
}

#[test]
fn what_makes_no_sense_is_refused_in_the_vendors_words() {
    run(async {
        let stack = Stack::shared();
        let client = stack.client();
        let message = async |path: &str, options: Json| {
            let body = client.post(path, &options).await.expect(400).json();
            let details = [&body["error_details"], &body["details"]].into_iter().find_map(Json::as_array).cloned();
            details.unwrap()[0]["message"].as_str().unwrap().to_owned()
        };
        for (options, wanted) in [
            (json!({ "duration": 31 }), "\"duration\" must be less than or equal to 30"),
            (json!({ "duration": 0.5 }), "\"duration\" must be greater than or equal to 1"),
            (json!({ "format": "png" }), "\"format\" must be one of [mp4, avi, mov, webm, gif]"),
            (json!({ "selector": "p" }), "\"selector\" is not allowed"),
            (json!({ "full_page": true }), "\"full_page\" is not allowed"),
            (json!({ "clip_x": 3 }), "\"clip_x\" is not allowed"),
            (json!({ "omit_background": true }), "\"omit_background\" is not allowed"),
            (json!({ "scroll_duration": 99 }), "\"scroll_duration\" must be greater than or equal to 100"),
            (json!({ "scroll_to_end_after": 5 }), "\"scroll_to_end_after\" is not allowed"),
            (json!({ "scroll_stop_after_duration": 5 }), "\"scroll_stop_after_duration\" is not allowed"),
            (json!({ "width": 100 }), "\"value\" contains [width] without its required peers [height]"),
            (
                json!({ "scroll_back": false, "scroll_stop_after_duration": 5, "scroll_back_after_duration": 5 }),
                "\"value\" contains a conflict between optional exclusive peers [scroll_stop_after_duration, scroll_back_after_duration]",
            ),
        ] {
            let mut all = options;
            all["html"] = json!("x");
            assert_eq!(message("/animate", all).await, wanted);
        }
        let huge = message("/animate", json!({ "html": "x", "viewport_width": 3000, "device_scale_factor": 2 })).await;
        assert!(huge.contains("4096 pixels a side"), "{huge}");
        let bad = json!({ "html": "x", "duration": 1, "scenario": "scroll", "scroll_till_selector": "p[" });
        assert_eq!(message("/animate", bad).await, "\"scroll_till_selector\" is not a valid selector");
        assert_eq!(message("/v1/screencast", json!({})).await, "\"url\" is required");
        assert_eq!(
            message("/v1/screencast", json!({ "url": "https://example.com", "format": "gif" })).await,
            "\"format\" must be one of [mp4, webm, mov, avi]"
        );
    });
}

#[test]
fn without_ffmpeg_there_are_pictures_and_a_clear_word() {
    run(async {
        let stack = Stack::builder().set("SNAPHOOK_RENDER_FFMPEG", "/nowhere/ffmpeg").start();
        let client = stack.client();
        let answer = client.post("/animate", &json!({ "html": "x" })).await.expect(503);
        let body = answer.json();
        assert_eq!((&body["is_successful"], &body["error_code"]), (&json!(false), &json!("video_not_available")));
        let page = client.get(body["documentation_url"].as_str().unwrap()).await.expect(200);
        assert!(page.text().contains("ffmpeg"));
        let options = json!({ "url": "http://127.0.0.1:8000/", "async": true });
        let answer = client.post("/v1/screencast", &options).await.expect(503);
        assert_eq!(answer.json()["code"], "video_not_available");
        client.take(&json!({ "html": "x" })).await.expect(200);
        let ready = client.get(&format!("{}/readyz", stack.operations)).await.expect(200).json();
        assert!(ready["warnings"].to_string().contains("no ffmpeg"), "{ready}");
    });
}

/// The ffmpeg processes of a stack.
fn encoders(stack: &Stack) -> Vec<descendants::Process> {
    let all = descendants::of(stack.backend_pid());
    all.into_iter().filter(|process| process.name.contains("ffmpeg")).collect()
}

#[test]
fn nothing_is_left_of_a_recording_that_ends_early() {
    run(async {
        let stack = Stack::builder().set("SNAPHOOK_QUEUE_LEASE_SECONDS", 5).start();
        let client = stack.client();
        let endless = "<!doctype html><script>const go = () => { document.body.style.background = `hsl(${performance.now() % 360} 90% 50%)`;
            requestAnimationFrame(go) }</script><body onload='go()'>";
        let id = client.enqueue("/animate", &small(json!({ "html": endless, "duration": 30 }))).await;
        let running = wait::for_it("ffmpeg", s(30), || Some(encoders(&stack)).filter(|found| !found.is_empty())).await;
        client.post(&format!("/v1/requests/{id}/cancel"), &json!({})).await.expect(200);
        wait::for_it("its end", s(20), || descendants::still_running(&running).is_empty().then_some(())).await;
        assert_eq!(client.request(&id).await["state"], "cancelled");

        // A page without an end ends with its recording, and one that is too slow for its time limit with that.
        let video = video(&client, json!({ "html": endless, "duration": 1 })).await;
        assert_eq!(video.frames.len(), 25);
        let late = small(json!({ "html": endless, "delay": 5, "timeout": 1 }));
        let answer = client.post("/animate", &late).await.expect(500);
        assert_eq!(answer.json()["error_code"], "timeout_error");
        wait::for_it("no ffmpeg", s(20), || encoders(&stack).is_empty().then_some(())).await;
        let scratch = stack.data_dir().join("scratch");
        let left: Vec<_> = std::fs::read_dir(scratch).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert!(left.iter().all(|name| name.to_string_lossy().starts_with("snaphook-chromium-")), "{left:?}");
    });
}

#[test]
fn an_encoder_that_fails_is_no_video() {
    run(async {
        // It takes the pictures and gives nothing, as one without the codec would.
        let folder = tempfile::tempdir().unwrap();
        let broken = folder.path().join("ffmpeg");
        std::fs::write(&broken, "#!/bin/sh\necho no such encoder >&2\nexit 1\n").unwrap();
        std::fs::set_permissions(&broken, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let stack = Stack::builder().set("SNAPHOOK_RENDER_FFMPEG", broken.display()).start();
        let answer = stack.client().post("/animate", &small(json!({ "html": COLOURS }))).await.expect(500);
        assert_eq!(answer.json()["error_code"], "internal_application_error");
        assert!(stack.backend_says("no such encoder").await, "the operator reads why");
        // The picture itself is not ffmpeg's business.
        let answer = stack.client().take(&json!({ "html": TALL, "format": "png" })).await.expect(200);
        assert_eq!(Picture::decode(&answer.body).pixel(5, 5), 0xff0000);
    });
}
