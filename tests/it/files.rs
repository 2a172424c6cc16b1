//! The stored files: how they are served, and for how long.

use http::Method;
use serde_json::json;
use snaphook_tests::client::Client;
use snaphook_tests::run;
use snaphook_tests::stack::Stack;
use snaphook_tests::wait::s;

/// Renders a small picture and gives the link to its file.
async fn stored(client: &Client) -> String {
    let id =
        client.enqueue("/v1/screenshot", &json!({ "html": "<p>kept", "format": "png", "viewport_width": 90 })).await;
    client.done(&id, s(30)).await["file"]["url"].as_str().unwrap().to_owned()
}

#[test]
fn a_file_is_served_with_headers_that_let_it_be_cached_and_do_no_harm() {
    run(async {
        let stack = Stack::shared();
        let link = stored(&stack.client()).await;
        for url in [link.clone(), link.replace(&stack.api, stack.edge_url())] {
            let answer = stack.client().get(&url).await.expect(200);
            assert_eq!(answer.header("content-type"), "image/png");
            assert_eq!(answer.header("content-length"), answer.body.len().to_string());
            assert_eq!(answer.header("accept-ranges"), "bytes");
            assert_eq!(answer.header("x-content-type-options"), "nosniff");
            assert_eq!(answer.header("content-security-policy"), "default-src 'none'; sandbox");
            let cache = answer.header("cache-control");
            let seconds: u64 =
                cache.strip_prefix("public, max-age=").unwrap().split(',').next().unwrap().parse().unwrap();
            assert!((604_000..=604_800).contains(&seconds) && cache.ends_with("immutable"), "{cache}");
            let head = stack.client().send(Method::HEAD, &url, &[], None).await.expect(200);
            assert_eq!(head.header("content-length"), answer.body.len().to_string());
            assert!(head.body.is_empty());
        }
        let name = link.rsplit('/').next().unwrap();
        assert!(name.len() == 48 + 4, "192 bits that nobody guesses: {name}");
    });
}

#[test]
fn a_part_of_a_file_can_be_had() {
    run(async {
        let stack = Stack::shared();
        let link = stored(&stack.client()).await;
        let whole = stack.client().get(&link).await.expect(200).body;
        let length = whole.len();
        for url in [link.clone(), link.replace(&stack.api, stack.edge_url())] {
            let part = async |range: &str| stack.client().send(Method::GET, &url, &[("range", range)], None).await;
            for (range, from, to) in [
                ("bytes=0-9", 0, 10),
                ("bytes=10-", 10, length),
                ("bytes=-5", length - 5, length),
                ("bytes=8-999999999", 8, length),
            ] {
                let answer = part(range).await.expect(206);
                assert_eq!(answer.body, whole[from..to], "{range}");
                assert_eq!(answer.header("content-range"), format!("bytes {from}-{}/{length}", to - 1));
            }
            let answer = part(&format!("bytes={length}-")).await.expect(416);
            assert_eq!(answer.header("content-range"), format!("bytes */{length}"));
            let answer = part("bytes=5-1").await.expect(200);
            assert_eq!(answer.body, whole, "what is no range is ignored");
        }
    });
}

#[test]
fn a_file_that_is_known_is_not_sent_again() {
    run(async {
        let stack = Stack::shared();
        let link = stored(&stack.client()).await;
        let etag = stack.client().get(&link).await.expect(200).header("etag").to_owned();
        assert!(etag.starts_with('"') && etag.len() > 20, "{etag}");
        for url in [link.clone(), link.replace(&stack.api, stack.edge_url())] {
            let get = async |headers: &[(&str, &str)]| stack.client().send(Method::GET, &url, headers, None).await;
            let answer = get(&[("if-none-match", &etag)]).await.expect(304);
            assert!(answer.body.is_empty());
            assert_eq!(answer.header("etag"), etag);
            get(&[("if-none-match", "\"another\"")]).await.expect(200);
            get(&[("range", "bytes=0-3"), ("if-range", &etag)]).await.expect(206);
            get(&[("range", "bytes=0-3"), ("if-range", "\"another\"")]).await.expect(200);
        }
    });
}

#[test]
fn a_name_that_was_never_given_is_not_found() {
    run(async {
        let stack = Stack::shared();
        for client in [stack.client(), stack.edge_client()] {
            for name in ["0".repeat(48) + ".png", "..%2f..%2fsnaphook.db".to_owned(), "x".to_owned()] {
                let answer = client.get(&format!("/files/{name}")).await.expect(404);
                assert_eq!(answer.json()["code"], "not_found", "{name}");
            }
        }
    });
}

#[test]
fn a_file_ends_with_its_time() {
    run(async {
        let stack = Stack::builder().set("SNAPHOOK_STORE_FILE_LIFETIME_SECONDS", 1).start();
        let client = stack.client();
        let id = client.enqueue("/v1/screenshot", &json!({ "html": "<p>short" })).await;
        let link = client.done(&id, s(30)).await["file"]["url"].as_str().unwrap().to_owned();
        let gone = async || Some(client.get(&link).await).filter(|answer| answer.status == 410);
        let answer = snaphook_tests::wait::until("the end of the file", s(10), gone).await;
        assert_eq!(answer.json()["code"], "file_expired");
        assert_eq!(client.request(&id).await["file"]["expired"], true);
    });
}

#[test]
fn a_file_can_have_a_name_for_whoever_downloads_it() {
    run(async {
        let stack = Stack::shared();
        let client = stack.client();
        let options = json!({ "html": "<p>x", "format": "png", "attachment_name": "Übersicht \"1\"" });
        let id = client.enqueue("/v1/screenshot", &options).await;
        let link = client.done(&id, s(30)).await["file"]["url"].as_str().unwrap().to_owned();
        let expected = "attachment; filename=\"_bersicht__1_.png\"; filename*=UTF-8''%C3%9Cbersicht%20%221%22%2Epng";
        assert_eq!(client.get(&link).await.expect(200).header("content-disposition"), expected);
        let answer = client.screenshot(&options).await.expect(200);
        assert_eq!(answer.header("content-disposition"), expected, "in a direct answer too");
    });
}
