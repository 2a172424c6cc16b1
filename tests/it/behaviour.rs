//! What is done to a page and what is told of it: each option by an effect that can be seen.

use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use http::{HeaderMap, Request, Response};
use hyper::body::Incoming;
use serde_json::{Value as Json, json};
use snaphook_tests::client::Answer;
use snaphook_tests::picture::Picture;
use snaphook_tests::receiver::Receiver;
use snaphook_tests::run;
use snaphook_tests::serve::{Body, Port, Server, full};
use snaphook_tests::site::Site;
use snaphook_tests::stack::Stack;
use snaphook_tests::wait::s;

const RED: u32 = 0xff0000;
const GREEN: u32 = 0x00ff00;
const BLUE: u32 = 0x0000ff;
const WHITE: u32 = 0xffffff;

/// A backend that these tests share; none of them needs the edge.
fn stack() -> Arc<Stack> {
    static CURRENT: Mutex<Weak<Stack>> = Mutex::new(Weak::new());
    // One test's panic is not the next one's.
    let mut current = CURRENT.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    current.upgrade().unwrap_or_else(|| {
        let started = Arc::new(Stack::builder().start());
        *current = Arc::downgrade(&started);
        started
    })
}

/// A page of one colour.
fn coloured(colour: &str) -> String {
    format!("<!doctype html><body style='margin:0;background:{colour}'>")
}

/// What a [`Web`] answers to a path.
#[derive(Clone)]
struct Route {
    path: &'static str,
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: String,
}

fn page(path: &'static str, body: impl Into<String>) -> Route {
    Route { path, status: 200, headers: vec![("content-type", "text/html; charset=utf-8".into())], body: body.into() }
}

fn script(path: &'static str, body: &str) -> Route {
    Route { path, status: 200, headers: vec![("content-type", "text/javascript".into())], body: body.into() }
}

/// A site of a test's own; it remembers what it was asked.
struct Web {
    server: Server,
    seen: Arc<Mutex<Vec<(String, HeaderMap)>>>,
}

impl Web {
    fn start(routes: Vec<Route>) -> Web {
        let seen: Arc<Mutex<Vec<(String, HeaderMap)>>> = Arc::default();
        let noted = seen.clone();
        let server = Server::start(Port::reserve(), move |request: Request<Incoming>| {
            let path = request.uri().path().to_owned();
            noted.lock().unwrap().push((path.clone(), request.headers().clone()));
            let route = routes.iter().find(|route| route.path == path).cloned();
            async move {
                let mut response: Response<Body> = Response::new(full(""));
                match route {
                    None => *response.status_mut() = http::StatusCode::NOT_FOUND,
                    Some(route) => {
                        *response.status_mut() = http::StatusCode::from_u16(route.status).unwrap();
                        for (name, value) in route.headers {
                            response.headers_mut().insert(name, value.parse().unwrap());
                        }
                        *response.body_mut() = full(route.body);
                    }
                }
                response
            }
        });
        Web { server, seen }
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.server.url())
    }

    fn requests(&self, path: &str) -> Vec<HeaderMap> {
        let seen = self.seen.lock().unwrap();
        seen.iter().filter(|(one, _)| one == path).map(|(_, headers)| headers.clone()).collect()
    }

    fn count(&self, path: &str) -> usize {
        self.requests(path).len()
    }
}

async fn answer(stack: &Stack, mut options: Json) -> Answer {
    let set = options.as_object_mut().unwrap();
    for (name, value) in [("format", json!("png")), ("viewport_width", json!(200)), ("viewport_height", json!(100))] {
        if !set.contains_key("viewport_device") || name == "format" {
            set.entry(name).or_insert(value);
        }
    }
    stack.client().take(&options).await
}

#[track_caller]
fn picture(answer: Answer) -> Picture {
    Picture::decode(&answer.expect(200).body)
}

async fn take(stack: &Stack, options: Json) -> Picture {
    picture(answer(stack, options).await)
}

/// The colour in the middle of a picture of 200 x 100.
async fn colour(stack: &Stack, options: Json) -> u32 {
    take(stack, options).await.pixel(100, 50)
}

async fn error(stack: &Stack, options: Json) -> String {
    let answer = answer(stack, options).await;
    assert_ne!(answer.status.as_u16(), 200, "a picture and no error");
    answer.json()["error_code"].as_str().unwrap().to_owned()
}

#[test]
fn a_device_sets_the_screen_and_the_agent() {
    run(async {
        let stack = stack();
        let web = Web::start(vec![page("/", "<meta name=viewport content='width=device-width'><p>x")]);
        let phone = take(&stack, json!({ "url": web.url("/"), "viewport_device": "iphone_13_pro" })).await;
        assert_eq!(phone.size(), (390 * 3, 844 * 3));
        let agent = web.requests("/")[0]["user-agent"].to_str().unwrap().to_owned();
        assert!(agent.contains("iPhone OS 15"), "{agent}");
        let own =
            json!({ "html": "x", "viewport_device": "iphone_13_pro", "viewport_width": 100, "device_scale_factor": 1 });
        assert_eq!(take(&stack, own).await.size(), (100, 844));
        let touch = coloured("red")
            + "<script>if (navigator.maxTouchPoints > 0 && matchMedia('(orientation: landscape)').matches)
            document.body.style.background = '#0f0'</script>";
        let wide = take(&stack, json!({ "html": touch, "viewport_device": "galaxy_s9+_landscape" })).await;
        assert_eq!((wide.size(), wide.pixel(9, 9)), ((658 * 9 / 2, 320 * 9 / 2), GREEN));
        assert_eq!(error(&stack, json!({ "html": "x", "viewport_device": "abacus" })).await, "request_not_valid");
    });
}

#[test]
fn the_page_is_scrolled_to_what_was_named() {
    run(async {
        let stack = stack();
        let bands = "<body style='margin:0'><div style='height:500px;background:#f00'></div>
            <div id=b style='height:500px;background:#0f0'></div><div style='height:500px;background:#00f'></div>";
        let options = json!({ "html": bands, "scroll_into_view": "#b" });
        assert_eq!(take(&stack, options).await.pixel(5, 1), GREEN);
        let higher = json!({ "html": bands, "scroll_into_view": "#b", "scroll_into_view_adjust_top": -30 });
        let higher = take(&stack, higher).await;
        assert_eq!((higher.pixel(5, 28), higher.pixel(5, 32)), (RED, GREEN));
        assert_eq!(colour(&stack, json!({ "html": bands, "scroll_into_view": "#none" })).await, RED);
        let strict = json!({ "html": bands, "scroll_into_view": "#none", "error_on_selector_not_found": true });
        assert_eq!(error(&stack, strict).await, "selector_not_found");
        // What is taken by its selector is scrolled to, or not, and shows by what the page does then.
        let watch = "<body style='margin:0;height:3000px'><div id=d style='margin-top:2000px;height:40px;background:#f00'></div>
            <script>addEventListener('scroll', () => { d.style.background = '#0f0' })</script>";
        for (scrolls, expected) in [(true, GREEN), (false, RED)] {
            let options = json!({ "html": watch, "selector": "#d", "selector_scroll_into_view": scrolls });
            let shot = take(&stack, options).await;
            assert_eq!(shot.size(), (200, 40));
            assert!(shot.pixel(5, 20) == expected || scrolls, "not scrolled, {:06x}", shot.pixel(5, 20));
        }
    });
}

const SHADOW: &str = "<body style='margin:20px 0'><div id=host></div><script>
    const root = host.attachShadow({ mode: 'open' });
    root.innerHTML = `<style>.in:hover { background: #00f !important }</style>
        <div class=in style='width:60px;height:30px;background:#f00'>deep</div>`;
    root.querySelector('.in').onclick = (event) => { event.target.style.background = '#0f0' };
    </script>";

#[test]
fn open_shadow_roots_are_reached_by_their_prefix() {
    run(async {
        let stack = stack();
        let shot = take(&stack, json!({ "html": SHADOW, "selector": "shadow/.in" })).await;
        assert_eq!((shot.size(), shot.pixel(50, 25)), ((60, 30), RED));
        let clicked = take(&stack, json!({ "html": SHADOW, "click": "shadow/.in" })).await;
        assert_eq!(clicked.pixel(50, 45), GREEN);
        let hovered = take(&stack, json!({ "html": SHADOW, "hover": "shadow/.in" })).await;
        assert_eq!(hovered.pixel(50, 45), BLUE);
        assert_eq!(error(&stack, json!({ "html": SHADOW, "click": ".in" })).await, "selector_not_found");
    });
}

#[test]
fn the_pointer_rests_where_it_was_put() {
    run(async {
        let stack = stack();
        let html = "<style>body{margin:0} #a{margin:1500px 0 0;height:100px;background:#f00} #a:hover{background:#0f0}</style><div id=a>";
        let hovered = json!({ "html": html, "hover": "#a", "selector": "#a" });
        assert_eq!(colour(&stack, hovered).await, GREEN);
        assert_eq!(error(&stack, json!({ "html": html, "hover": "#no" })).await, "selector_not_found");
        assert_eq!(error(&stack, json!({ "html": html, "hover": ":::" })).await, "request_not_valid");
        let mild = json!({ "html": html, "hover": "#no", "error_on_hover_selector_not_found": false });
        assert_eq!(colour(&stack, mild).await, WHITE);
    });
}

#[test]
fn a_script_may_lead_elsewhere_if_that_is_waited_for() {
    run(async {
        let stack = stack();
        let late = coloured("red")
            + "<script>setTimeout(() => document.body.style.background = '#0f0', 200)</script>
            <img src=/slow.png>";
        let web = Web::start(vec![page("/", coloured("blue")), page("/next", late)]);
        let leave = |wait: Json| json!({ "url": web.url("/"), "scripts": "location.href = '/next'", "scripts_wait_until": wait });
        assert_eq!(error(&stack, leave(json!([]))).await, "script_triggers_redirect");
        assert_eq!(colour(&stack, leave(json!(["networkidle0"]))).await, GREEN);
        let stays = json!({ "url": web.url("/"), "scripts": "location.hash = 'x'; history.pushState({}, '', '/y')" });
        assert_eq!(colour(&stack, stays).await, BLUE);
    });
}

#[test]
fn a_selector_with_parts_can_want_as_many_matches() {
    run(async {
        let stack = stack();
        let html = coloured("red")
            + "<p class=a>x<script>setTimeout(() => {
            document.body.append(Object.assign(document.createElement('p'), { className: 'b' }));
            document.body.style.background = '#0f0' }, 700)</script>";
        let waiting = |algorithm: &str| json!({ "html": html, "wait_for_selector": ".a, .b:not(i, u)", "wait_for_selector_algorithm": algorithm });
        assert_eq!(colour(&stack, waiting("at_least_one")).await, RED);
        assert_eq!(colour(&stack, waiting("at_least_by_count")).await, GREEN);
    });
}

#[test]
fn motion_is_brought_to_a_halt() {
    run(async {
        let stack = stack();
        let html =
            "<style>body{margin:0} div{height:50px} @keyframes go { from { background:#f00 } to { background:#0f0 } }
            #once { animation: go 60s forwards } #ever { animation: go 1s infinite }
            @media (prefers-reduced-motion: reduce) { #told { background: #00f } }</style>
            <div id=once></div><div id=ever></div><div id=told></div>";
        let options = json!({ "html": html, "reduce_motion": true, "viewport_height": 150 });
        let still = take(&stack, options).await;
        assert_eq!((still.pixel(9, 25), still.pixel(9, 75), still.pixel(9, 125)), (GREEN, RED, BLUE));
        let moving = take(&stack, json!({ "html": html, "viewport_height": 150 })).await;
        assert_ne!(moving.pixel(9, 25), GREEN);
        assert_eq!(moving.pixel(9, 125), WHITE);
    });
}

#[test]
fn a_failed_request_can_fail_the_render() {
    run(async {
        let stack = stack();
        let web = Web::start(vec![page("/", coloured("#0f0") + "<img src=/gone.png>")]);
        let needing = |pattern: &str| json!({ "url": web.url("/"), "fail_if_request_failed": [pattern] });
        assert_eq!(error(&stack, needing("*.png")).await, "matched_failed_request");
        assert_eq!(error(&stack, needing(&web.url("/gone.png"))).await, "matched_failed_request");
        assert_eq!(colour(&stack, needing("*/else.png")).await, GREEN);
        let blocked = json!({ "url": web.url("/"), "fail_if_request_failed": ["*.png"], "block_requests": ["*.png"] });
        assert_eq!(colour(&stack, blocked).await, GREEN);
    });
}

#[test]
fn eyes_can_be_others() {
    run(async {
        let stack = stack();
        let seen = async |deficiency: Json| {
            let mut options = json!({ "html": coloured("red"), "format": "png", "viewport_width": 200, "viewport_height": 100, "block_annoyance": "none" });
            options["vision_deficiency"] = deficiency;
            picture(stack.client().screenshot(&options).await).rgba(100, 50)
        };
        let [r, g, b, _] = seen(json!("achromatopsia")).await;
        assert!(r == g && g == b && r < 250, "{r} {g} {b}");
        assert_ne!(seen(json!("deuteranopia")).await, [255, 0, 0, 255]);
    });
}

#[test]
fn languages_are_those_of_the_header() {
    run(async {
        let stack = stack();
        let html = coloured("red")
            + "<script>const apostrophe = (1234.5).toLocaleString('de-CH')[1]; document.title = navigator.language + (1234.5).toLocaleString() + Intl.DateTimeFormat().resolvedOptions().locale;
            if (document.title === `de-CH1${apostrophe}234.5de-CH`) document.body.style.background = '#0f0'</script>";
        let web = Web::start(vec![page("/", html)]);
        let options = json!({ "url": web.url("/"), "headers": ["Accept-Language: de-CH,fr;q=0.5"] });
        let mut options = options;
        options["metadata_page_title"] = json!(true);
        let shot = answer(&stack, options).await;
        assert_eq!(picture(shot.clone()).pixel(100, 50), GREEN, "{}", shot.header("x-screenshotone-page-title"));
        assert_eq!(web.requests("/")[0]["accept-language"], "de-CH,fr;q=0.5");
    });
}

#[test]
fn credentials_stay_with_the_pages_own_origin() {
    run(async {
        let stack = stack();
        let other = Web::start(vec![page("/landed", coloured("#0f0")), script("/third.js", "")]);
        let away = |path: &'static str, to: &str| Route {
            path,
            status: 302,
            headers: vec![("location", other.url(to)), ("access-control-allow-origin", "*".to_owned())],
            body: String::new(),
        };
        let body = format!(
            "{}<script src='{}'></script><script src='/first.js'></script><script src='/away.js'></script>",
            coloured("blue"),
            other.url("/third.js")
        );
        let own = Web::start(vec![
            page("/", body),
            script("/first.js", ""),
            away("/away.js", "/third.js"),
            away("/away", "/landed"),
        ]);
        let with = |path: &str| {
            json!({
                "url": own.url(path), "authorization": "Bearer abc", "headers": ["X-Mine: yes"], "cookies": ["c=1; HttpOnly"],
            })
        };
        assert_eq!(colour(&stack, with("/")).await, BLUE);
        for path in ["/", "/first.js", "/away.js"] {
            let headers = &own.requests(path)[0];
            assert_eq!(
                (&headers["authorization"], &headers["x-mine"], &headers["cookie"]),
                (&"Bearer abc".parse().unwrap(), &"yes".parse().unwrap(), &"c=1".parse().unwrap()),
                "{path}"
            );
        }
        assert_eq!(colour(&stack, with("/away")).await, GREEN);
        for path in ["/third.js", "/landed"] {
            assert!(other.count(path) > 0, "{path} was not asked for");
            for headers in other.requests(path) {
                assert!(
                    !headers.contains_key("authorization") && !headers.contains_key("x-mine"),
                    "{path}: {headers:?}"
                );
            }
        }
    });
}

#[test]
fn dialogs_popups_and_downloads_hold_nothing_up() {
    run(async {
        let stack = stack();
        let attachment = Route {
            headers: vec![
                ("content-disposition", "attachment; filename=a.zip".into()),
                ("content-type", "application/zip".into()),
            ],
            ..page("/file", "PK")
        };
        let opens = coloured("red")
            + "<script>alert(1); confirm(2); prompt(3); onbeforeunload = () => 'no';
            for (let i = 0; i < 5; i++) window.open('/popup?' + i);
            document.body.style.background = '#0f0'</script>";
        let web = Web::start(vec![page("/", opens), page("/popup", coloured("red")), attachment]);
        let started = Instant::now();
        assert_eq!(colour(&stack, json!({ "url": web.url("/"), "delay": 1 })).await, GREEN);
        assert!(started.elapsed() < Duration::from_secs(15));
        assert_eq!(web.count("/popup"), 0, "a popup was loaded");
        let download = answer(&stack, json!({ "url": web.url("/file") })).await.expect(400).json();
        assert_eq!(download["error_code"], "request_not_valid");
        assert!(download["error_details"][0]["message"].as_str().unwrap().contains("download"), "{download}");
    });
}

#[test]
fn requests_and_kinds_of_resources_can_be_kept_out() {
    run(async {
        let stack = stack();
        let body = coloured("red") + "<script src=/paint.js></script><img src=/i.png><link rel=stylesheet href=/s.css>
            <script>fetch('/f.json'); new EventSource('/e'); const x = new XMLHttpRequest(); x.open('GET', '/x'); x.send();
            const a = new FontFace('F', 'url(/font.woff2)'); a.load().catch(() => {}); const v = document.createElement('video'); v.src = '/v.mp4'; v.load()</script>
            <iframe src=/inner></iframe>";
        let web = Web::start(vec![
            page("/", body),
            script("/paint.js", "document.body.style.background = '#0f0'"),
            page("/inner", "x"),
        ]);
        let left_out = async |option: Json, path: &str| {
            let before = (web.count("/"), web.count(path));
            let mut options = json!({ "url": web.url("/"), "wait_until": ["load", "networkidle2"] });
            options.as_object_mut().unwrap().extend(option.as_object().unwrap().clone());
            let shown = colour(&stack, options).await;
            assert_eq!(web.count("/"), before.0 + 1, "the page itself");
            (shown, web.count(path) == before.1)
        };
        assert_eq!(left_out(json!({}), "/paint.js").await, (GREEN, false));
        let host = web.server.address.to_string();
        for pattern in [web.url("/paint.js"), "*/paint.js".to_owned(), format!("{host}/paint.js"), "*.js".to_owned()] {
            assert_eq!(left_out(json!({ "block_requests": [pattern] }), "/paint.js").await, (RED, true), "{pattern}");
        }
        let (shown, all) = left_out(json!({ "block_requests": ["127.0.0.1"] }), "/f.json").await;
        assert_eq!((shown, all), (RED, true), "a domain");
        let kinds = [
            ("script", "/paint.js"),
            ("image", "/i.png"),
            ("stylesheet", "/s.css"),
            ("fetch", "/f.json"),
            ("xhr", "/x"),
            ("eventsource", "/e"),
            ("font", "/font.woff2"),
            ("media", "/v.mp4"),
            ("document", "/inner"),
        ];
        for (kind, path) in kinds {
            // Neither media nor event sources keep the picture waiting, so on a busy machine it may be taken before they are
            // asked for: the page is left a second, and more than one try to ask. To be kept out takes one.
            let mut asked_for = false;
            for _ in 0..3 {
                asked_for |= !left_out(json!({ "block_resources": ["manifest"], "delay": 1 }), path).await.1;
                if asked_for {
                    break;
                }
            }
            assert!(asked_for, "{path} is asked for where its kind is let through");
            let kept_out = left_out(json!({ "block_resources": [kind], "delay": 1 }), path).await.1;
            assert!(kept_out, "{kind} is kept out");
        }
    });
}

#[test]
fn web_sockets_can_be_kept_out() {
    run(async {
        let (stack, site) = (stack(), Site::start());
        let socket = site.url("/socket").replace("http:", "ws:");
        let html = format!(
            "{}<script>const s = new WebSocket('{socket}'); s.onopen = () => document.body.style.background = '#0f0'; s.onerror = () => document.body.style.background = '#00f'</script>",
            coloured("red")
        );
        let web = Web::start(vec![page("/", html)]);
        let url = web.url("/");
        let options = |blocked: Json| json!({ "url": url, "delay": 1, "block_resources": blocked });
        assert_eq!(colour(&stack, options(json!([]))).await, GREEN);
        assert_eq!(colour(&stack, options(json!(["websocket"]))).await, BLUE);
    });
}

#[test]
fn frames_of_other_sites_are_blocked_in_too() {
    run(async {
        let stack = stack();
        let web = Web::start(vec![
            page("/frame", coloured("red") + "<script src=/paint.js></script>"),
            script("/paint.js", "document.body.style.background = '#0f0'"),
        ]);
        let html = format!(
            "<body style='margin:0'><iframe src='{}' style='border:0;width:200px;height:100px'></iframe>",
            web.url("/frame")
        );
        let idle = json!({ "html": html, "wait_until": ["networkidle0"] });
        assert_eq!(colour(&stack, idle).await, GREEN);
        assert_eq!(web.count("/paint.js"), 1);
        let blocked = json!({ "html": html, "wait_until": ["networkidle0"], "block_requests": ["*/paint.js"] });
        assert_eq!(colour(&stack, blocked).await, RED);
        assert_eq!(web.count("/paint.js"), 1);
    });
}

#[test]
fn each_block_list_keeps_its_own_out() {
    run(async {
        let stack = stack();
        let paint = |id: &str| format!("document.getElementById('{id}').style.background = '#0f0'");
        let body = "<style>body{margin:0} div{height:20px;background:#f00}</style><div id=a></div><div id=t></div>
            <div class=crisp-client></div><div class=fb-like></div><div class=smart-app-banner></div><div class=adsbygoogle></div>
            <script src=/pagead/js/x.js></script><script src='/gtm.js?id=1'></script>";
        let web =
            Web::start(vec![page("/", body), script("/pagead/js/x.js", &paint("a")), script("/gtm.js", &paint("t"))]);
        let rows = async |option: &str| {
            let mut options = json!({ "url": web.url("/"), "viewport_height": 140 });
            options[option] = json!(true);
            let shot = take(&stack, options).await;
            (0..6).map(|row| shot.pixel(9, row * 20 + 10)).collect::<Vec<_>>()
        };
        // The first two turn green by their scripts; the others move up when one above them is hidden.
        assert_eq!(rows("bypass_csp").await, [GREEN, GREEN, RED, RED, RED, RED]);
        assert_eq!(rows("block_ads").await, [RED, GREEN, RED, RED, RED, WHITE]);
        assert_eq!(rows("block_trackers").await, [GREEN, RED, RED, RED, RED, RED]);
        for option in ["block_chats", "block_socials", "block_annoyances"] {
            assert_eq!(rows(option).await, [GREEN, GREEN, RED, RED, RED, WHITE], "{option}");
        }
    });
}

/// A page with something over it.
fn covered(banner: &str) -> String {
    format!(
        "<style>body{{margin:0;background:#0f0}} .over{{position:fixed;inset:0;background:#f00;z-index:9}}</style><script>var done = ''</script><p>text</p>{banner}"
    )
}

#[test]
fn consent_is_refused_or_hidden_and_never_given() {
    run(async {
        let stack = stack();
        let known = covered("<div id=onetrust-banner-sdk class=over>We use cookies</div>");
        assert_eq!(colour(&stack, json!({ "html": known })).await, RED);
        assert_eq!(colour(&stack, json!({ "html": known, "block_cookie_banners": true })).await, GREEN);

        let asking = |refuse: &str| {
            covered(&format!(
            "<div class='over x'>We value your privacy and use cookies
             <button onclick=\"document.body.style.background='#f0f'\">Accept all</button>
             <button onclick=\"document.body.style.background='#00f'; this.parentNode.remove()\">{refuse}</button></div>"
        ))
        };
        for refuse in [
            "Reject all",
            "Nur notwendige Cookies",
            "Tout refuser",
            "Rechazar todo",
            "Solo necessari",
            "Odrzuć wszystkie",
            "拒否する",
            "Отклонить все",
            "Continue without accepting",
        ] {
            let options = json!({ "html": asking(refuse), "block_cookie_banners": true });
            assert_eq!(colour(&stack, options).await, BLUE, "{refuse}");
        }
        // Nothing to refuse: hidden, and nothing was clicked.
        let options = json!({ "html": asking("Learn more"), "block_cookie_banners": true });
        assert_eq!(colour(&stack, options).await, GREEN);

        // One that comes a moment later, in a shadow root, with the page locked.
        let late = covered("<script>setTimeout(() => { const host = document.createElement('consent-box'); document.body.append(host);
            document.documentElement.style.overflow = 'hidden';
            host.attachShadow({ mode: 'open' }).innerHTML = `<div style='position:fixed;inset:0;background:red'>Cookies? <button>OK</button></div>` }, 300)</script>");
        assert_eq!(colour(&stack, json!({ "html": late, "block_cookie_banners": true })).await, GREEN);

        // What can be typed in is left alone: a login that speaks of privacy is no banner.
        let login = covered(
            "<div class=over>Log in. Privacy policy. <input type=email><input type=password><button onclick=\"document.body.style.background='#00f'\">No thanks</button></div>",
        );
        let shown = take(&stack, json!({ "html": login, "block_cookie_banners": true })).await;
        assert_eq!(shown.pixel(198, 98), RED);
    });
}

#[test]
fn banners_of_other_kinds_are_hidden_by_their_looks() {
    run(async {
        let stack = stack();
        let html = covered("<div class=over>Subscribe to our newsletter <input type=email><button>Go</button></div>");
        let shown = take(&stack, json!({ "html": html, "block_cookie_banners": true })).await;
        assert_eq!(shown.pixel(198, 98), RED);
        assert_eq!(colour(&stack, json!({ "html": html, "block_banners_by_heuristics": true })).await, GREEN);
        let header = "<body style='margin:0'><header style='position:fixed;inset:0 0 auto;height:100px;background:#f00'>Cookies, newsletter: all our recipes</header>";
        assert_eq!(colour(&stack, json!({ "html": header, "block_banners_by_heuristics": true })).await, RED);
    });
}

#[test]
fn screenshotmax_hides_consent_unless_told_otherwise() {
    run(async {
        let stack = stack();
        let html = covered("<div class='over cc-window'>Cookies</div>");
        let shown = async |kind: Json| {
            let mut options = json!({ "html": html, "format": "png", "viewport_width": 200, "viewport_height": 100 });
            options.as_object_mut().unwrap().extend(kind.as_object().unwrap().clone());
            picture(stack.client().screenshot(&options).await).pixel(100, 50)
        };
        assert_eq!(shown(json!({})).await, GREEN);
        assert_eq!(shown(json!({ "block_annoyance": "none" })).await, RED);
        assert_eq!(shown(json!({ "block_annoyance": "ads" })).await, RED);
        assert_eq!(shown(json!({ "block_annoyance": "cookies_banner" })).await, GREEN);
    });
}

#[test]
fn the_search_for_banners_ends() {
    run(async {
        let stack = stack();
        let busy = coloured("#0f0")
            + "<script>for (let i = 0; i < 5000; i++) document.body.append(document.createElement('div'))</script>";
        let started = Instant::now();
        assert_eq!(
            colour(&stack, json!({ "html": busy, "block_cookie_banners": true, "block_banners_by_heuristics": true }))
                .await,
            GREEN
        );
        assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    });
}

#[test]
fn what_never_ends_does_not_keep_the_network_busy() {
    run(async {
        let (stack, site) = (stack(), Site::start());
        let html = format!(
            "{}<script>navigator.sendBeacon('/never'); new EventSource('/events'); new WebSocket('{}');
            setTimeout(() => document.body.style.background = '#0f0', 100)</script>",
            coloured("red"),
            site.url("/socket").replace("http:", "ws:")
        );
        let inner = site.url("/never");
        let html =
            html.replace("'/never'", &format!("'{inner}'")).replace("'/events'", &format!("'{}'", site.url("/events")));
        let web = Web::start(vec![page("/", html)]);
        let started = Instant::now();
        assert_eq!(colour(&stack, json!({ "url": web.url("/"), "wait_until": ["networkidle0"] })).await, GREEN);
        assert!(started.elapsed() < Duration::from_secs(10));
        let endless = Web::start(vec![page("/", format!("<script>fetch('{inner}', {{ mode: 'no-cors' }})</script>"))]);
        let options = json!({ "url": endless.url("/"), "wait_until": ["networkidle0"], "timeout": 3 });
        assert_eq!(error(&stack, options).await, "timeout_error");
    });
}

#[test]
fn the_place_is_told_to_pages_that_ask() {
    run(async {
        let stack = stack();
        let html = coloured("red") + "<script>navigator.geolocation.getCurrentPosition(({ coords }) => {
            if (coords.latitude === 48.5 && coords.longitude === 9.25 && coords.accuracy === 7) document.body.style.background = '#0f0' },
            () => document.body.style.background = '#00f')</script>";
        let options = json!({ "html": html, "delay": 1, "geolocation_latitude": 48.5, "geolocation_longitude": 9.25, "geolocation_accuracy": 7 });
        assert_eq!(colour(&stack, options).await, GREEN);
        let zone = coloured("red")
            + "<script>if (Intl.DateTimeFormat().resolvedOptions().timeZone === new URLSearchParams('z=ZONE').get('z'))
            document.body.style.background = '#0f0'</script>";
        for name in ["Asia/Kathmandu", "America/Argentina/Ushuaia"] {
            let options = json!({ "html": zone.replace("ZONE", name), "time_zone": name });
            let shown = colour(&stack, options).await;
            assert!(shown == GREEN || name == "Asia/Kathmandu", "{name}");
        }
        assert_eq!(error(&stack, json!({ "html": "x", "time_zone": "Mars/Olympus" })).await, "request_not_valid");
    });
}

const TOLD: &str = "<!doctype html><html><head><title>A & B é\n</title><link rel=icon href=/i.svg>
    <meta property=og:title content='The \"title\"'><meta property=og:image content=https://x.example/1.png>
    <style>body { font-family: 'My Font', Arial, serif } code { font-family: monospace }</style></head>
    <body><h1>Hello</h1><p>Some <code>code</code></p><div id=host></div><script>
    host.attachShadow({ mode: 'open' }).innerHTML = '<p>in the shadow</p>'</script></body></html>";

#[test]
fn what_is_known_of_a_page_is_told_in_json() {
    run(async {
        let stack = stack();
        let mut route = page("/", TOLD);
        route.headers.push(("x-custom", "hello".into()));
        let web = Web::start(vec![route]);
        let options = json!({
            "url": web.url("/"), "response_type": "json", "metadata_page_title": true, "metadata_icon": true,
            "metadata_fonts": true, "metadata_open_graph": true, "metadata_content": true, "metadata_content_format": "markdown",
            "metadata_http_response_status_code": true, "metadata_http_response_headers": true, "include_shadow_dom": true,
        });
        let told = answer(&stack, options).await.expect(200);
        let json = told.json();
        let names: Vec<&str> =
            ["\"screenshot_url\"", "\"metadata\"", "\"fonts\"", "\"content\"", "\"http_response\""].to_vec();
        let places: Vec<usize> = names.iter().map(|name| told.text().find(name).unwrap_or(0)).collect();
        assert!(places.is_sorted(), "{}", told.text());
        assert_eq!(json["metadata"]["page_title"], "A & B é");
        assert_eq!(json["metadata"]["icon"], json!({ "url": web.url("/i.svg"), "type": "image/svg+xml" }));
        assert_eq!(
            json["metadata"]["open_graph"],
            json!({ "title": "The \"title\"", "image": "https://x.example/1.png" })
        );
        assert_eq!(json["fonts"][0]["first"], "My Font");
        assert_eq!(json["fonts"][0]["fallback"], json!(["Arial", "serif"]));
        assert_eq!(json["fonts"][0]["elements"], json!(["h1", "p"]));
        assert_eq!(json["fonts"][1], json!({ "first": "monospace", "fallback": [], "elements": ["code"] }));
        assert_eq!(json["http_response"]["status_code"], 200);
        assert_eq!(json["http_response"]["headers"]["x-custom"], "hello");
        assert_eq!(json["content"]["format"], "markdown");
        assert!(json["content"]["expires"].as_str().unwrap().ends_with(" GMT"));
        let content = stack.client().get(json["content"]["url"].as_str().unwrap()).await.expect(200);
        assert_eq!(content.header("content-type"), "text/markdown; charset=utf-8");
        let text = content.text();
        assert!(text.starts_with("# Hello") && text.contains("`code`") && text.contains("in the shadow"), "{text}");
        assert!(!text.contains("attachShadow"), "{text}");
        // Nothing that was not asked for.
        let plain = answer(&stack, json!({ "url": web.url("/"), "response_type": "json" })).await.expect(200).json();
        assert_eq!(plain.as_object().unwrap().keys().collect::<Vec<_>>(), ["screenshot_url"]);
    });
}

/// A megabyte of Open Graph, and a script that undoes whatever cuts it in the page.
#[test]
fn no_page_makes_a_webhook_larger_than_receivers_take() {
    run(async {
        let (stack, receiver) = (stack(), Receiver::start());
        let client = stack.client();
        let tags: String =
            (0..1000).map(|n| format!("<meta property='og:p{n}' content='{}'>", "\u{e9}\"".repeat(400))).collect();
        let grown = "<script>String.prototype.slice = function () { return String(this) };
            document.title = 't'.repeat(1e6); document.querySelector('link').type = 'image/' + 'x'.repeat(1e6)</script>";
        let html =
            |script: &str| format!("<head><title>short</title><link rel=icon href='data:,x'>{tags}{script}</head><p>x");
        for (number, (script, path)) in
            ["", grown].into_iter().flat_map(|script| [(script, "/take"), (script, "/v1/screenshot")]).enumerate()
        {
            let mut options = json!({
                "html": html(script), "format": "png", "webhook_url": receiver.url(), "metadata_icon": true,
                "metadata_fonts": true,
            });
            let own: &[&str] = match path {
                "/take" => &["metadata_open_graph", "metadata_page_title"],
                _ => &["metadata_title", "metadata_hash"],
            };
            for name in own {
                options[name] = json!(true);
            }
            if path == "/take" {
                options["response_type"] = json!("json");
            }
            let id = client.enqueue(path, &options).await;
            client.delivered(&id, s(60)).await;
            let webhook = receiver.wait_for(number + 1, s(10)).await.swap_remove(number);
            assert!(webhook.body.len() <= 20_000, "{path}: {} bytes", webhook.body.len());
            let (told, title) = (webhook.json(), if path == "/take" { "page_title" } else { "title" });
            let link = if path == "/take" { "screenshot_url" } else { "file" };
            client.get(told[link].as_str().unwrap()).await.expect(200);
            let title = told["metadata"][title].as_str().unwrap();
            assert_eq!((title == "short", title.len() > 1_000), (script.is_empty(), !script.is_empty()), "{title}");
            if path == "/take" {
                // As many as there is room for, and none in part.
                let properties = told["metadata"]["open_graph"].as_object().unwrap();
                let wanted = if script.is_empty() { 8..50 } else { 1..50 };
                assert!(wanted.contains(&properties.len()), "{}", properties.len());
                assert!(properties.values().all(|text| text == &"\u{e9}\"".repeat(400)), "{told:#}");
            }
        }
    });
}

#[test]
fn what_is_known_of_a_page_is_told_in_headers() {
    run(async {
        let stack = stack();
        let web = Web::start(vec![page("/", TOLD)]);
        let mut asked = json!({
            "metadata_page_title": true, "metadata_icon": true, "metadata_fonts": true, "metadata_open_graph": true,
            "metadata_content": true,
        });
        asked["html"] = json!(TOLD.replace("A & B", "A\r\nx-evil: 1"));
        let told = answer(&stack, asked).await.expect(200);
        assert!(told.header("x-screenshotone-page-title").starts_with("A%20x-evil%3A%201"), "{:?}", told.headers);
        assert!(!told.headers.contains_key("x-evil"));
        let decoded = |name: &str| -> Json {
            let text = percent_encoding::percent_decode_str(told.header(name)).decode_utf8().unwrap();
            serde_json::from_str(&text).unwrap()
        };
        assert_eq!(decoded("x-screenshotone-icon")["type"], "image/svg+xml");
        assert_eq!(decoded("x-screenshotone-fonts")[0]["first"], "My Font");
        assert_eq!(decoded("x-screenshotone-open-graph")["title"], "The \"title\"");
        assert!(told.header("x-screenshotone-content-expires").ends_with(" GMT"));
        let content = stack.client().get(told.header("x-screenshotone-content-url")).await.expect(200);
        assert!(content.text().contains("<h1>Hello</h1>") && !content.text().contains("in the shadow</p></template>"));

        let status = answer(&stack, json!({ "url": web.url("/no"), "ignore_host_errors": true, "metadata_http_response_status_code": true, "metadata_http_response_headers": true })).await.expect(200);
        assert_eq!(status.header("x-screenshotone-http-response-status-code"), "404");
        assert!(status.header("x-screenshotone-http-response-headers").starts_with("%7B%22"));
        assert_eq!(
            error(&stack, json!({ "html": "x", "metadata_http_response_status_code": true })).await,
            "request_not_valid"
        );
        assert_eq!(error(&stack, json!({ "html": "x", "metadata_content_format": "html" })).await, "request_not_valid");

        let max = json!({ "url": web.url("/"), "format": "png", "metadata_title": true, "metadata_hash": true, "metadata_status": true, "metadata_icon": true, "metadata_fonts": true, "metadata_headers": true });
        let max = stack.client().screenshot(&max).await.expect(200);
        assert_eq!(max.header("x-screenshotmax-title"), "A%20%26%20B%20%C3%A9");
        assert_eq!(max.header("x-screenshotmax-status"), "200");
        assert_eq!(max.header("x-screenshotmax-hash"), hex::encode(<sha2::Sha256 as sha2::Digest>::digest(&max.body)));
        for name in ["icon", "fonts", "headers"] {
            assert!(!max.header(&format!("x-screenshotmax-{name}")).is_empty(), "{name}");
        }
    });
}
