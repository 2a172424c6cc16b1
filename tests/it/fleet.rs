//! Several services of one installation: on one PostgreSQL and one bucket, each with all roles or with some, while they are
//! killed, and cut off, and what they share goes away for a while.

use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};
use snaphook_test_postgres::Server;
use snaphook_tests::client::Client;
use snaphook_tests::faults::Faults;
use snaphook_tests::receiver::Receiver;
use snaphook_tests::s3::{ACCESS_KEY_ID, MortalS3, SECRET_ACCESS_KEY};
use snaphook_tests::site::Site;
use snaphook_tests::stack::{Builder, KeyPair, Stack};
use snaphook_tests::wait::{self, s};
use snaphook_tests::wire::Wire;
use snaphook_tests::{descendants, random_hex, run};

use crate::postgres::small;

/// What all services of an installation share.
pub(crate) struct Fleet {
    pub(crate) database: String,
    bucket: MortalS3,
    root_key: String,
    key: KeyPair,
}

impl Fleet {
    pub(crate) fn new(database: &str) -> Fleet {
        let (bucket, root_key, key) = (MortalS3::start("files"), random_hex(32), KeyPair::random());
        Fleet { database: database.to_owned(), bucket, root_key, key }
    }

    pub(crate) fn backend(&self, lease_s: u64) -> Builder {
        self.backend_by(lease_s, &self.database, &self.bucket.url)
    }

    /// One that reaches what it shares by ways of its own.
    fn backend_by(&self, lease_s: u64, database: &str, bucket: &str) -> Builder {
        Stack::builder()
            .key(self.key.clone())
            .set("SNAPHOOK_QUEUE_DATABASE_URL", database)
            .set("SNAPHOOK_QUEUE_LEASE_SECONDS", lease_s)
            // So many places that eight requests fill those of two.
            .set("SNAPHOOK_RENDER_CONCURRENCY", 2)
            .set("SNAPHOOK_ROOT_KEY", &self.root_key)
            .set("SNAPHOOK_STORE_URL", "s3://files")
            .set("SNAPHOOK_STORE_ENDPOINT", bucket)
            .set("SNAPHOOK_STORE_ACCESS_KEY_ID", ACCESS_KEY_ID)
            .set("SNAPHOOK_STORE_SECRET_ACCESS_KEY", SECRET_ACCESS_KEY)
    }
}

/// Renders that a backend has ended.
pub(crate) async fn renders(stack: &Stack) -> f64 {
    let metrics = stack.client().at(&stack.operations).get("/metrics").await.expect(200).text();
    let counts = metrics.lines().filter(|line| line.starts_with("snaphook_renders_total"));
    counts.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

#[test]
fn two_backends_share_the_work_and_no_render_is_done_twice() {
    run(async {
        let fleet = Fleet::new(&Server::shared().database());
        let one = fleet.backend(30).start();
        let other = fleet.backend(30).start();
        let (client, site, receiver) = (one.client(), Site::start(), Receiver::start());
        let options = json!({
            "url": site.url("/slow?300"), "format": "png", "viewport_width": 60, "viewport_height": 40, "async": true,
            "webhook_url": receiver.url(),
        });
        let mut ids = Vec::new();
        for _ in 0..30 {
            ids.push(client.enqueue("/v1/screenshot", &options).await);
        }
        for id in &ids {
            // Whichever rendered it, each tells of it.
            let view = client.at(&other.api).delivered(id, s(60)).await;
            assert_eq!((&view["state"], &view["attempts"]), (&json!("done"), &json!(1)), "{view:#}");
        }
        assert_eq!((site.count("/slow"), receiver.all().len()), (30, 30));
        let (by_one, by_other) = (renders(&one).await, renders(&other).await);
        assert!(by_one >= 5.0 && by_other >= 5.0 && by_one + by_other == 30.0, "{by_one} and {by_other}");
        let file = client.request(&ids[0]).await["file"]["url"].as_str().unwrap().replace(&one.api, &other.api);
        client.get(&file).await.expect(200);
    });
}

#[test]
fn a_backend_that_is_killed_is_stood_in_for_within_the_lease() {
    run(async {
        let fleet = Fleet::new(&Server::shared().database());
        let mut one = fleet.backend(5).start();
        let other = fleet.backend(5).start();
        let (client, site, receiver) = (other.client(), Site::start(), Receiver::start());
        let options = json!({ "url": site.url("/slow?3000"), "format": "png", "webhook_url": receiver.url() });
        let mut ids = Vec::new();
        for _ in 0..8 {
            ids.push(client.enqueue("/v1/screenshot", &options).await);
        }
        wait::for_it("renders at both", s(20), || (site.count("/slow") >= 4).then_some(())).await;
        one.kill9();
        let killed = Instant::now();
        for id in &ids {
            let view = client.delivered(id, s(60)).await;
            assert_eq!(view["state"], "done", "{view:#}");
        }
        // Five seconds of lease, the look every two, and the renders themselves.
        assert!(killed.elapsed() < s(30), "{:?}", killed.elapsed());
        let attempts = |view: &Json| view["attempts"].as_u64().unwrap();
        let mut tries = Vec::new();
        for id in &ids {
            tries.push(attempts(&client.request(id).await));
        }
        assert!(tries.contains(&2), "some were taken over: {tries:?}");
        // It comes back beside the other one, whose leases it leaves alone.
        let id = client.enqueue("/v1/screenshot", &options).await;
        client.request_when(&id, "rendering", s(10), |view| view["state"] == "rendering").await;
        one.restart();
        let view = client.delivered(&id, s(30)).await;
        assert_eq!(view["attempts"], 1, "{view:#}");
    });
}

#[test]
fn what_a_backend_says_after_its_lease_ran_out_is_not_heard() {
    run(async {
        let (fleet, faults) = (Fleet::new(&Server::shared().database()), Faults::new());
        let mut late = fleet.backend(5).faults(&faults).start();
        let receiver = Receiver::start();
        faults.suspend_at("after-store-put", 1);
        let id = late.client().enqueue("/v1/screenshot", &small(&receiver)).await;
        wait::for_it("a backend that stands still", s(20), || late.is_suspended().then_some(())).await;
        let other = fleet.backend(5).start();
        let client = other.client();
        let view = client.delivered(&id, s(60)).await;
        assert_eq!((&view["state"], &view["attempts"]), (&json!("done"), &json!(2)), "{view:#}");
        let began = |attempt: &Json| attempt["started_at"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
        let log = &view["attempt_log"];
        // The lease, and the look for those that ran out every two seconds; a busy machine takes some more.
        let pause = began(&log[1]).duration_since(began(&log[0]));
        assert!(pause.as_secs() >= 4 && pause.as_secs() <= 15, "{view:#}");
        // It has a picture of its own, and would tell of it.
        late.resume();
        assert!(late.backend_says("the lease was lost").await);
        let now = late.client().delivered(&id, s(10)).await;
        for part in ["state", "attempts", "attempt_log", "finished_at", "webhook"] {
            assert_eq!(now[part], view[part], "{now:#}");
        }
        assert_eq!(receiver.all().len(), 1, "nothing was told twice");
        // It goes on with others.
        drop(other);
        let view =
            late.client().delivered(&late.client().enqueue("/v1/screenshot", &small(&receiver)).await, s(30)).await;
        assert_eq!(view["state"], "done", "{view:#}");
    });
}

#[test]
fn three_backends_have_three_times_as_much_under_way() {
    run(async {
        let fleet = Fleet::new(&Server::shared().database());
        let one = fleet.backend(30).start();
        let (client, site) = (one.client(), Site::start());
        let slow = json!({ "url": site.url("/slow?4000"), "format": "png", "async": true, "block_annoyance": "none" });
        let under_way = async || {
            let page = client.get_with_key("/v1/requests?state=rendering&limit=100").await.expect(200).json();
            page["requests"].as_array().unwrap().len()
        };
        let mut ids = Vec::new();
        for _ in 0..14 {
            ids.push(client.enqueue("/v1/screenshot", &slow).await);
        }
        wait::until("as much as one does", s(20), async || (under_way().await == 2).then_some(())).await;
        let others = [fleet.backend(30).start(), fleet.backend(30).start()];
        let mut most = 0;
        wait::until("three times that", s(20), async || {
            most = most.max(under_way().await);
            (most == 6).then_some(())
        })
        .await;
        for id in &ids {
            let view = client.done(id, s(60)).await;
            assert_eq!(view["attempts"], 1, "{view:#}");
            most = most.max(under_way().await);
        }
        assert_eq!((most, site.count("/slow")), (6, 14), "no backend takes more than its places");
        for backend in others.iter().chain([&one]) {
            assert!(renders(backend).await >= 2.0);
        }
    });
}

#[test]
fn each_role_does_its_part_and_no_other() {
    run(async {
        let server = Server::shared();
        let fleet = Fleet::new(&server.database());
        let with = |roles: &str| fleet.backend(5).set("SNAPHOOK_ROLES", roles).start();
        let api = with("api");
        let (client, site, receiver) = (api.client(), Site::start(), Receiver::start());
        let page = json!({ "url": site.url("/colors.html"), "format": "png", "webhook_url": receiver.url() });
        let id = client.enqueue("/v1/screenshot", &page).await;
        client.take(&json!({ "html": "<p>at once" })).await.expect(200);
        tokio::time::sleep(s(3)).await;
        assert_eq!((client.request(&id).await["state"].clone(), site.count("/colors.html")), (json!("queued"), 0));

        let mut render = with("render");
        let view = client.done(&id, s(30)).await;
        client.get(view["file"]["url"].as_str().unwrap()).await.expect(200);
        tokio::time::sleep(s(2)).await;
        assert!(receiver.all().is_empty(), "nobody delivers yet");

        let mut deliver = with("deliver");
        receiver.first(s(20)).await;
        client.delivered(&id, s(10)).await;
        assert!(descendants::of(deliver.backend_pid()).is_empty(), "it has no browser");

        let task = json!({ "name": "test", "api": "screenshot", "query": "html=x", "crontab": "0 0 1 1 *" });
        let task = client.post("/v1/tasks", &task).await.expect(201).json()["id"].clone();
        server.query(&fleet.database, &format!("UPDATE tasks SET due_ms = 1 WHERE id = {task}"));
        let runs = async || client.get_with_key(&format!("/v1/requests?task={task}")).await.expect(200).json();
        tokio::time::sleep(s(3)).await;
        assert_eq!(runs().await["requests"], json!([]));
        // Two of them, and the task has one run all the same.
        let keepers = [with("tasks"), with("tasks")];
        wait::until("the task's run", s(30), async || (runs().await["requests"][0]["state"] == "done").then_some(()))
            .await;
        tokio::time::sleep(s(3)).await;
        assert_eq!(runs().await["requests"].as_array().unwrap().len(), 1);
        for stack in keepers.iter().chain([&deliver, &render, &api]) {
            let ready = client.at(&stack.operations).get("/readyz").await;
            assert_eq!(ready.status, 200, "{}", ready.text());
        }
        assert!(deliver.api.is_empty() && render.api.is_empty(), "only one has an API");
        assert_eq!((renders(&api).await, renders(&render).await, renders(&deliver).await), (1.0, 2.0, 0.0));
        for stack in [&mut render, &mut deliver] {
            assert!(stack.terminate().is_some_and(|status| status.success()));
        }
    });
}

#[test]
fn a_service_with_some_roles_needs_what_it_shares() {
    let error = Stack::builder().set("SNAPHOOK_ROLES", "render").try_start().err().unwrap();
    assert!(error.contains("database_url and [store] url"), "{error}");
    let error = Stack::builder().set("SNAPHOOK_ROLES", "cook").try_start().err().unwrap();
    assert!(error.contains("api, render, deliver or tasks"), "{error}");
}

/// Posts until so many more have been accepted.
async fn load(client: &Client, receiver: &Receiver, count: usize, accepted: &mut Vec<String>) {
    let (options, before) = (small(receiver), accepted.len());
    wait::until("requests accepted", s(60), async || {
        let posts = futures::future::join_all((0..3).map(|_| client.try_post("/v1/screenshot", &options)));
        let answers = posts.await.into_iter().flatten().filter(|answer| answer.status == 202);
        accepted.extend(answers.map(|answer| answer.json()["id"].as_str().unwrap().to_owned()));
        (accepted.len() >= before + count).then_some(())
    })
    .await;
}

#[test]
fn three_backends_behind_an_edge_lose_nothing_whatever_happens_to_them() {
    run(async {
        let server = Server::start();
        let mut fleet = Fleet::new(&server.database());
        let ways: Vec<_> =
            (0..2).map(|_| (Wire::to_postgres(&fleet.database), Wire::to_url(&fleet.bucket.url))).collect();
        let schedule = format!("0{}", ",1".repeat(14));
        let backend = |database: &str, bucket: &str| {
            fleet.backend_by(5, database, bucket).set("SNAPHOOK_WEBHOOK_SCHEDULE_SECONDS", &schedule)
        };
        let mut front = backend(&fleet.database, &fleet.bucket.url).edge().start();
        let mut others: Vec<Stack> =
            ways.iter().map(|((_, database), (_, bucket))| backend(database, bucket).start()).collect();
        let (client, site, receiver) = (front.edge_client(), Site::start(), Receiver::start());
        let mut accepted = Vec::new();

        // Renders that are under way at one that is cut off are taken over, and what it says of them later is not heard.
        let slow =
            json!({ "url": site.url("/slow?2500"), "format": "png", "async": true, "webhook_url": receiver.url() });
        for _ in 0..6 {
            accepted.push(client.enqueue("/v1/screenshot", &slow).await);
        }
        wait::for_it("renders at all three", s(30), || (site.count("/slow") >= 6).then_some(())).await;
        let ((to_database, _), (to_bucket, _)) = &ways[0];
        to_database.cut();
        to_bucket.cut();
        let cut = Instant::now();
        load(&client, &receiver, 10, &mut accepted).await;
        let mut attempts = Vec::new();
        for id in &accepted {
            let view = client.delivered(id, s(60)).await;
            attempts.push(view["attempts"].as_u64().unwrap());
        }
        // The lease, the look for those that ran out, and the renders themselves.
        assert!(cut.elapsed() < s(40), "{:?}", cut.elapsed());
        assert!(attempts[..6].contains(&2), "some were taken over: {attempts:?}");
        to_database.mend();
        to_bucket.mend();
        load(&client, &receiver, 10, &mut accepted).await;

        // The only one that the edge knows: it answers for itself until that is back.
        front.kill9();
        futures::join!(load(&client, &receiver, 10, &mut accepted), async {
            tokio::time::sleep(s(1)).await;
            front.restart();
        });
        others[1].kill9();
        load(&client, &receiver, 10, &mut accepted).await;
        server.crash();
        tokio::time::sleep(Duration::from_millis(500)).await;
        server.start_again();
        load(&client, &receiver, 10, &mut accepted).await;
        others[1].restart();
        fleet.bucket.kill9();
        load(&client, &receiver, 10, &mut accepted).await;
        tokio::time::sleep(s(1)).await;
        fleet.bucket.start_again();
        load(&client, &receiver, 10, &mut accepted).await;

        let mut files = HashSet::new();
        for id in &accepted {
            let view = client.delivered(id, s(120)).await;
            assert_eq!(view["state"], "done", "{view:#}");
            client.get(view["file"]["url"].as_str().unwrap()).await.expect(200);
            assert!(files.insert(view["file"]["url"].to_string()), "a file of its own: {view:#}");
        }
        let webhooks = receiver.all();
        let mut bodies: BTreeMap<&str, &[u8]> = BTreeMap::new();
        for webhook in &webhooks {
            let body = bodies.entry(webhook.header("webhook-id")).or_insert(&webhook.body);
            assert_eq!(*body, &webhook.body[..], "what was taken over is told once, in the same words");
        }
        let lost: Vec<&String> =
            accepted.iter().filter(|id| !bodies.contains_key(id.replace("req_", "msg_").as_str())).collect();
        assert!(lost.is_empty(), "{lost:?}");
    });
}
