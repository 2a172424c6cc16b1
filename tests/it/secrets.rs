//! A run with a secret in every place that takes one, and then a search for each of them in what is written: the log of both
//! sides, talkative as it can be, and the files of the database or the tables of its server.

use std::path::Path;

use serde_json::json;
use snaphook_test_postgres::Server;
use snaphook_tests::receiver::{Behaviour, Receiver};
use snaphook_tests::run;
use snaphook_tests::s3::{ACCESS_KEY_ID, S3, SECRET_ACCESS_KEY};
use snaphook_tests::site::Site;
use snaphook_tests::stack::{Builder, Stack};
use snaphook_tests::wait::s;

/// Where something was written, and what it is called in a failure.
struct Written {
    place: String,
    bytes: Vec<u8>,
}

impl Written {
    fn holds(&self, secret: &str) -> bool {
        self.bytes.windows(secret.len()).any(|window| window == secret.as_bytes())
    }
}

fn database(data_dir: &Path) -> Vec<Written> {
    let files = std::fs::read_dir(data_dir).unwrap().flatten();
    let of_database = files.filter(|file| file.file_name().to_string_lossy().starts_with("snaphook.db"));
    let read = |file: std::fs::DirEntry| Written {
        place: file.file_name().to_string_lossy().into_owned(),
        bytes: std::fs::read(file.path()).unwrap(),
    };
    of_database.map(read).collect()
}

/// Every row of every table, as text.
fn rows(server: &Server, url: &str) -> Vec<Written> {
    let tables = "SELECT quote_ident(table_schema) || '.' || quote_ident(table_name) FROM information_schema.tables
                  WHERE table_schema NOT IN ('pg_catalog', 'information_schema') AND table_type = 'BASE TABLE'";
    let names = server.query(url, tables);
    let read = |table: &str| {
        let text = server.query(url, &format!("SELECT t::text FROM {table} t"));
        // What is kept as bytes is shown as hexadecimal digits, which hide nothing from who looks for it.
        let bytes = text.split("\\x").skip(1).flat_map(|digits| {
            let end = digits.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(digits.len());
            hex::decode(&digits[..end - end % 2]).unwrap()
        });
        let bytes: Vec<u8> = bytes.collect();
        Written { place: format!("the table {table}"), bytes: [text.into_bytes(), bytes].concat() }
    };
    names.lines().map(read).collect()
}

#[test]
fn no_secret_is_in_the_log_or_in_the_database() {
    run(async {
        let stack = talkative().start();
        look_for_secrets(&stack, || database(stack.data_dir())).await;
    });
}

#[test]
fn no_secret_is_in_the_tables_of_a_server() {
    run(async {
        let server = Server::shared();
        let url = server.database();
        let stack = talkative().set("SNAPHOOK_QUEUE_DATABASE_URL", &url).start();
        look_for_secrets(&stack, || rows(server, &url)).await;
    });
}

fn talkative() -> Builder {
    Stack::builder()
        .edge()
        .set("SNAPHOOK_LOG_LEVEL", "trace")
        .set("SNAPHOOK_RENDER_CONCURRENCY", 4)
        .set("SNAPHOOK_WEBHOOK_SCHEDULE_SECONDS", "0,1")
}

/// Gives the service one of each, and looks for it in the logs and in what its database has written.
async fn look_for_secrets(stack: &Stack, database: impl Fn() -> Vec<Written>) {
    let bucket = S3::start("mine");
    let (edge, backend) = (stack.edge_client(), stack.client());
    let (site, receiver) = (Site::start(), Receiver::start());

    // What a render may be given, in all three ways: waited for, accepted, and by the clock.
    let with_secrets = |mark: &str| {
        json!({
            "url": site.url(&format!("/colors.html?token=hush-page-{mark}")),
            "format": "png", "viewport_width": 60, "viewport_height": 40,
            "authorization": format!("Bearer hush-authorization-{mark}"),
            "headers": [format!("X-Token: hush-header-{mark}")],
            "cookies": [format!("session=hush-cookie-{mark}")],
            "store": true, "storage_path": mark, "storage_bucket": "mine", "storage_endpoint": bucket.url,
            "storage_access_key_id": ACCESS_KEY_ID, "storage_secret_access_key": SECRET_ACCESS_KEY,
            "webhook_url": format!("{}?token=hush-receiver-{mark}", receiver.url()),
        })
    };
    edge.take(&with_secrets("waited")).await.expect(200);
    let id = edge.enqueue("/take", &with_secrets("accepted")).await;
    backend.request_when(&id, "delivered", s(60), |view| view["webhook"]["state"] == "delivered").await;
    // What goes wrong is told at length, and not at this price.
    let mut wrong = with_secrets("wrong");
    wrong["storage_secret_access_key"] = json!("hush-wrong-storage-secret");
    edge.take(&wrong).await;
    wrong["proxy"] = json!("http://user:hush-proxy-password@127.0.0.1:3128/");
    edge.take(&wrong).await;
    wrong["viewport_width"] = json!("hush-no-number");
    edge.take(&wrong).await.expect(400);
    edge.get(&edge.signed("/take", "url=https://example.com").replace("signature=", "signature=00")).await;
    // One that nobody renders yet, so that its secrets are at rest.
    let busy: Vec<_> = (0..4).map(|_| json!({ "url": site.url("/never"), "timeout": 60 })).collect();
    for options in &busy {
        edge.enqueue("/take", options).await;
    }
    let mut queued = with_secrets("queued");
    queued["proxy"] = json!("http://user:hush-proxy-queued@127.0.0.1:3128/");
    edge.enqueue("/take", &queued).await;
    let query = "url=https://example.com&authorization=hush-authorization-task&cookies=a%3Dhush-cookie-task";
    let task = json!({ "name": "t", "api": "screenshot", "query": query, "crontab": "0 0 1 1 *" });
    edge.post("/v1/tasks", &task).await.expect(201);

    receiver.behave(Behaviour::Status(500));
    let failing = edge.enqueue("/v1/screenshot", &json!({ "html": "<p>x", "webhook_url": receiver.url() })).await;
    // Nobody gets to it while the workers are held up; it is enough that it is there.
    backend.request(&failing).await;

    let root_key = std::fs::read_to_string(stack.data_dir().join("root.key")).unwrap();
    let edge_secret = stack.setting("SNAPHOOK_EDGE_SECRETS").unwrap().split_once(':').unwrap().1.to_owned();
    let mut secrets = vec![
        ("the root key".to_owned(), root_key.trim().to_owned()),
        ("the edge's secret".to_owned(), edge_secret),
        ("the key's secret".to_owned(), stack.key.secret_key.clone()),
        ("the storage's secret".to_owned(), SECRET_ACCESS_KEY.to_owned()),
        ("a wrong storage secret".to_owned(), "hush-wrong-storage-secret".to_owned()),
        ("a proxy's password".to_owned(), "hush-proxy-password".to_owned()),
        ("a proxy's password, queued".to_owned(), "hush-proxy-queued".to_owned()),
    ];
    for kind in ["authorization", "header", "cookie"] {
        for mark in ["waited", "accepted", "queued", "wrong", "task"] {
            secrets.push((format!("{kind} {mark}"), format!("hush-{kind}-{mark}")));
        }
    }
    let mut logs = vec![
        Written { place: "the backend's log".to_owned(), bytes: stack.backend_log().into_bytes() },
        Written { place: "the edge's log".to_owned(), bytes: stack.edge_log().into_bytes() },
    ];
    assert!(logs[0].holds("rendered") && logs[0].holds("DEBUG"), "the log is there, and talkative");
    // An access key alone lets whoever has it render, and an address may hold a token. The database has to know both.
    for (name, hidden) in [("the access key", stack.key.access_key.as_str()), ("an address", "hush-")] {
        for log in &logs {
            assert!(!log.holds(hidden), "{name} is in {}:\n{}", log.place, lines_with(log, hidden));
        }
    }
    logs.extend(database());
    assert!(logs[2..].iter().any(|file| file.holds("hush-page-queued")), "the database is looked into");
    for (name, secret) in &secrets {
        for written in &logs {
            assert!(!written.holds(secret), "{name} is in {}:\n{}", written.place, lines_with(written, secret));
        }
    }
}

fn lines_with(written: &Written, secret: &str) -> String {
    let text = String::from_utf8_lossy(&written.bytes);
    let found = text.lines().filter(|line| line.contains(secret)).take(5);
    found.map(|line| line.chars().take(400).collect::<String>()).collect::<Vec<_>>().join("\n")
}
