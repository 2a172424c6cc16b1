//! What is done to a page before it is taken.

use super::*;

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
