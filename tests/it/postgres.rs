//! A service on PostgreSQL, also while its server goes away, and the move there from the embedded database. What the queue
//! itself must do is tested in the backend, on both.

use std::collections::HashSet;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::{Value as Json, json};
use snaphook_test_postgres::Server;
use snaphook_tests::operator::{Operator, new_password, try_password};
use snaphook_tests::picture::Picture;
use snaphook_tests::receiver::Receiver;
use snaphook_tests::run;
use snaphook_tests::serve::Port;
use snaphook_tests::site::Site;
use snaphook_tests::stack::{Builder, Stack, snaphook};
use snaphook_tests::wait::{self, s};

const DATABASE_URL: &str = "SNAPHOOK_QUEUE_DATABASE_URL";

fn on(url: &str) -> Builder {
    // The shortest lease there is: the tests wait for its end.
    Stack::builder().set(DATABASE_URL, url).set("SNAPHOOK_QUEUE_LEASE_SECONDS", 5)
}

/// A request that costs next to nothing.
pub(crate) fn small(receiver: &Receiver) -> Json {
    json!({
        "html": "<body style='margin:0;background:#123456'>", "format": "png", "viewport_width": 60, "viewport_height": 40,
        "async": true, "webhook_url": receiver.url(), "block_annoyance": "none",
    })
}

#[test]
fn a_service_on_postgresql_accepts_renders_tells_and_shows() {
    run(async {
        let server = Server::shared();
        let url = server.database();
        let stack = on(&url).start();
        let (client, site, receiver) = (stack.client(), Site::start(), Receiver::start());
        let options = json!({
            "url": site.url("/colors.html"), "format": "png", "viewport_width": 200, "viewport_height": 100,
            "webhook_url": receiver.url(),
        });
        let id = client.enqueue("/v1/screenshot", &options).await;
        let view = client.delivered(&id, s(30)).await;
        assert_eq!((&view["state"], &view["attempts"]), (&json!("done"), &json!(1)));
        let file = receiver.first(s(10)).await.json()["file"].as_str().unwrap().to_owned();
        let picture = Picture::decode(&client.get(&file).await.expect(200).body);
        assert_eq!((picture.size(), picture.pixel(100, 50)), ((200, 100), 0x204080));
        assert!(!stack.data_dir().join("snaphook.db").exists(), "nothing is kept in SQLite beside it");

        let task = json!({ "name": "test", "api": "screenshot", "query": "html=x", "crontab": "0 0 1 1 *" });
        let task = client.post("/v1/tasks", &task).await.expect(201).json()["id"].clone();
        server.query(&url, &format!("UPDATE tasks SET due_ms = 1 WHERE id = {task}"));
        wait::until("the task's run", s(30), async || {
            let page = client.get_with_key(&format!("/v1/requests?task={task}")).await.expect(200).json();
            (page["requests"][0]["state"] == "done").then_some(())
        })
        .await;

        let operator = Operator::new(&stack).await;
        assert!(operator.page("/dashboard/requests").await.contains(&id));
        assert!(operator.page("/dashboard/usage").await.contains(&stack.key.access_key));
        assert!(operator.page(&format!("/dashboard/requests/{id}")).await.contains(file.rsplit('/').next().unwrap()));
        let doctor = stack.run_command(&["doctor", "--json"]);
        let doctor: Json = serde_json::from_slice(&doctor.stdout).unwrap();
        let database = doctor["checks"].as_array().unwrap().iter().find(|check| check["name"] == "database").unwrap();
        assert_eq!(database["state"], "ok", "{database}");
        let clock = doctor["checks"].as_array().unwrap().iter().find(|check| check["name"] == "clock").unwrap();
        assert!(clock["says"].as_str().unwrap().contains("like the database server"), "{clock}");
        assert!(operator.page("/dashboard/storage").await.contains("PostgreSQL"));
        for command in [["backup", "copy.db"], ["restore", "copy.db"]] {
            assert_eq!(stack.run_command(&command).status.code(), Some(2), "{command:?}");
        }
        // A password in the URL is a secret wherever it could be shown.
        let secret = format!("postgres://snaphook:open-sesame@localhost/{}", url.rsplit('/').next().unwrap());
        let output = stack.command().env(DATABASE_URL, secret).args(["config", "print"]).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert!(said.contains("database_url") && !said.contains("open-sesame"), "{said}");
        assert!(!stack.backend_log().contains(&url));
    });
}

#[test]
fn a_filter_that_no_text_can_match_is_refused_alike_on_both_databases() {
    run(async {
        let url = Server::shared().database();
        for database in ["", &url] {
            let stack = Stack::builder().set(DATABASE_URL, database).start();
            let client = stack.client();
            for path in ["/v1/requests?before=req_%00", "/v1/deliveries?before=%00", "/v1/deliveries?url=http://a/%00"]
            {
                let refused = client.get_with_key(path).await.expect(400).json();
                assert_eq!(refused["code"], "request_not_valid", "{path}: {refused}");
                assert!(refused["message"].as_str().unwrap().contains("U+0000"), "{path}: {refused}");
            }
            for path in ["/v1/deliveries/replay?url=%00", "/v1/deliveries/endpoints/enable?url=%00"] {
                client.post(path, &json!({})).await.expect(400);
            }
            // In a path it is three characters, and no id has them.
            client.get_with_key("/v1/requests/req_%00").await.expect(404);
            let operator = Operator::new(&stack).await;
            for page in ["requests?text=%00", "requests?key=%00", "deliveries?url=%00", "usage?key=%00", "access?x=%00"]
            {
                let refused = operator.get(&format!("/dashboard/{page}")).await;
                assert!(refused.status == 400 && refused.text().contains("U+0000"), "{page}: {}", refused.status);
            }
        }
    });
}

#[test]
fn a_server_that_crashes_under_load_costs_no_accepted_request() {
    run(async {
        let server = Server::start();
        let stack = on(&server.database()).set("SNAPHOOK_WEBHOOK_SCHEDULE_SECONDS", "0,1,1,1,1,1,1,1").start();
        let (client, receiver) = (stack.client(), Receiver::start());
        let options = small(&receiver);
        let (mut accepted, mut refused) = (Vec::new(), 0);
        for crashes in 1..=3 {
            let before = accepted.len();
            wait::until("requests accepted", s(60), async || {
                let calls = futures::future::join_all((0..4).map(|_| client.try_post("/v1/screenshot", &options)));
                for answer in calls.await.into_iter().flatten() {
                    match answer.status.as_u16() {
                        202 => accepted.push(answer.json()["id"].as_str().unwrap().to_owned()),
                        _ => refused += 1,
                    }
                }
                (accepted.len() >= before + 15).then_some(())
            })
            .await;
            // The last time it stays.
            if crashes < 3 {
                server.crash();
                // While it is away, callers are told so, and the service does not end.
                let answer = client.post("/v1/screenshot", &options).await;
                assert!(answer.status.is_server_error(), "{}", answer.status);
                server.start_again();
            }
        }
        for id in &accepted {
            let view = client.delivered(id, s(90)).await;
            assert_eq!(view["state"], "done", "{view:#} ({refused} others were refused)");
        }
        let told: HashSet<String> =
            receiver.all().iter().map(|webhook| webhook.header("webhook-id").replace("msg_", "req_")).collect();
        let untold: Vec<&String> = accepted.iter().filter(|id| !told.contains(*id)).collect();
        assert!(untold.is_empty(), "{untold:?}");
        let ready = client.at(&stack.operations).get("/readyz").await;
        assert_eq!(ready.status, 200, "{}", ready.text());
    });
}

#[test]
fn an_installation_moves_to_postgresql_with_all_it_has() {
    run(async {
        let url = Server::shared().database();
        let mut stack =
            Stack::builder().set("SNAPHOOK_RENDER_CONCURRENCY", 2).set("SNAPHOOK_QUEUE_LEASE_SECONDS", 5).start();
        let (client, site, receiver) = (stack.client(), Site::start(), Receiver::start());
        let password = new_password(&stack);
        let done = client.enqueue("/v1/screenshot", &small(&receiver)).await;
        client.delivered(&done, s(30)).await;
        let migrate = |stack: &Stack, url: &str| stack.run_command(&["migrate", "--to", url, "--json"]);
        let refused = migrate(&stack, &url);
        assert_eq!(refused.status.code(), Some(1), "the service is at work");
        let waiting = json!({ "url": site.url("/slow?3000"), "webhook_url": receiver.url(), "timeout": 30 });
        let mut ids = Vec::new();
        for _ in 0..6 {
            ids.push(client.enqueue("/v1/screenshot", &waiting).await);
        }
        wait::for_it("renders under way", s(20), || (site.count("/slow") >= 2).then_some(())).await;
        stack.kill9();
        let moved = migrate(&stack, &url);
        assert!(moved.status.success(), "{}", String::from_utf8_lossy(&moved.stderr));
        let moved: Json = serde_json::from_slice(&moved.stdout).unwrap();
        let rows = |table: &str| {
            moved.as_array().unwrap().iter().find(|moved| moved["table"] == table).unwrap()["rows"].clone()
        };
        assert_eq!((rows("keys"), rows("requests"), rows("deliveries")), (json!(1), json!(7), json!(1)));
        assert!(!migrate(&stack, &url).status.success(), "it is not empty any more");

        stack.try_restart_with(&[(DATABASE_URL, &url)]).unwrap();
        try_password(&client, &password).await.expect(303);
        let view = client.request(&done).await;
        assert_eq!((&view["state"], &view["webhook"]["state"]), (&json!("done"), &json!("delivered")));
        let file = view["file"]["url"].as_str().unwrap();
        client.get(file).await.expect(200);
        // What waited and what was under way when it ended is rendered and told of here.
        for id in &ids {
            let view = client.delivered(id, s(60)).await;
            assert_eq!(view["state"], "done", "{view:#}");
            client.get(view["file"]["url"].as_str().unwrap()).await.expect(200);
        }
        let later = client.enqueue("/v1/screenshot", &small(&receiver)).await;
        client.delivered(&later, s(30)).await;
    });
}

#[test]
fn a_backup_made_while_the_service_works_can_be_restored() {
    run(async {
        let mut stack = Stack::builder().start();
        let (client, receiver) = (stack.client(), Receiver::start());
        let before = client.enqueue("/v1/screenshot", &small(&receiver)).await;
        client.delivered(&before, s(30)).await;
        let copy = stack.data_dir().join("copy.db");
        let copy = copy.to_str().unwrap();
        let backup = stack.run_command(&["backup", copy, "--json"]);
        assert!(backup.status.success(), "{}", String::from_utf8_lossy(&backup.stderr));
        assert!(!stack.run_command(&["backup", copy]).status.success(), "no backup is overwritten");
        let after = client.enqueue("/v1/screenshot", &small(&receiver)).await;
        client.delivered(&after, s(30)).await;
        assert!(!stack.run_command(&["restore", copy]).status.success(), "the service is at work");
        stack.terminate();
        let restored = stack.run_command(&["restore", copy, "--json"]);
        assert!(restored.status.success(), "{}", String::from_utf8_lossy(&restored.stderr));
        let restored: Json = serde_json::from_slice(&restored.stdout).unwrap();
        assert!(restored["replaced"].as_str().unwrap().contains("snaphook.db.replaced-1"));
        stack.restart();
        assert_eq!(client.request(&before).await["state"], "done");
        client.get_with_key(&format!("/v1/requests/{after}")).await.expect(404);
    });
}

#[test]
fn the_servers_certificate_is_checked_where_that_is_asked_for() {
    let authority = || {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
    };
    let (ours, another) = (authority(), authority());
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap().signed_by(&key, &ours).unwrap();
    let port = Port::reserve();
    let server = Server::start_with_tls(port.address.port(), &certificate.pem(), &key.serialize_pem());
    let folder = tempfile::tempdir().unwrap();
    for (name, authority) in [("ours.pem", &ours), ("another.pem", &another)] {
        std::fs::write(folder.path().join(name), authority.pem()).unwrap();
    }
    let url = Server::over_tcp(&server.database());
    let root = |name: &str| format!("sslmode=verify-full&sslrootcert={}", folder.path().join(name).display());
    for (parameters, wanted) in [
        (root("ours.pem"), "ok"),
        (root("another.pem"), "fail"),
        ("sslmode=verify-full".to_owned(), "fail"),
        ("sslmode=require".to_owned(), "ok"),
        ("sslmode=disable".to_owned(), "ok"),
    ] {
        let mut doctor = snaphook(folder.path());
        let output = doctor.env(DATABASE_URL, format!("{url}?{parameters}")).args(["doctor", "--json"]).output();
        let said: Json = serde_json::from_slice(&output.unwrap().stdout).unwrap();
        let database = said["checks"].as_array().unwrap().iter().find(|check| check["name"] == "database").unwrap();
        assert_eq!(database["state"], wanted, "{parameters}: {database}");
    }
}

#[test]
fn many_places_with_nothing_to_do_look_no_more_often_than_one() {
    run(async {
        let server = Server::start_with_settings(&["track_functions=all"]);
        let database = server.database();
        let stack = Stack::builder().set(DATABASE_URL, &database).set("SNAPHOOK_RENDER_CONCURRENCY", 8).start();
        let looks = || {
            let sql = "SELECT coalesce(sum(calls), 0) FROM pg_stat_user_functions WHERE funcname = 'claim_request'";
            server.query(&database, sql).parse::<u64>().unwrap()
        };
        wait::for_it("the first looks", s(20), || (looks() >= 8).then_some(())).await;
        let before = looks();
        tokio::time::sleep(s(6)).await;
        let looked = looks() - before;
        // Once a second; each of the eight would make it 48.
        assert!((2..=12).contains(&looked), "{looked}");
        // And all of them are there for what comes.
        let (client, site) = (stack.client(), Site::start());
        let slow = json!({ "url": site.url("/slow?4000"), "format": "png", "async": true, "block_annoyance": "none" });
        let mut ids = Vec::new();
        for _ in 0..8 {
            ids.push(client.enqueue("/v1/screenshot", &slow).await);
        }
        wait::for_it("all at once", s(20), || (site.count("/slow") == 8).then_some(())).await;
        for id in &ids {
            client.done(id, s(60)).await;
        }
    });
}
