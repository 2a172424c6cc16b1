//! What is told of a page beside its picture.

use super::*;

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
