//! Files in buckets: the same service on an S3 server and on one that speaks as Azure does, with files small and large.

use serde_json::json;
use snaphook_tests::azure::{self, Azure};
use snaphook_tests::picture::Picture;
use snaphook_tests::receiver::Receiver;
use snaphook_tests::run;
use snaphook_tests::s3::{ACCESS_KEY_ID, S3, SECRET_ACCESS_KEY};
use snaphook_tests::stack::{Builder, Stack};
use snaphook_tests::wait::{self, s};

fn bucket(url: &str, endpoint: &str, id: &str, key: &str) -> Builder {
    Stack::builder()
        .set("SNAPHOOK_STORE_URL", url)
        .set("SNAPHOOK_STORE_ENDPOINT", endpoint)
        .set("SNAPHOOK_STORE_ACCESS_KEY_ID", id)
        .set("SNAPHOOK_STORE_SECRET_ACCESS_KEY", key)
}

/// A picture that no PNG makes small: more than is sent in one piece.
const NOISE: &str = "<body style='margin:0'><canvas id=c width=2400 height=2400></canvas><script>
    const context = c.getContext('2d'), image = context.createImageData(2400, 2400);
    let state = 1;
    for (let at = 0; at < image.data.length; at++) {
        state = (state * 1664525 + 1013904223) >>> 0;
        image.data[at] = at % 4 == 3 ? 255 : state >>> 24;
    }
    context.putImageData(image, 0, 0);</script>";

/// Stores a small and a large file, reads them back in whole and in part, sends one as a webhook, and lets them expire.
fn keeps_files(builder: Builder) {
    run(async {
        let stack = builder.set("SNAPHOOK_STORE_FILE_LIFETIME_SECONDS", 60).start();
        let (client, receiver) = (stack.client(), Receiver::start());
        let small = json!({
            "html": "<body style='margin:0;background:#123456'>", "format": "png", "viewport_width": 60,
            "viewport_height": 40, "async": true, "response_type": "by_format", "webhook_url": receiver.url(),
        });
        let view = client.done(&client.enqueue("/take", &small).await, s(30)).await;
        let sent = receiver.first(s(20)).await;
        assert_eq!(Picture::decode(&sent.body).pixel(30, 20), 0x123456);
        let url = view["file"]["url"].as_str().unwrap();
        let file = client.get(url).await.expect(200);
        assert_eq!((file.header("content-type"), &file.body[..]), ("image/png", &sent.body[..]));

        let large =
            json!({ "html": NOISE, "format": "png", "viewport_width": 2400, "viewport_height": 2400, "async": true });
        let view = client.done(&client.enqueue("/take", &large).await, s(60)).await;
        let url = view["file"]["url"].as_str().unwrap();
        let file = client.get(url).await.expect(200);
        assert!(file.body.len() > 16 << 20, "{} bytes are sent in one piece", file.body.len());
        assert_eq!(Some(file.body.len() as u64), view["file"]["bytes"].as_u64());
        assert_eq!(Picture::decode(&file.body).size(), (2400, 2400));
        let part = client.send(http::Method::GET, url, &[("range", "bytes=9000000-9000099")], None).await.expect(206);
        assert_eq!(part.body, &file.body[9_000_000..9_000_100]);
        assert!(!stack.data_dir().join("files").exists(), "nothing is kept beside the bucket");
        assert!(!stack.backend_log().contains(stack.setting("SNAPHOOK_STORE_SECRET_ACCESS_KEY").unwrap()));
    });
}

#[test]
fn an_s3_server_keeps_files_small_and_large() {
    let s3 = S3::start("files");
    keeps_files(bucket("s3://files/shots", &s3.url, ACCESS_KEY_ID, SECRET_ACCESS_KEY));
    assert_eq!(std::fs::read_dir(s3.path("files/shots")).unwrap().count(), 2, "nothing but the two");
    assert!((2..=16).contains(&s3.parts()), "{} parts", s3.parts());
}

#[test]
fn azure_keeps_files_small_and_large() {
    let server = Azure::start("files");
    keeps_files(bucket("az://files/shots", &server.endpoint, azure::ACCOUNT, azure::KEY));
}

#[test]
fn what_is_past_its_time_goes_from_azure_too() {
    run(async {
        let server = Azure::start("files");
        let stack = bucket("az://files", &server.endpoint, azure::ACCOUNT, azure::KEY)
            .set("SNAPHOOK_STORE_FILE_LIFETIME_SECONDS", 1)
            .start();
        let client = stack.client();
        let page = json!({ "html": "<p>x", "format": "png", "async": true });
        let id = client.enqueue("/take", &page).await;
        let view = client.done(&id, s(30)).await;
        let url = view["file"]["url"].as_str().unwrap().to_owned();
        wait::until("its end", s(60), async || (client.get(&url).await.status == 410).then_some(())).await;
        // Looked for every half minute.
        let swept = || stack.backend_log().contains("what=\"expired files\"").then_some(());
        wait::for_it("the sweep", s(90), swept).await;
    });
}
