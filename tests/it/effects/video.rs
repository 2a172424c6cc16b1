//! The rows of `/animate` and `/v1/screencast`. What they have in common with the vendors' other routes is proved by the rows
//! of those, looked at in the first frame.

use std::io::{Read, Write};

use serde_json::{Value as Json, json};
use snaphook_shared::request::Endpoint;

use super::lab::Taken;
use super::pages::{LATE, SHADOW};
use super::{Row, row, screenshotmax, screenshotone};

const ANIMATE: &[Endpoint] = &[Endpoint::Animate];
const SCREENCAST: &[Endpoint] = &[Endpoint::Screencast];
const BOTH: &[Endpoint] = &[Endpoint::Animate, Endpoint::Screencast];

/// 900 pixels that can be scrolled through under a viewport of 100: red, then green, then blue.
const BANDS: &str = "<div style='height:400px;background:#f00'></div><div style='height:200px;background:#0f0'></div>
    <div id=b style='height:400px;background:#00f'></div>";

/// Its brightness tells how far it has been scrolled.
const RULER: &str = "<div style='height:1120px;background:linear-gradient(#000,#fff)'>";

/// A row over a page that is scrolled by these options and looked at every 50 milliseconds.
fn scrolled(on: &'static [Endpoint], name: &'static str, value: impl Into<Json>, more: Json) -> Row {
    let mut options = match on[0] {
        Endpoint::Animate => {
            json!({ "scroll_duration": 300, "scroll_delay": 100, "scroll_by": 900, "scroll_easing": "linear" })
        }
        _ => {
            json!({ "scroll_by_duration": 300, "scroll_by_delay": 100, "scroll_by_amount": 900, "scroll_back_delay": 0 })
        }
    };
    options["scenario"] = json!("scroll");
    options.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    row(on, name, value).beside(options).page(BANDS)
}

/// The colour in the middle of a frame.
fn shows(seconds: f64) -> impl Fn(&Taken) -> String {
    move |taken| match taken.video() {
        Ok(video) => name(&video.at(seconds).colour(100, 50)).to_owned(),
        Err(code) => code,
    }
}

/// All colours in the middle, one after the other.
fn passes(taken: &Taken) -> String {
    match taken.video() {
        Ok(video) => video.colours(100, 50).iter().map(|(_, colour)| name(colour)).collect::<Vec<_>>().join(" "),
        Err(code) => code,
    }
}

fn name(colour: &str) -> &str {
    match colour {
        "#ff0000" => "red",
        "#00ff00" => "green",
        "#0000ff" => "blue",
        "#ffffff" => "white",
        other => other,
    }
}

/// How many seconds of a colour there are.
fn lasts(colour: &'static str) -> impl Fn(&Taken) -> f64 {
    move |taken| {
        let Ok(video) = taken.video() else { return f64::NAN };
        let frames = video.frames.iter().filter(|(_, picture)| name(&picture.colour(100, 50)) == colour).count();
        frames as f64 / video.frames.len() as f64 * video.seconds
    }
}

/// The content of the page, as it was kept beside the video.
fn content(taken: &Taken) -> String {
    let url = taken.json("/content/url");
    let Some((host, path)) = url.strip_prefix("http://").and_then(|rest| rest.split_once('/')) else { return url };
    let mut stream = std::net::TcpStream::connect(host).unwrap();
    write!(stream, "GET /{path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Whether a colour is seen for longer than this.
fn outlasts(colour: &'static str, seconds: f64) -> impl Fn(&Taken) -> String {
    move |taken| (lasts(colour)(taken) > seconds).to_string()
}

fn is_longer(seconds: f64) -> impl Fn(&Taken) -> String {
    move |taken| taken.video().map_or_else(|code| code, |video| (video.seconds > seconds).to_string())
}

/// Whether the page has been scrolled through by more than half at half of the time: 400 of 1,000 milliseconds in.
fn is_ahead(taken: &Taken) -> String {
    match taken.video() {
        Ok(video) => (video.at(0.4).rgba(100, 50)[0] > 150).to_string(),
        Err(code) => code,
    }
}

#[rustfmt::skip]
fn own() -> Vec<Row> {
    let animated = |name, value: Json, more: Json| scrolled(ANIMATE, name, value, more);
    let cast = |name, value: Json, more: Json| scrolled(SCREENCAST, name, value, more);
    vec![
        row(BOTH, "format", "webm").look(|t| t.answer.header("content-type").to_owned(), "video/mp4", "video/webm"),
        row(BOTH, "duration", 2).beside(json!({ "duration": 1 })).look(is_longer(1.5), "false", "true"),
        row(BOTH, "attachment_name", "film").look(|t| t.header("content-disposition").contains("filename=\"film.mp4\"").to_string(), "false", "true"),
        scrolled(BOTH, "scenario", "scroll", json!({})).beside(json!({})).page("<div style='height:120px;background:red'></div><div style='height:9999px;background:blue'>").look(|t| (lasts("blue")(t) > 0.0).to_string(), "false", "true"),

        // ScreenshotOne
        row(ANIMATE, "width", 100).beside(json!({ "height": 100 })).look(|t| if t.code() == "ok" { t.size() } else { "refused".into() }, "refused", "100x100"),
        row(ANIMATE, "height", 50).beside(json!({ "width": 100 })).look(|t| if t.code() == "ok" { t.size() } else { "refused".into() }, "refused", "100x50"),
        row(ANIMATE, "aspect_ratio", "4:3").size("200x100", "200x150"),
        row(ANIMATE, "omit_background", true).beside(json!({ "format": "mov" })).look(|t| t.video().map_or_else(|code| code, |video| video.at(0.5).rgba(190, 90)[3].to_string()), "255", "0"),
        row(ANIMATE, "include_shadow_dom", true).beside(json!({ "metadata_content": true, "response_type": "json" })).page(SHADOW).look(|t| content(t).contains("shadowrootmode").to_string(), "false", "true"),
        row(ANIMATE, "response_type", "json").header("content-type", "video/mp4", "application/json"),
        row(ANIMATE, "clip_x", 150).beside(json!({ "format": "gif" })).page("<div style='height:300px;background:linear-gradient(90deg,red 100px,lime 100px)'>").pixel(9, 9, "#ff0000", "#00ff00"),
        row(ANIMATE, "clip_y", 60).beside(json!({ "format": "gif" })).page("<div style='height:300px;background:linear-gradient(red 50px,lime 50px)'>").pixel(9, 9, "#ff0000", "#00ff00"),
        row(ANIMATE, "clip_width", 50).beside(json!({ "format": "gif" })).size("200x100", "50x100"),
        row(ANIMATE, "clip_height", 50).beside(json!({ "format": "gif" })).size("200x100", "200x50"),
        animated("scroll_duration", json!(1500), json!({ "scroll_back": false, "duration": 3, "scroll_complete": false })).look(outlasts("blue", 2.45), "true", "false"),
        animated("scroll_delay", json!(900), json!({ "scroll_by": 450, "scroll_back": false, "duration": 2, "scroll_complete": false })).look(outlasts("green", 0.7), "false", "true"),
        animated("scroll_by", json!(450), json!({ "scroll_back": false, "scroll_delay": 900, "duration": 2, "scroll_complete": false })).look(outlasts("green", 0.7), "false", "true"),
        animated("scroll_start_immediately", json!(false), json!({ "scroll_delay": 600, "scroll_back": false, "duration": 2, "scroll_complete": false })).look(outlasts("red", 0.5), "false", "true"),
        animated("scroll_start_delay", json!(600), json!({ "scroll_back": false, "duration": 2, "scroll_complete": false })).look(outlasts("red", 0.5), "false", "true"),
        animated("scroll_complete", json!(false), json!({ "duration": 3 })).look(is_longer(2.5), "false", "true"),
        animated("scroll_back", json!(false), json!({ "duration": 2 })).look(shows(1.9), "red", "blue"),
        animated("scroll_back_algorithm", json!("repeat"), json!({ "scroll_by": 450, "scroll_delay": 500, "duration": 3, "scroll_complete": false })).look(outlasts("green", 0.95), "false", "true"),
        animated("scroll_back_after_duration", json!(600), json!({ "duration": 3, "scroll_duration": 1000 })).look(passes, "red green blue green red", "red green red"),
        animated("scroll_stop_after_duration", json!(600), json!({ "scroll_back": false, "scroll_duration": 1000, "duration": 2, "scroll_complete": false })).look(shows(1.9), "blue", "green"),
        animated("scroll_easing", json!("ease_out_quint"), json!({ "scroll_duration": 1000, "scroll_back": false })).page(RULER).look(is_ahead, "false", "true"),
        animated("scroll_till_selector", json!("#b"), json!({ "scroll_back": false })).page("<div style='height:300px;background:red'></div><div id=b style='height:150px;background:lime'></div><div style='height:900px;background:blue'>").look(shows(0.9), "blue", "green"),
        animated("scroll_till_selector_adjust_top", json!(-80), json!({ "scroll_back": false, "scroll_till_selector": "#b" })).look(shows(0.9), "blue", "green"),
        animated("scroll_to_end_after", json!(600), json!({ "scroll_by": 450, "scroll_delay": 5000, "scroll_back": false, "duration": 2, "scroll_complete": false })).look(shows(1.9), "green", "blue"),
        animated("scroll_try_navigate", json!(true), json!({ "scroll_navigate_to_url": "{base}/strict", "scroll_navigate_after": 300, "duration": 2 })).look(|t| t.times("strict"), "0", "1"),
        animated("scroll_navigate_after", json!(200), json!({ "scroll_try_navigate": true, "scroll_navigate_to_url": "{base}/strict", "duration": 3, "scroll_duration": 1000, "scroll_complete": false, "scroll_back": false })).look(|t| passes(t).starts_with("red green blue red").to_string(), "true", "false"),
        animated("scroll_navigate_to_url", json!("{base}/strict"), json!({ "scroll_try_navigate": true, "duration": 2, "scroll_complete": false })).look(|t| t.times("strict"), "0", "1"),
        animated("scroll_navigate_link_hints", json!(["prices"]), json!({ "scroll_try_navigate": true, "duration": 2, "scroll_complete": false })).page("<a href='{base}/strict'>Our Prices</a>").look(|t| t.times("strict"), "0", "1"),

        // ScreenshotMAX
        row(SCREENCAST, "url", "{base}/").code("request_not_valid \"url\" is required", "ok"),
        row(SCREENCAST, "delay", 2).page(LATE).pixel(190, 90, "#ff0000", "#00ff00"),
        row(SCREENCAST, "wait_until", json!(["networkidle0"])).page("<body><script>onload = () => document.body.append(Object.assign(document.createElement('script'), { src: '{base}/slow.js' }))</script>").pixel(9, 9, "#ffffff", "#00ff00"),
        row(SCREENCAST, "capture_beyond_viewport", true).beside(json!({ "clip_height": 300 })).size("200x100", "200x300"),
        row(SCREENCAST, "hide_selectors", json!(["#a"])).page("<div id=a style='height:99px;background:red'>").pixel(9, 9, "#ff0000", "#ffffff"),
        row(SCREENCAST, "vision_deficiency", "achromatopsia").page("<body bgcolor=red>").look(|t| (t.pixel(9, 9) == "#ff0000").to_string(), "true", "false"),
        row(SCREENCAST, "clip_x", 150).page("<div style='height:300px;background:linear-gradient(90deg,red 100px,lime 100px)'>").pixel(9, 9, "#ff0000", "#00ff00"),
        row(SCREENCAST, "clip_y", 60).page("<div style='height:300px;background:linear-gradient(red 50px,lime 50px)'>").pixel(9, 9, "#ff0000", "#00ff00"),
        row(SCREENCAST, "clip_width", 50).size("200x100", "50x100"),
        row(SCREENCAST, "clip_height", 50).size("200x100", "200x50"),
        cast("scroll_by_amount", json!(450), json!({ "scroll_back": false, "scroll_by_delay": 900, "duration": 2 })).look(outlasts("green", 0.7), "false", "true"),
        cast("scroll_by_delay", json!(900), json!({ "scroll_back": false, "scroll_by_amount": 450, "duration": 2 })).look(outlasts("green", 0.7), "false", "true"),
        cast("scroll_by_duration", json!(1500), json!({ "scroll_back": false, "duration": 3 })).look(outlasts("blue", 2.45), "true", "false"),
        cast("scroll_back", json!(false), json!({ "duration": 2 })).look(shows(1.9), "red", "blue"),
        cast("scroll_back_delay", json!(900), json!({ "duration": 2 })).look(outlasts("blue", 0.8), "false", "true"),
        cast("scroll_easing", json!("ease_out_quint"), json!({ "scroll_by_duration": 1000, "scroll_back": false })).page(RULER).look(is_ahead, "false", "true"),
    ]
}

/// What the tables share with others is looked at as there, unless it has a row of its own here.
fn shared(rows: Vec<Row>, from: Endpoint, to: &'static [Endpoint], own: &[Row]) -> Vec<Row> {
    let has_own = |name: &str| own.iter().any(|row| row.on.contains(&to[0]) && row.name == name);
    let is_known = |name: &str| to[0].table().iter().any(|parameter| parameter.name == name);
    let wanted = |row: &Row| row.on.contains(&from) && is_known(row.name) && !has_own(row.name);
    let named = |text: &str| text.replace(".png", ".mp4");
    let moved = |row: Row| Row { on: to, without: named(&row.without), with: named(&row.with), ..row };
    rows.into_iter().filter(wanted).map(moved).collect()
}

pub(super) fn rows() -> Vec<Row> {
    let own = own();
    let animate = shared(screenshotone::rows(), Endpoint::Take, ANIMATE, &own);
    let screencast = shared(screenshotmax::rows(), Endpoint::Screenshot, SCREENCAST, &own);
    [own, animate, screencast].into_iter().flatten().collect()
}
