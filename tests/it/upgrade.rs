//! Programs of several versions on one database, and a root key that is not the database's.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value as Json, json};
use snaphook_test_postgres::Server;
use snaphook_tests::operator::Operator;
use snaphook_tests::receiver::Receiver;
use snaphook_tests::serve::Port;
use snaphook_tests::stack::{Builder, Stack};
use snaphook_tests::wait::{self, s};
use snaphook_tests::{random_hex, run};

use crate::fleet::{Fleet, renders};
use crate::postgres::small;

const DATABASE_URL: &str = "SNAPHOOK_QUEUE_DATABASE_URL";

/// What a newer version might add: a column in each table, and a table.
const ADDED: &str = "
    DO $$ DECLARE name TEXT; BEGIN
        FOR name IN SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace LOOP
            EXECUTE format('ALTER TABLE %I ADD COLUMN novelty TEXT NOT NULL DEFAULT ''new''', name);
        END LOOP;
    END $$;
    CREATE TABLE novelties (a TEXT);
    UPDATE snaphook_schema SET newest = 1000";

/// The check of `snaphook doctor` with this name: its state and what it says.
fn examined(stack: &Stack, name: &str) -> (String, String) {
    let output = stack.run_command(&["doctor", "--json"]);
    let told: Json = serde_json::from_slice(&output.stdout).unwrap();
    let check = told["checks"].as_array().unwrap().iter().find(|check| check["name"] == name).unwrap();
    (check["state"].as_str().unwrap().to_owned(), check["says"].as_str().unwrap().to_owned())
}

/// Asks for something of everything that a service keeps.
async fn use_all(stack: &Stack, receiver: &Receiver) {
    let client = stack.client();
    let id = client.enqueue("/v1/screenshot", &small(receiver)).await;
    let view = client.delivered(&id, s(30)).await;
    assert_eq!(view["state"], "done", "{view:#}");
    client.get(view["file"]["url"].as_str().unwrap()).await.expect(200);
    client.take(&json!({ "html": "<p>at once" })).await.expect(200);
    let nobody = Port::reserve();
    let failing = json!({ "html": "x", "async": true, "webhook_url": format!("http://{}/", nobody.address) });
    let failing = client.enqueue("/v1/screenshot", &failing).await;
    client.request_when(&failing, "tried", s(30), |view| view["webhook"]["attempts"].as_u64() > Some(0)).await;
    let task = json!({ "name": "test", "api": "screenshot", "query": "html=x", "crontab": "0 0 1 1 *" });
    let task = client.post("/v1/tasks", &task).await.expect(201).json()["id"].clone();
    let task = format!("/v1/tasks/{task}");
    for path in ["/v1/requests", "/v1/deliveries", "/v1/deliveries/endpoints", "/v1/tasks", "/v1/usage", &task] {
        client.get_with_key(path).await.expect(200);
    }
    assert!(client.get_with_key("/v1/deliveries").await.json()["deliveries"].as_array().unwrap().len() > 1);
    let operator = Operator::new(stack).await;
    for page in ["requests", "deliveries", "access", "usage", "storage", "health"] {
        operator.page(&format!("/dashboard/{page}")).await;
    }
    operator.page(&format!("/dashboard/requests/{id}")).await;
    stack.new_key();
}

#[test]
fn what_a_newer_version_has_added_is_worked_with_and_what_it_has_changed_is_refused() {
    run(async {
        let (server, receiver) = (Server::shared(), Receiver::start());
        let url = server.database();
        let mut stack = Stack::builder().set(DATABASE_URL, &url).start();
        use_all(&stack, &receiver).await;
        // While it works: what it has asked before must not surprise it.
        server.query(&url, ADDED);
        use_all(&stack, &receiver).await;
        assert!(stack.terminate().is_some_and(|status| status.success()));
        stack.restart();
        use_all(&stack, &receiver).await;
        let (state, says) = examined(&stack, "database");
        assert!(state == "ok" && says.contains("version 1000"), "{says}");
        assert_eq!(server.query(&url, "SELECT version FROM snaphook_schema"), "2", "what programs of before compare");

        stack.terminate();
        server.query(&url, "UPDATE snaphook_schema SET version = 1000");
        let refused = stack.try_restart_with(&[]).unwrap_err();
        assert!(refused.contains("start that newer snaphook") && refused.contains("know 1000 or more"), "{refused}");
        assert_eq!(examined(&stack, "database").0, "fail");
    });
}

#[test]
fn a_file_goes_by_the_same_rule() {
    run(async {
        let receiver = Receiver::start();
        let mut stack = Stack::builder().start();
        use_all(&stack, &receiver).await;
        stack.terminate();
        let change = |sql: &str| {
            let connection = rusqlite::Connection::open(stack.data_dir().join("snaphook.db")).unwrap();
            connection.execute_batch(sql).unwrap();
        };
        for table in ["keys", "requests", "files", "deliveries", "attempts", "tasks", "endpoints", "key_counters"] {
            change(&format!("ALTER TABLE {table} ADD COLUMN novelty TEXT NOT NULL DEFAULT 'new'"));
        }
        change("CREATE TABLE novelties (a TEXT); PRAGMA user_version = 1000");
        stack.restart();
        use_all(&stack, &receiver).await;
        assert_eq!(examined(&stack, "database").0, "ok");
        stack.terminate();
        let change = |sql: &str| {
            let connection = rusqlite::Connection::open(stack.data_dir().join("snaphook.db")).unwrap();
            connection.execute_batch(sql).unwrap();
        };
        change("UPDATE snaphook_schema SET version = 1000");
        let refused = stack.try_restart_with(&[]).unwrap_err();
        assert!(refused.contains("start that newer snaphook"), "{refused}");
        assert_eq!(examined(&stack, "database").0, "fail");
    });
}

#[test]
fn another_root_key_is_refused_wherever_it_matters() {
    run(async {
        let (server, receiver) = (Server::shared(), Receiver::start());
        let url = server.database();
        let (right, wrong) = (random_hex(32), random_hex(32));
        for database in ["", &url] {
            let mut stack = Stack::builder().set(DATABASE_URL, database).set("SNAPHOOK_ROOT_KEY", &right).start();
            let id = stack.client().enqueue("/v1/screenshot", &small(&receiver)).await;
            stack.client().delivered(&id, s(30)).await;
            stack.terminate();
            let refused = stack.try_restart_with(&[("SNAPHOOK_ROOT_KEY", &wrong)]).unwrap_err();
            assert!(refused.contains("another root key") && refused.contains("SNAPHOOK_ROOT_KEY"), "{refused}");
            let with_wrong =
                |arguments: &[&str]| stack.command().env("SNAPHOOK_ROOT_KEY", &wrong).args(arguments).output().unwrap();
            let said = |output: &std::process::Output| String::from_utf8_lossy(&output.stderr).into_owned();
            let listed = with_wrong(&["keys", "list"]);
            assert!(!listed.status.success() && said(&listed).contains("another root key"), "{}", said(&listed));
            let told: Json = serde_json::from_slice(&with_wrong(&["doctor", "--json"]).stdout).unwrap();
            let check = told["checks"].as_array().unwrap().iter().find(|check| check["name"] == "root key").unwrap();
            assert_eq!(check["state"], "fail", "{check}");
            assert_eq!(examined(&stack, "root key").0, "ok");
            if database.is_empty() {
                assert!(stack.run_command(&["backup", "copy.db"]).status.success());
                for command in [vec!["restore", "copy.db"], vec!["migrate", "--to", &server.database()]] {
                    let refused = with_wrong(&command);
                    assert!(said(&refused).contains("another root key"), "{command:?}: {}", said(&refused));
                }
                // PostgreSQL has a root key from its first start on, and that may be another one.
                let of_another = server.database();
                Stack::builder().set(DATABASE_URL, &of_another).set("SNAPHOOK_ROOT_KEY", &wrong).start();
                for table in ["keys", "admin"] {
                    server.query(&of_another, &format!("DELETE FROM {table}"));
                }
                let refused = stack.run_command(&["migrate", "--to", &of_another]);
                assert!(said(&refused).contains("another root key"), "{}", said(&refused));
            }
            stack.restart();
            assert_eq!(stack.client().request(&id).await["state"], "done");
            let again = stack.client().enqueue("/v1/screenshot", &small(&receiver)).await;
            stack.client().delivered(&again, s(30)).await;
        }
    });
}

/// Posts so many at one service while others work, and gives their ids.
async fn accepted(stack: &Stack, receiver: &Receiver, count: usize) -> Vec<String> {
    let (client, options) = (stack.client(), small(receiver));
    let posts = (0..count).map(|_| client.enqueue("/v1/screenshot", &options));
    futures::future::join_all(posts).await
}

#[test]
#[ignore = "the older program is built by `make test-upgrade`"]
fn an_older_build_and_this_one_share_a_database_until_the_older_is_gone() {
    let older = std::env::var_os("SNAPHOOK_TEST_OLDER").expect("`make test-upgrade` says where the older program is");
    let older = Path::new(&older);
    run(async {
        let (server, receiver) = (Server::start(), Receiver::start());
        let fleet = Fleet::new(&server.database());
        let newest = || server.query(&fleet.database, "SELECT to_jsonb(s) ->> 'newest' FROM snaphook_schema s");
        let mut old = fleet.backend(5).program(older).start();
        let mut ids = accepted(&old, &receiver, 5).await;
        for id in &ids {
            old.client().delivered(id, s(60)).await;
        }
        assert_eq!(newest(), "", "it knows nothing of the newer one");

        // The newer one starts, and changes the schema, while the older one is at work.
        let during = async {
            let mut during = Vec::new();
            while newest().is_empty() {
                during.extend(accepted(&old, &receiver, 4).await);
            }
            during
        };
        let builder = fleet.backend(5);
        let (new, during) = tokio::join!(tokio::task::spawn_blocking(move || builder.start()), during);
        let mut new = new.unwrap();
        assert!(!during.is_empty());
        ids.extend(during);

        // Both accept and render.
        let before = (renders(&old).await, renders(&new).await);
        let (by_old, by_new) = tokio::join!(accepted(&old, &receiver, 20), accepted(&new, &receiver, 20));
        for id in by_old.iter().chain(&by_new) {
            new.client().delivered(id, s(60)).await;
        }
        ids.extend(by_old.into_iter().chain(by_new));
        let after = (renders(&old).await, renders(&new).await);
        assert!(after.0 > before.0 && after.1 > before.1, "{before:?} and {after:?}");

        // The older one can be started again too.
        assert!(old.terminate().is_some_and(|status| status.success()));
        old.restart();
        ids.extend(accepted(&old, &receiver, 5).await);
        for stack in [&mut old, &mut new] {
            assert!(stack.terminate().is_some_and(|status| status.success()));
        }

        // What one has accepted, the other one alone renders and delivers.
        for (accepts, works) in [(Some(older), None), (None, Some(older))] {
            let with = |program: Option<&Path>, roles: &str| {
                let builder = fleet.backend(5).set("SNAPHOOK_ROLES", roles);
                program.into_iter().fold(builder, Builder::program).start()
            };
            let (mut api, mut rest) = (with(accepts, "api"), with(works, "render,deliver,tasks"));
            let of_one = accepted(&api, &receiver, 10).await;
            for id in &of_one {
                let view = api.client().delivered(id, s(60)).await;
                assert_eq!((&view["state"], &view["attempts"]), (&json!("done"), &json!(1)), "{view:#}");
            }
            assert_eq!((renders(&api).await, renders(&rest).await >= 10.0), (0.0, true));
            ids.extend(of_one);
            for stack in [&mut api, &mut rest] {
                assert!(stack.terminate().is_some_and(|status| status.success()));
            }
        }

        // The older one is gone for good.
        new.restart();
        ids.extend(accepted(&new, &receiver, 5).await);
        let mut webhooks: BTreeMap<String, usize> = BTreeMap::new();
        for id in &ids {
            let view = new.client().delivered(id, s(60)).await;
            assert_eq!(view["state"], "done", "{view:#}");
            new.client().get(view["file"]["url"].as_str().unwrap()).await.expect(200);
        }
        wait::for_it("all webhooks", s(10), || (receiver.all().len() >= ids.len()).then_some(())).await;
        for webhook in receiver.all() {
            *webhooks.entry(webhook.header("webhook-id").replace("msg_", "req_")).or_default() += 1;
        }
        let odd: Vec<&String> = ids.iter().filter(|id| webhooks.get(*id) != Some(&1)).collect();
        assert!(odd.is_empty() && webhooks.len() == ids.len(), "{odd:?} of {} requests, {webhooks:?}", ids.len());
        println!("{} requests, one webhook each", ids.len());
    });
}
