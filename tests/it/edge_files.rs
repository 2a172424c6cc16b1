//! Stored files through the cache of the edge: whole and in part, until they expire or are removed.

use http::Method;
use serde_json::json;
use snaphook_tests::client::{Answer, Client};
use snaphook_tests::run;
use snaphook_tests::stack::Stack;
use snaphook_tests::wait::{self, s};
use std::time::Instant;

/// The path of a file, made by the backend.
async fn stored(client: &Client) -> String {
    let id = client.enqueue("/v1/screenshot", &json!({ "html": "<p>kept", "format": "png" })).await;
    let url = client.done(&id, s(30)).await["file"]["url"].as_str().unwrap().to_owned();
    url.trim_start_matches(&client.base).to_owned()
}

async fn part(client: &Client, path: &str, range: &str) -> Answer {
    client.send(Method::GET, path, &[("range", range)], None).await
}

#[test]
fn a_cached_file_needs_no_backend_and_is_cut_as_the_backend_cuts_it() {
    run(async {
        let mut stack = Stack::builder().edge().start();
        let (backend, edge) = (stack.client(), stack.edge_client());
        let path = stored(&backend).await;
        let whole = edge.get(&path).await.expect(200);
        let etag = whole.header("etag").to_owned();
        let length = whole.body.len();
        // The copy is put into the cache while, or a moment after, the answer is read.
        tokio::time::sleep(s(1)).await;
        assert_eq!(part(&edge, &path, "bytes=99999999-").await.status, 416);
        stack.kill9();

        let again = edge.get(&path).await.expect(200);
        assert_eq!((&again.body, again.header("etag")), (&whole.body, etag.as_str()));
        assert_eq!(again.header("content-security-policy"), "default-src 'none'; sandbox");
        assert_eq!(again.header("access-control-allow-origin"), "*");
        assert_ne!(again.header("x-snaphook-request-id"), whole.header("x-snaphook-request-id"));
        for (range, from, to) in [("bytes=0-9", 0, 10), ("bytes=10-", 10, length), ("bytes=-5", length - 5, length)] {
            let answer = part(&edge, &path, range).await.expect(206);
            assert_eq!(answer.body, whole.body[from..to], "{range}");
            assert_eq!(answer.header("content-range"), format!("bytes {from}-{}/{length}", to - 1));
        }
        let same = edge.send(Method::GET, &path, &[("if-none-match", &etag)], None).await;
        assert_eq!((same.status.as_u16(), same.body.len()), (304, 0));
        // What is not kept is not made up.
        edge.get(&path.replace(".png", ".jpg")).await.expect(503);
    });
}

#[test]
fn an_expired_file_is_gone_from_the_cache_as_well() {
    run(async {
        let stack = Stack::builder().set("SNAPHOOK_STORE_FILE_LIFETIME_SECONDS", 5).edge().start();
        let path = stored(&stack.client()).await;
        let edge = stack.edge_client();
        let mut last_good = None;
        let limit = Instant::now() + s(15);
        while Instant::now() < limit {
            let answer = edge.get(&path).await;
            if answer.status == 200 {
                last_good = Some(Instant::now());
            } else {
                assert!(matches!(answer.status.as_u16(), 404 | 410), "{}", answer.status);
                break;
            }
            tokio::time::sleep(s(1) / 5).await;
        }
        assert!(last_good.is_some(), "it was there at first");
        // The backend says the same, and keeps saying it.
        assert!(matches!(stack.client().get(&path).await.status.as_u16(), 404 | 410));
        tokio::time::sleep(s(1)).await;
        assert!(matches!(edge.get(&path).await.status.as_u16(), 404 | 410));
    });
}

#[test]
fn a_removed_file_outlives_its_removal_by_the_stated_bound_at_most() {
    run(async {
        let stack = Stack::builder().edge_with("FILE_CACHE_SECONDS", 3).start();
        let path = stored(&stack.client()).await;
        let edge = stack.edge_client();
        edge.get(&path).await.expect(200);
        tokio::time::sleep(s(1)).await;
        let file = stack.data_dir().join("files").join(path.trim_start_matches("/files/"));
        std::fs::remove_file(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let removed = Instant::now();
        stack.client().get(&path).await.expect(410);
        edge.get(&path).await.expect(200);
        wait::until("the cache to forget", s(10), async || (edge.get(&path).await.status == 410).then_some(())).await;
        let after = removed.elapsed();
        assert!(after < s(4), "three seconds were promised: {after:?}");
    });
}
