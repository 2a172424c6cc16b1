//! What a render can be besides a PNG of a page: other sources, other formats, paper, text, tall pages, slices.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value as Json, json};
use snaphook_tests::client::Answer;
use snaphook_tests::picture::{Picture, jpeg_size, webp_size};
use snaphook_tests::run;
use snaphook_tests::site::Site;
use snaphook_tests::stack::Stack;
use snaphook_tests::wait::s;

/// `options` over a small viewport; the answer must be 200.
async fn take(stack: &Stack, options: Json) -> Answer {
    let mut all = json!({ "viewport_width": 200, "viewport_height": 100 });
    for (name, value) in options.as_object().unwrap() {
        all[name] = value.clone();
    }
    stack.client().take(&all).await.expect(200)
}

async fn png(stack: &Stack, mut options: Json) -> Picture {
    options["format"] = json!("png");
    Picture::decode(&take(stack, options).await.body)
}

/// How a browser shows a file: the way to look into formats that nothing here can decode.
async fn shown(stack: &Stack, file: &Answer) -> Picture {
    let data = format!("data:{};base64,{}", file.header("content-type"), BASE64.encode(&file.body));
    let html =
        format!("<!doctype html><body style='margin:0;background:#fff'><img src='{data}' style='display:block'>");
    png(stack, json!({ "html": html })).await
}

/// Messages of a refused request.
async fn refused(stack: &Stack, path: &str, options: Json) -> Vec<String> {
    let answer = stack.client().post(path, &options).await.expect(400);
    let details = answer.json()["error_details"].as_array().cloned().unwrap_or_default();
    details.iter().map(|detail| detail["message"].as_str().unwrap_or_default().to_owned()).collect()
}

/// Within what a format that loses may lose.
fn near(found: u32, wanted: u32) -> bool {
    let channels = |colour: u32| colour.to_be_bytes();
    channels(found).iter().zip(channels(wanted)).all(|(found, wanted)| found.abs_diff(wanted) < 12)
}

#[test]
fn every_format_of_a_picture_shows_the_page() {
    run(async {
        let (stack, site) = (Stack::shared(), Site::start());
        for (format, content_type) in
            [("jpeg", "image/jpeg"), ("webp", "image/webp"), ("gif", "image/gif"), ("avif", "image/avif")]
        {
            let file = take(&stack, json!({ "url": site.url("/colors.html"), "format": format })).await;
            assert_eq!(file.header("content-type"), content_type);
            let shown = shown(&stack, &file).await;
            assert!(near(shown.pixel(10, 10), 0xff0000), "{format}: {:06x}", shown.pixel(10, 10));
            assert!(near(shown.pixel(150, 90), 0x204080), "{format}: {:06x}", shown.pixel(150, 90));
        }
        let file = take(&stack, json!({ "url": site.url("/colors.html"), "format": "tiff" })).await;
        assert_eq!(file.header("content-type"), "image/tiff");
        let mut tiff = tiff::decoder::Decoder::new(std::io::Cursor::new(&file.body[..])).unwrap();
        assert_eq!(tiff.dimensions().unwrap(), (200, 100));
        let tiff::decoder::DecodingResult::U8(pixels) = tiff.read_image().unwrap() else { panic!("eight bits") };
        assert_eq!((&pixels[0..3], &pixels[pixels.len() - 3..]), (&[0xff, 0, 0][..], &[0x20, 0x40, 0x80][..]));
        for (format, wanted) in
            [("jp2", "\"format\" jp2 is not supported"), ("heif", "\"format\" heif is not supported")]
        {
            let messages = refused(&stack, "/take", json!({ "html": "x", "format": format })).await;
            assert!(messages[0].starts_with(wanted), "{messages:?}");
        }
    });
}

#[test]
fn quality_decides_the_size_of_a_file() {
    run(async {
        let (stack, site) = (Stack::shared(), Site::start());
        for format in ["jpeg", "webp", "avif"] {
            let mut lengths = Vec::new();
            for quality in [5, 95] {
                let options = json!({ "url": site.url("/article.html"), "format": format, "image_quality": quality });
                lengths.push(take(&stack, options).await.body.len());
            }
            assert!(lengths[0] * 3 < lengths[1] * 2, "{format}: {lengths:?}");
        }
        for format in ["gif", "html", "pdf", "markdown"] {
            let options = json!({ "html": "x", "format": format, "image_quality": 50 });
            assert_eq!(refused(&stack, "/take", options).await, ["\"image_quality\" is not allowed"]);
        }
    });
}

#[test]
fn pngs_are_small_where_the_operator_wants_them_so() {
    run(async {
        let small = Stack::builder().set("SNAPHOOK_RENDER_SMALL_PNGS", true).start();
        let page = "<body style='background:linear-gradient(45deg,red,blue)'><h1>much text</h1>";
        let options = json!({ "html": page, "format": "png" });
        let fast = Stack::shared().client().take(&options).await.expect(200).body;
        let small = small.client().take(&options).await.expect(200).body;
        assert!(small.len() < fast.len(), "{} and not less than {} bytes", small.len(), fast.len());
        assert!(Picture::decode(&small) == Picture::decode(&fast), "it is another picture");
    });
}

#[test]
fn a_background_can_be_left_out_where_the_format_allows_it() {
    run(async {
        let stack = Stack::shared();
        let html = "<!doctype html><body style='margin:0'><div style='width:50px;height:50px;background:#f00'></div>";
        let picture = png(&stack, json!({ "html": html, "omit_background": true })).await;
        assert_eq!((picture.rgba(10, 10), picture.rgba(150, 90)[3]), ([255, 0, 0, 255], 0));
        for format in ["webp", "gif", "avif"] {
            let file = take(&stack, json!({ "html": html, "omit_background": true, "format": format })).await;
            // On a page of another colour that colour shines through.
            let data = format!("data:{};base64,{}", file.header("content-type"), BASE64.encode(&file.body));
            let page = format!("<!doctype html><body style='margin:0;background:#0000ff'><img src='{data}'>");
            let shown = png(&stack, json!({ "html": page })).await;
            assert!(near(shown.pixel(10, 10), 0xff0000), "{format}");
            assert_eq!(shown.pixel(150, 90), 0x0000ff, "{format}");
        }
        let options = json!({ "html": html, "omit_background": true, "format": "tiff" });
        let file = take(&stack, options).await;
        let mut tiff = tiff::decoder::Decoder::new(std::io::Cursor::new(&file.body[..])).unwrap();
        let tiff::decoder::DecodingResult::U8(pixels) = tiff.read_image().unwrap() else { panic!("eight bits") };
        assert_eq!((&pixels[0..4], pixels[pixels.len() - 1]), (&[255, 0, 0, 255][..], 0));
        for format in ["jpeg", "pdf", "html"] {
            let messages =
                refused(&stack, "/take", json!({ "html": "x", "omit_background": true, "format": format })).await;
            assert!(messages[0].starts_with("The \"omit_background\" option is only allowed"), "{messages:?}");
        }
    });
}

#[test]
fn thumbnails_keep_their_proportions() {
    run(async {
        let (stack, site) = (Stack::shared(), Site::start());
        let url = site.url("/colors.html");
        for (width, height, size) in [
            (Some(100), None, (100, 50)),
            (None, Some(25), (50, 25)),
            (Some(100), Some(10), (20, 10)),
            (Some(999), None, (200, 100)),
        ] {
            let options = json!({ "url": url, "image_width": width, "image_height": height });
            let picture = png(&stack, options.clone()).await;
            assert_eq!(picture.size(), size, "{options}");
            assert_eq!(picture.pixel(0, 0), 0xff0000);
            assert_eq!(picture.pixel(size.0 - 1, size.1 - 1), 0x204080);
        }
        let jpeg = take(&stack, json!({ "url": url, "image_width": 100, "format": "jpg" })).await;
        assert_eq!(jpeg_size(&jpeg.body), Some((100, 50)));
        let webp = take(&stack, json!({ "url": url, "image_width": 100, "format": "webp" })).await;
        assert_eq!(webp_size(&webp.body), Some((100, 50)));
        let other =
            json!({ "url": url, "image_width": 64, "viewport_width": 200, "viewport_height": 100, "format": "png" });
        let picture = Picture::decode(&stack.client().screenshot(&other).await.expect(200).body);
        assert_eq!(picture.size(), (64, 32));
    });
}

#[test]
fn the_size_is_told_on_request() {
    run(async {
        let stack = Stack::shared();
        let options = json!({ "html": "x", "metadata_image_size": true, "device_scale_factor": 2 });
        let file = take(&stack, options).await;
        let told = |name: &str| file.header(&format!("x-screenshotone-image-{name}")).to_owned();
        assert_eq!((told("width"), told("height")), ("400".to_owned(), "200".to_owned()));
        let options = json!({ "html": "x", "metadata_image_size": true, "response_type": "json", "image_width": 50 });
        let answer = take(&stack, options).await.json();
        assert_eq!(answer["metadata"]["image_size"], json!({ "width": 50, "height": 25 }));
        assert_eq!(take(&stack, json!({ "html": "x" })).await.header("x-screenshotone-image-width"), "");
    });
}

#[test]
fn markdown_is_a_source() {
    run(async {
        let stack = Stack::shared();
        let markdown =
            "# Title\n\n<div id='box' style='background:#0f0;width:40px;height:40px'></div>\n\n| a |\n|---|\n| b |\n";
        let picture = png(&stack, json!({ "markdown": markdown, "selector": "#box" })).await;
        assert_eq!((picture.size(), picture.pixel(20, 20)), ((40, 40), 0x00ff00));
        let html = take(&stack, json!({ "markdown": markdown, "format": "html" })).await.text();
        assert!(html.contains("<h1>Title</h1>") && html.contains("<td>b</td>"), "{html}");
        let light = png(&stack, json!({ "markdown": "x", "dark_mode": false })).await;
        let dark = png(&stack, json!({ "markdown": "x", "dark_mode": true })).await;
        assert!(light.pixel(0, 0) == 0xffffff && dark.pixel(0, 0) < 0x404040);
        let id = stack.client().enqueue("/take", &json!({ "markdown": "x" })).await;
        assert_eq!(stack.client().done(&id, s(30)).await["target"], "markdown");
    });
}

#[test]
fn a_page_can_be_had_as_text() {
    run(async {
        let (stack, site) = (Stack::shared(), Site::start());
        let url = site.url("/article.html");
        let html = take(&stack, json!({ "url": url, "format": "html" })).await;
        assert_eq!(html.header("content-type"), "text/html; charset=utf-8");
        assert!(html.header("content-security-policy").contains("sandbox"));
        let text = html.text();
        assert!(text.starts_with("<!DOCTYPE html>\n<html lang=\"en\">"), "{text}");
        assert!(text.contains("Made by a script.</p>") && !text.contains("<p class=\"inner\""), "{text}");

        let options = json!({ "url": url, "format": "html", "include_shadow_dom": true });
        let text = take(&stack, options).await.text();
        let shadow = "<template shadowrootmode=\"open\"><p class=\"inner\"";
        assert!(text.contains(shadow) && text.ends_with("</html>"), "{text}");

        let text = take(&stack, json!({ "url": url, "format": "html", "selector": "ul" })).await.text();
        assert_eq!(text, "<ul><li>one</li><li>two</li></ul>");
        let text = take(&stack, json!({ "url": url, "format": "html", "selector": "shadow/.inner" })).await.text();
        assert!(text.starts_with("<p class=\"inner\""), "{text}");

        let markdown = take(&stack, json!({ "url": url, "format": "markdown" })).await;
        assert_eq!(markdown.header("content-type"), "text/markdown; charset=utf-8");
        let text = markdown.text();
        for part in ["# Heading\n", "**bold**", "[a link](https://example.com/a)", "one\n", "Made by a script.\n"] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert!(!text.contains("An article") && !text.contains("attachShadow"), "{text}");

        let missing = json!({ "url": url, "format": "html", "selector": "#none", "error_on_selector_not_found": true });
        assert_eq!(stack.client().take(&missing).await.expect(400).json()["error_code"], "selector_not_found");
    });
}

#[test]
fn scrape_reads_with_and_without_scripts() {
    run(async {
        let (stack, site) = (Stack::shared(), Site::start());
        let url = site.url("/article.html");
        let scrape = async |options: Json| stack.client().post("/v1/scrape", &options).await.expect(200);
        let html = scrape(json!({ "url": url })).await;
        assert_eq!(html.header("content-type"), "text/html; charset=utf-8");
        assert!(html.text().contains("Made by a script.</p>"));
        let still = scrape(json!({ "url": url, "js_enabled": false })).await.text();
        assert!(still.contains("id=\"static\"") && !still.contains("id=\"made\""), "{still}");
        let markdown = scrape(json!({ "url": url, "format": "md" })).await;
        assert_eq!(markdown.header("content-type"), "text/markdown; charset=utf-8");
        assert!(markdown.text().contains("# Heading\n"));
        for options in [json!({ "html": "x" }), json!({ "url": url, "clip_x": 1 })] {
            stack.client().post("/v1/scrape", &options).await.expect(400);
        }
    });
}

/// Width and height of each page in points, as Chromium writes them.
fn pages(pdf: &Answer) -> Vec<(f64, f64)> {
    assert_eq!(pdf.header("content-type"), "application/pdf");
    assert!(pdf.body.starts_with(b"%PDF-"));
    let text = pdf.text();
    let boxes = text.match_indices("/MediaBox [");
    let read = |(at, start): (usize, &str)| {
        let numbers = text[at + start.len()..].split(']').next().unwrap_or_default();
        let numbers: Vec<f64> = numbers.split_whitespace().map(|number| number.parse().unwrap()).collect();
        (numbers[2], numbers[3])
    };
    boxes.map(read).collect()
}

fn assert_size(found: (f64, f64), wanted: (f64, f64)) {
    assert!((found.0 - wanted.0).abs() < 1.5 && (found.1 - wanted.1).abs() < 1.5, "{found:?} is not {wanted:?}");
}

#[test]
fn paper_has_the_size_that_was_asked_for() {
    run(async {
        let (stack, site) = (Stack::shared(), Site::start());
        let url = site.url("/article.html");
        let points = |inches: f64| inches * 72.0;
        for (paper, width, height) in [
            ("a0", 33.11, 46.81),
            ("a1", 23.39, 33.11),
            ("a2", 16.54, 23.39),
            ("a3", 11.69, 16.54),
            ("a4", 8.27, 11.69),
            ("a5", 5.83, 8.27),
            ("a6", 4.13, 5.83),
            ("letter", 8.5, 11.0),
            ("legal", 8.5, 14.0),
            ("tabloid", 11.0, 17.0),
        ] {
            let pdf = take(&stack, json!({ "url": url, "format": "pdf", "pdf_paper_format": paper })).await;
            assert_size(pages(&pdf)[0], (points(width), points(height)));
            let lying = json!({ "url": url, "format": "pdf", "pdf_paper_format": paper, "pdf_landscape": true });
            assert_size(pages(&take(&stack, lying).await)[0], (points(height), points(width)));
        }
        let plain = take(&stack, json!({ "url": url, "format": "pdf" })).await;
        assert_eq!(pages(&plain), [(612.0, 792.0)]);
        let own = "<!doctype html><style>@page { size: 300px 400px }</style>x";
        assert_size(pages(&take(&stack, json!({ "html": own, "format": "pdf" })).await)[0], (225.0, 300.0));

        let print = async |options: Json| stack.client().post("/v1/pdf", &options).await.expect(200);
        assert_eq!(pages(&print(json!({ "url": url })).await), [(612.0, 792.0)]);
        let ledger = print(json!({ "url": url, "pdf_paper_format": "ledger" })).await;
        assert_eq!(pages(&ledger), [(1224.0, 792.0)]);
        assert_eq!(pages(&print(json!({ "url": url, "pdf_paper_format": "A5" })).await).len(), 1);
    });
}

#[test]
fn paper_shows_background_and_margins_as_asked() {
    run(async {
        let stack = Stack::shared();
        let html = "<!doctype html><body style='margin:0'><div style='height:700px;background:#f80'></div>
                    <div style='height:700px'>end</div>";
        let print = async |more: Json| {
            let mut options = json!({ "html": html, "format": "pdf", "pdf_paper_format": "letter" });
            options.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            take(&stack, options).await
        };
        // 1,400 pixels on paper that holds 1,056; with margins of three inches above and below, 480.
        assert_eq!(pages(&print(json!({})).await).len(), 2);
        assert_eq!(pages(&print(json!({ "pdf_margin": "3in" })).await).len(), 3);
        assert_eq!(
            pages(&print(json!({ "pdf_margin": "3in", "pdf_margin_top": "0", "pdf_margin_bottom": "0cm" })).await)
                .len(),
            2
        );
        let with = print(json!({ "pdf_print_background": true })).await.body.len();
        let without = print(json!({})).await.body.len();
        assert_ne!(with, without);
        let messages =
            refused(&stack, "/take", json!({ "html": "x", "format": "pdf", "pdf_margin_left": "wide" })).await;
        assert_eq!(messages, ["\"pdf_margin_left\" must be a CSS length like 20px, 1.5cm or 1in"]);
        let messages = refused(&stack, "/take", json!({ "html": "x", "format": "pdf", "pdf_margin": "50in" })).await;
        assert_eq!(messages, ["the margins leave no room on the paper"]);
        let messages = refused(&stack, "/take", json!({ "html": "x", "format": "pdf", "selector": "p" })).await;
        assert_eq!(messages, ["Rendering PDFs by \"selector\" is not allowed."]);
    });
}

#[test]
fn one_page_is_as_tall_as_the_content() {
    run(async {
        let (stack, site) = (Stack::shared(), Site::start());
        let block =
            |height: u32| format!("<!doctype html><body style='margin:0'><div style='height:{height}px'>x</div>");
        for height in [500, 3_000, 20_000] {
            let options = json!({ "html": block(height), "format": "pdf", "pdf_fit_one_page": true });
            let wanted = (150.0, f64::from(height + 1) * 0.75);
            let found = pages(&take(&stack, options).await);
            assert_eq!(found.len(), 1, "{height}: {found:?}");
            assert_size(found[0], wanted);
        }
        let options = json!({ "html": block(3_000), "format": "pdf", "pdf_fit_one_page": true, "pdf_paper_format": "a4", "pdf_margin": "96px" });
        let found = pages(&take(&stack, options).await);
        assert_eq!(found.len(), 1);
        assert_size(found[0], (595.0, (3_001.0 + 192.0) * 0.75));
        let options = json!({
            "url": site.url("/sticky.html"), "format": "pdf", "pdf_fit_one_page": true, "media_type": "screen",
            "pdf_print_background": true,
        });
        let found = pages(&take(&stack, options).await);
        // 20 of the header, 100 of the block that is as tall as the viewport, 4,000 of the others.
        assert_eq!(found.len(), 1, "a block of 100vh does not grow with the paper");
        assert_size(found[0], (150.0, 4_121.0 * 0.75));
        let short = json!({ "html": block(300), "format": "pdf", "pdf_fit_one_page": true, "viewport_height": 1_024 });
        assert_size(pages(&take(&stack, short).await)[0], (150.0, 301.0 * 0.75));
    });
}

/// Blocks of 500 CSS pixels, each of a colour that says which it is; the last line is red.
fn banded(height: u32) -> String {
    let mut html = "<!doctype html><body style='margin:0'>".to_owned();
    for index in 0..height / 500 {
        html.push_str(&format!("<div style='height:500px;background:{}'></div>", band_css(index)));
    }
    let rest = height % 500 + 500 - 10;
    let cut = html.rfind("<div").unwrap();
    html.truncate(cut);
    html.push_str(&format!(
        "<div style='height:{rest}px;background:#00ff00'></div><div style='height:10px;background:#ff0000'></div>"
    ));
    html
}

fn band_css(index: u32) -> String {
    format!("#{:06x}", band(index))
}

fn band(index: u32) -> u32 {
    0x204000 + index * 3
}

fn assert_banded(picture: &Picture, height: u32, scale: u32) {
    assert_eq!(picture.size(), (120 * scale, height * scale));
    for index in 0..height / 500 - 1 {
        for y in [index * 500 * scale, (index * 500 + 500) * scale - 1] {
            assert_eq!(picture.pixel(60 * scale, y), band(index), "row {y} of {height} at {scale}");
        }
    }
    assert_eq!(picture.pixel(0, height * scale - 1), 0xff0000);
    assert_eq!(picture.pixel(0, (height - 10) * scale), 0xff0000);
    assert_eq!(picture.pixel(0, (height - 10) * scale - 1), 0x00ff00);
}

#[test]
fn tall_pages_are_right_to_the_last_row() {
    run(async {
        let stack = Stack::shared();
        for (height, scale) in [(16_385, 1), (16_385, 2), (40_000, 1), (40_000, 2)] {
            let options = json!({
                "html": banded(height), "full_page": true, "full_page_scroll": false, "viewport_width": 120,
                "device_scale_factor": scale,
            });
            assert_banded(&png(&stack, options).await, height, scale);
        }
        let tall = |format: &str, height: u32| json!({ "html": banded(height), "full_page": true, "full_page_scroll": false, "viewport_width": 120, "format": format });
        let jpeg = take(&stack, tall("jpeg", 40_000)).await;
        assert_eq!(jpeg_size(&jpeg.body), Some((120, 40_000)));
        let mut small = tall("webp", 20_000);
        small["image_width"] = json!(60);
        assert_eq!(webp_size(&take(&stack, small).await.body), Some((60, 10_000)));
        for (format, height) in [("webp", 16_384), ("jpeg", 65_536), ("gif", 65_536), ("avif", 65_537)] {
            let answer = stack.client().take(&tall(format, height)).await.expect(400);
            assert_eq!(answer.json()["error_code"], "resulting_image_too_large", "{format}");
        }
    });
}

#[test]
fn a_sticky_header_is_there_once_whatever_the_algorithm() {
    run(async {
        let (stack, site) = (Stack::shared(), Site::start());
        for algorithm in ["default", "by_sections"] {
            for scale in [1, 2] {
                let options = json!({
                    "url": site.url("/sticky.html"), "full_page": true, "full_page_scroll": false, "viewport_height": 300,
                    "full_page_algorithm": algorithm, "device_scale_factor": scale,
                });
                let picture = png(&stack, options).await;
                assert_eq!(picture.size(), (200 * scale, 4320 * scale), "{algorithm}");
                let rows =
                    |colour: u32, x: u32| (0..picture.height).filter(|y| picture.pixel(x, *y) == colour).count() as u32;
                assert_eq!(rows(0x000000, 5), 20 * scale, "{algorithm}: header");
                assert_eq!(rows(0xff00ff, 200 * scale - 2), 10 * scale, "{algorithm}: button");
                assert_eq!(rows(0x0000ff, 5), 300 * scale, "{algorithm}: 100vh");
                for index in 0..8 {
                    assert_eq!(rows(0x00c864 + ((index + 1) << 16), 5), 500 * scale, "{algorithm}: block {index}");
                }
            }
        }
        let mut options = json!({
            "url": site.url("/tall.html"), "full_page": true, "full_page_scroll": false, "viewport_height": 300,
            "capture_beyond_viewport": false,
        });
        let picture = png(&stack, options.clone()).await;
        assert_eq!((picture.size(), picture.pixel(5, 2309)), ((200, 2310), 0x0000ff), "the viewport was enlarged");
        options["capture_beyond_viewport"] = json!(true);
        assert_eq!(png(&stack, options).await.pixel(5, 2309), 0xff0000);
    });
}

#[test]
fn a_full_page_can_be_sliced() {
    run(async {
        let stack = Stack::shared();
        let options = json!({
            "html": banded(5_000), "full_page": true, "full_page_scroll": false, "viewport_width": 120, "format": "png",
            "full_page_slices": true, "full_page_slice_height": 2_000, "full_page_slice_overlap_height": 500,
            "device_scale_factor": 2,
        });
        let answer = take(&stack, options.clone()).await;
        assert_banded(&Picture::decode(&answer.body), 5_000, 2);
        let manifest = stack.client().get(answer.header("x-screenshotone-full-page-slices-url")).await.expect(200);
        assert_eq!(manifest.header("content-type"), "application/json");
        let mut json_options = options.clone();
        json_options["response_type"] = json!("json");
        let answer = take(&stack, json_options).await.json();
        for slices in [&manifest.json()["slices"], &answer["slices"]] {
            let of =
                |name: &str| slices.as_array().unwrap().iter().map(|slice| slice[name].clone()).collect::<Vec<_>>();
            assert_eq!(of("index"), [0, 1, 2]);
            assert_eq!(of("offset_y"), [0, 3_000, 6_000]);
            assert_eq!((of("width"), of("height")), (vec![json!(240); 3], vec![json!(4_000); 3]));
            let last = stack.client().get(slices[2]["url"].as_str().unwrap()).await.expect(200);
            let last = Picture::decode(&last.body);
            assert_eq!((last.size(), last.pixel(0, 0), last.pixel(0, 3_999)), ((240, 4_000), band(6), 0xff0000));
        }
        let refuse = async |more: Json| {
            let mut options = json!({ "html": "x", "full_page": true, "full_page_slices": true });
            options.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            refused(&stack, "/take", options).await
        };
        assert_eq!(refuse(json!({ "full_page": false })).await, ["\"value\" contains an invalid value"]);
        assert_eq!(
            refuse(json!({ "store": true, "storage_path": "x" })).await,
            ["\"value\" contains an invalid value"]
        );
        let overlap = json!({ "full_page_slice_height": 1_000, "full_page_slice_overlap_height": 901 });
        let wanted = "\"full_page_slice_overlap_height\" must be less than or equal to 900";
        assert_eq!(refuse(overlap).await, [wanted]);
    });
}

#[test]
fn an_element_is_taken_where_it_is() {
    run(async {
        let (stack, site) = (Stack::shared(), Site::start());
        let url = site.url("/article.html");
        let shadow = png(&stack, json!({ "url": url, "selector": "shadow/.inner" })).await;
        assert_eq!((shadow.height, shadow.pixel(100, 25)), (30, 0x00ffff));
        let url = site.url("/sticky.html");
        let block = ".block:nth-of-type(4)";
        for options in [
            json!({ "url": url, "selector": block, "selector_algorithm": "clip" }),
            json!({ "url": url, "selector": block, "selector_scroll_into_view": false }),
        ] {
            let picture = png(&stack, options.clone()).await;
            assert_eq!(
                (picture.size(), picture.pixel(5, 0), picture.pixel(5, 499)),
                ((200, 500), 0x02c864, 0x02c864),
                "{options}"
            );
        }
        // Scrolled to, it lies below the header, which stays on top of the view.
        let picture = png(&stack, json!({ "url": url, "selector": block })).await;
        assert_eq!(picture.size(), (200, 500));
        let cut = png(&stack, json!({ "url": url, "selector": block, "capture_beyond_viewport": false })).await;
        assert_eq!(cut.size(), (200, 100), "no more than the viewport");
        let messages = refused(&stack, "/take", json!({ "html": "x", "selector_algorithm": "clip" })).await;
        assert_eq!(messages, ["\"selector_algorithm\" is not allowed"]);
    });
}
