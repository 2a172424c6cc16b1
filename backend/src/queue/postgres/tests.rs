//! What only a database with several backends can be asked for, and what becomes of them when it goes away.

use std::time::Duration;

use snaphook_shared::key::KeyLimits;
use snaphook_shared::secret::Secret;
use snaphook_test_postgres::Server;

use super::*;
use crate::domain::delivery::{DeliveryBody, Release};
use crate::domain::operator::{NewKey, Operator};
use crate::queue::migration;
use crate::queue::testing::{self, CAPACITY, NOW, backend, backend_of, settings};

fn request(number: u64) -> NewRequest {
    testing::request(number, "alice")
}

fn done() -> Outcome {
    Outcome::Done { file: None, parts: Vec::new(), render_ms: 1, refused: Vec::new() }
}

fn webhook(request: &NewRequest) -> NewDelivery {
    NewDelivery {
        id: request.id.replacen("req_", "msg_", 1),
        url: "https://example.com/hook".to_owned(),
        sign: true,
        headers: Vec::new(),
        body: DeliveryBody::Inline(Vec::new()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn backends_that_start_at_once_make_one_schema() {
    let url = Server::shared().database();
    let backends = futures::future::join_all((0..6).map(|_| backend(&url))).await;
    for backend in &backends {
        assert!(backend.keys().await.unwrap().is_empty());
    }
    assert_eq!(Server::shared().query(&url, "SELECT newest FROM snaphook_schema"), schema::KNOWN_VERSION.to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_waits_for_no_other_one_where_there_is_nothing_to_change() {
    let url = Server::shared().database();
    backend(&url).await;
    let mut stuck = database::reach(&settings(&url)).await.unwrap();
    let mut migration = sqlx::Connection::begin(&mut stuck).await.unwrap();
    sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(schema::LOCK).execute(&mut *migration).await.unwrap();
    let start = tokio::time::timeout(Duration::from_secs(10), backend(&url));
    assert!(start.await.expect("it does not wait").keys().await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn no_backend_takes_more_connections_than_it_may() {
    let (server, url) = (Server::shared(), Server::shared().database());
    let queue = backend(&url).await;
    let busy = futures::future::join_all((0..200).map(|number| queue.accept(request(number))));
    let most = async {
        let mut most = 0;
        for _ in 0..20 {
            let sql =
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()";
            most = most.max(server.query(&url, sql).parse::<u32>().unwrap_or_default());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        most
    };
    let (accepted, most) = tokio::join!(busy, most);
    assert!(accepted.iter().all(Result::is_ok));
    // Those of the pool, and the one that listens.
    let allowed = settings(&url).connections_max + 1;
    assert!(most > 1 && most <= allowed, "{most} of {allowed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn attempts_of_an_older_version_stay_and_have_no_headers() {
    let (server, url) = (Server::shared(), Server::shared().database());
    server.query(&url, include_str!("schema_1.sql"));
    for sql in [
        "CREATE TABLE snaphook_schema (version BIGINT NOT NULL)",
        "INSERT INTO snaphook_schema VALUES (1)",
        "INSERT INTO attempts (delivery_id, number, at_ms, took_ms, status, answer) VALUES ('msg_1', 1, 2, 3, 500, 'oops')",
    ] {
        server.query(&url, sql);
    }
    backend(&url).await;
    assert_eq!(server.query(&url, "SELECT status, answer, headers FROM attempts"), "500|oops|[]");
    let versions = server.query(&url, "SELECT version, newest FROM snaphook_schema");
    let needed = migration::needed(schema::MIGRATIONS);
    assert_eq!(versions, format!("{needed}|{}", schema::KNOWN_VERSION));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_of_a_newer_version_is_left_alone() {
    let url = Server::shared().database();
    drop(backend(&url).await);
    Server::shared().query(&url, "UPDATE snaphook_schema SET newest = 1000");
    drop(backend(&url).await);
    assert_eq!(Server::shared().query(&url, "SELECT newest FROM snaphook_schema"), "1000", "it only adds");
    Server::shared().query(&url, "UPDATE snaphook_schema SET version = 1000");
    let root_key = RootKey::load(&"0f".repeat(32), "".as_ref()).unwrap();
    let refused = PostgresQueue::open(&settings(&url), root_key, CAPACITY).await.err().unwrap();
    assert!(refused.to_string().contains("version 1000"), "{refused}");
}

/// All that is in a database, and what it is made of.
fn dump(server: &Server, url: &str) -> String {
    let tables =
        "SELECT string_agg(format('SELECT %L, t::text FROM %I t', relname, relname), ' UNION ALL ' ORDER BY relname)
                  FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace";
    let rows = server.query(url, &server.query(url, tables));
    let columns =
        "SELECT string_agg(attrelid::regclass || '.' || attname, ' ' ORDER BY attrelid, attnum) FROM pg_attribute
                   WHERE attrelid IN (SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace)";
    rows + &server.query(url, columns)
}

#[tokio::test(flavor = "multi_thread")]
async fn another_root_key_changes_nothing() {
    let server = Server::shared();
    let (older, newer) = (server.database(), server.database());
    // One of before there was a proof, with an access key in it; and one with a proof.
    for sql in [
        include_str!("schema_1.sql"),
        include_str!("schema_2.sql"),
        "CREATE TABLE snaphook_schema (version BIGINT NOT NULL); INSERT INTO snaphook_schema VALUES (2)",
    ] {
        server.query(&older, sql);
    }
    let key = |digits: &str| RootKey::load(&digits.repeat(32), "".as_ref()).unwrap();
    let secret = key("0f").seal("alice", &Secret::new("s3cret")).unwrap();
    let row = "INSERT INTO keys (access_key, name, secret, require_signed, created_ms)";
    server.query(&older, &format!("{row} VALUES ('alice', '', '\\x{}', false, 1)", hex::encode(secret)));
    drop(backend(&newer).await);
    for url in [older, newer] {
        for _ in 0..2 {
            let before = dump(server, &url);
            let refused = PostgresQueue::open(&settings(&url), key("0e"), CAPACITY).await.err().unwrap().to_string();
            assert!(refused.contains("another root key") && refused.contains("SNAPHOOK_ROOT_KEY"), "{refused}");
            assert_eq!(dump(server, &url), before);
            drop(backend(&url).await);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_and_a_worker_that_come_at_once_do_not_both_get_the_last_place_of_a_key() {
    let url = Server::shared().database();
    let queue = Arc::new(backend(&url).await);
    let limits = KeyLimits { concurrency: Some(1), ..KeyLimits::default() };
    queue.add_key(NewKey { limits, ..NewKey::unlimited("alice", "secret") }, NOW).await.unwrap();
    queue.accept(request(1)).await.unwrap();
    // The worker has counted the callers, and then it waits for the key's turn, which somebody holds.
    let mut holder = connect(&settings(&url), &queue.root_key).await.unwrap();
    for sql in ["BEGIN", "SELECT taken FROM turns FOR UPDATE"] {
        sqlx::raw_sql(sql).execute(&mut holder).await.unwrap();
    }
    let claiming = queue.clone();
    let claim = tokio::spawn(async move { claiming.claim("w", NOW + 9, NOW + 99).await });
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()";
    while Server::shared().query(&url, waits) != "1" {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let Admission::Admitted(place) = queue.admit("alice", NOW).await.unwrap() else { panic!("there is a place") };
    sqlx::raw_sql("COMMIT").execute(&mut holder).await.unwrap();
    assert!(claim.await.unwrap().unwrap().is_none(), "the caller has it");
    assert_eq!(queue.usage("alice", NOW).await.unwrap().under_way, 1);
    drop(place);
    assert!(queue.claim("w", NOW + 9, NOW + 99).await.unwrap().is_some());
    assert!(matches!(queue.admit("alice", NOW).await.unwrap(), Admission::Limited(_)), "the worker has it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_a_second_behind_begins_no_minute_anew() {
    let url = Server::shared().database();
    // A connection counts in a shard of its own, so there is one.
    let settings = PostgresSettings { connections_max: 1, ..settings(&url) };
    let root_key = RootKey::load(&"0f".repeat(32), "".as_ref()).unwrap();
    let queue = PostgresQueue::open(&settings, root_key, CAPACITY).await.unwrap();
    let limits = KeyLimits { requests_per_minute: Some(4), ..KeyLimits::default() };
    queue.add_key(NewKey { limits, ..NewKey::unlimited("alice", "secret") }, NOW).await.unwrap();
    let minute = crate::domain::limits::minute_end_ms(NOW);
    let (ahead, behind) = (minute + 500, minute - 500);
    let started = async |now_ms| queue.usage("alice", now_ms).await.unwrap().started;
    for (number, now_ms) in [(0, ahead), (1, behind), (2, ahead)] {
        let accepted = NewRequest { created_ms: now_ms, ..request(number) };
        assert!(matches!(queue.accept(accepted).await.unwrap(), Acceptance::Accepted { .. }));
    }
    assert_eq!((started(ahead).await, started(behind).await), (3, 3));
    assert!(matches!(queue.admit("alice", behind).await.unwrap(), Admission::Admitted(_)));
    for now_ms in [ahead, behind] {
        assert!(matches!(queue.admit("alice", now_ms).await.unwrap(), Admission::Limited(_)), "{now_ms}");
    }
    // A clock that was an hour ahead, and has been set right, leaves nobody waiting for that hour.
    assert!(matches!(queue.admit("alice", ahead + 3_600_000).await.unwrap(), Admission::Admitted(_)));
    assert!(matches!(queue.admit("alice", ahead).await.unwrap(), Admission::Admitted(_)));
    assert_eq!(started(ahead).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_that_starts_or_ends_leaves_the_others_their_leases() {
    let url = Server::shared().database();
    let (one, other) = (backend(&url).await, backend(&url).await);
    for number in 0..4 {
        one.accept(request(number)).await.unwrap();
    }
    for number in 10..12 {
        one.record(request(number), NOW, done(), Some(webhook(&request(number)))).await.unwrap();
    }
    let of_one = one.claim("one", NOW + 9, NOW + 99).await.unwrap().unwrap();
    let of_other = other.claim("other", NOW + 9, NOW + 99).await.unwrap().unwrap();
    assert_ne!(of_one.request.id, of_other.request.id);
    assert_eq!(one.claim_deliveries(NOW, NOW + 99, 1, 8).await.unwrap().len(), 1);
    assert_eq!(other.claim_deliveries(NOW, NOW + 99, 1, 8).await.unwrap().len(), 1);
    let third = backend(&url).await;
    assert_eq!(third.release(Release::Found { now_ms: NOW }).await.unwrap(), 0);
    assert_eq!(
        one.release(Release::Stopping { now_ms: NOW }).await.unwrap(),
        2,
        "its own request and its own delivery"
    );
    assert!(!one.extend(&of_one.request.id, "one", NOW + 200).await.unwrap());
    assert!(other.extend(&of_other.request.id, "other", NOW + 200).await.unwrap());
    // Whoever fell silent without a word is waited for until its time is over, by whomever.
    assert_eq!(
        third.release(Release::Expired { now_ms: NOW + 199 }).await.unwrap(),
        1,
        "the delivery's lease was not prolonged"
    );
    assert_eq!(third.release(Release::Expired { now_ms: NOW + 200 }).await.unwrap(), 1);
    assert!(!other.finish(&of_other.request.id, "other", NOW, done(), None).await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn each_request_goes_to_one_of_many_backends() {
    let url = Server::shared().database();
    let backends = futures::future::join_all((0..4).map(|_| backend(&url))).await;
    for number in 0..80 {
        backends[0].accept(request(number)).await.unwrap();
    }
    let claims = (0..120).map(|number| {
        let backend = &backends[number % 4];
        async move { backend.claim(&format!("w{number}"), NOW + 900, NOW * 2).await.unwrap() }
    });
    let claimed: Vec<_> = futures::future::join_all(claims).await.into_iter().flatten().collect();
    let ids: HashSet<_> = claimed.iter().map(|claimed| &claimed.request.id).collect();
    assert_eq!((claimed.len(), ids.len()), (80, 80), "all of them, each once");
}

/// Whichever backend claims: three keys that wait have a third of the places each, however much one has queued.
#[tokio::test(flavor = "multi_thread")]
async fn a_burst_of_one_key_holds_nobody_up_at_any_backend() {
    let url = Server::shared().database();
    let backends = futures::future::join_all((0..4).map(|_| backend(&url))).await;
    let of = |number: u64, access_key: &str| NewRequest { access_key: access_key.to_owned(), ..request(number) };
    let (burst, others) = (0..400, 400..440);
    let accepts = burst.map(|number| of(number, "burst"));
    let accepts = accepts.chain(others.map(|number| of(number, ["one", "two"][number as usize % 2])));
    for request in accepts {
        backends[0].accept(request).await.unwrap();
    }
    let claimed = Mutex::new(Vec::new());
    let workers = (0..16).map(|worker| {
        let (backend, claimed, owner) = (&backends[worker % 4], &claimed, format!("w{worker}"));
        async move {
            while let Some(next) = backend.claim(&owner, NOW + 999, NOW * 2).await.unwrap() {
                claimed.lock().unwrap().push(next.request.access_key);
                tokio::time::sleep(Duration::from_millis(20)).await;
                assert!(backend.finish(&next.request.id, &owner, NOW + 999, done(), None).await.unwrap());
            }
        }
    });
    futures::future::join_all(workers).await;
    let claimed = claimed.into_inner().unwrap();
    assert_eq!(claimed.len(), 440);
    let last_of_others = claimed.iter().rposition(|key| key != "burst").unwrap();
    // Their forty in turns with as many halves of the burst's are sixty; what was claimed at the same moment is added.
    assert!(last_of_others < 60 + 16, "the other keys had to wait for {last_of_others} claims");
}

/// The server plans by statistics of a time when nothing waited. Where it is free to, it reads all that waits for each claim, since it
/// takes that for a handful of rows.
#[tokio::test(flavor = "multi_thread")]
async fn what_waits_is_not_read_through_to_find_what_is_next() {
    const WAITING: u64 = 3_000;
    let server = Server::start_with_settings(&["autovacuum=off"]);
    let url = server.database();
    let filling = backend_of(&url, 2 * WAITING).await;
    server.query(
        &url,
        "SET session_replication_role = replica;
         INSERT INTO requests (id, access_key, endpoint, asynchronous, options, target, fingerprint, urgency, state, due_ms,
                               created_ms, finished_ms)
         SELECT 'req_' || lpad(n::text, 32, '0'), 'key' || n % 8, '/take', TRUE, '{}', '', '', 3, 'done', n, n, n
         FROM generate_series(1, 100000) n;
         INSERT INTO deliveries (id, request_id, access_key, url, receiver, endpoint, sign, headers, state, due_ms)
         SELECT 'msg_' || lpad(n::text, 32, '0'), 'req_' || lpad(n::text, 32, '0'), 'key' || n % 8, '', 'host' || n % 8, '', TRUE,
                '[]', 'delivered', n
         FROM generate_series(1, 100000) n",
    );
    server.query(&url, "VACUUM ANALYZE");
    for hundred in 0..WAITING / 100 {
        let numbers = hundred * 100..hundred * 100 + 100;
        let of = |number| NewRequest { access_key: format!("key{}", number % 8), ..request(number) };
        futures::future::join_all(numbers.clone().map(|number| filling.accept(of(number)))).await;
        let recorded = numbers.map(|number| {
            let request = request(WAITING + number);
            let webhook = NewDelivery { url: format!("https://host{}/", number % 8), ..webhook(&request) };
            filling.record(request, NOW, done(), Some(webhook))
        });
        futures::future::join_all(recorded).await;
    }
    // What a connection has read is told when it ends.
    filling.database.pool.close().await;
    let read = || -> u64 {
        let sql = "SELECT (SELECT sum(idx_tup_read) FROM pg_stat_user_indexes) + (SELECT sum(seq_tup_read) FROM pg_stat_user_tables)";
        server.query(&url, sql).parse().unwrap()
    };
    let before = read();
    let queue = backend_of(&url, 2 * WAITING).await;
    for number in 0..20 {
        assert!(queue.claim(&format!("w{number}"), NOW + WAITING, NOW * 2).await.unwrap().is_some());
        assert_eq!(queue.claim_deliveries(NOW, NOW * 2, 8, 1_000).await.unwrap().len(), 8);
    }
    assert!(queue.backlog(NOW + WAITING).await.unwrap().ready_since_ms.is_some());
    queue.database.pool.close().await;
    let read = read() - before;
    assert!(read > 20 * 9, "{read}");
    // Each claim counts what is under way and passes over what was a moment ago; twenty times all that waits are 60,000.
    assert!(read < 10 * WAITING, "{read} rows were read for twenty claims of each kind");
}

/// The server keeps notes of rows that several transactions have locked, or a part of one and then the whole: all claimers
/// would wait for them.
#[tokio::test(flavor = "multi_thread")]
async fn claims_leave_no_row_that_is_held_by_several_transactions() {
    let server = Server::start();
    let url = server.database();
    let queue = backend(&url).await;
    let noted = || {
        server.query(&url, "CHECKPOINT");
        server.query(&url, "SELECT next_multixact_id FROM pg_control_checkpoint()")
    };
    for number in 0..64 {
        let access_key = format!("key{}", number % 4);
        queue.accept(NewRequest { access_key, ..request(number) }).await.unwrap();
    }
    let before = noted();
    let claims = (0..64).map(|number| {
        let queue = &queue;
        async move { queue.claim(&format!("w{number}"), NOW + 900, NOW * 2).await.unwrap() }
    });
    let claimed = futures::future::join_all(claims).await;
    assert!(claimed.iter().all(Option::is_some));
    assert_eq!(noted(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receivers_places_are_shared_by_all_backends() {
    let url = Server::shared().database();
    let backends = futures::future::join_all((0..4).map(|_| backend(&url))).await;
    for number in 0..40 {
        backends[0].record(request(number), NOW, done(), Some(webhook(&request(number)))).await.unwrap();
    }
    let claims = backends.iter().map(|backend| backend.claim_deliveries(NOW, NOW + 99, 100, 8));
    let claimed: usize =
        futures::future::join_all(claims).await.into_iter().map(|claimed| claimed.unwrap().len()).sum();
    assert_eq!(claimed, 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_backend_accepts_wakes_the_others() {
    let url = Server::shared().database();
    let (one, other) = (Arc::new(backend(&url).await), Arc::new(backend(&url).await));
    let (of_one, of_other) = (Bells::default(), Bells::default());
    for (queue, bells) in [(&one, &of_one), (&other, &of_other)] {
        let (queue, bells) = (queue.clone(), bells.clone());
        tokio::spawn(async move { queue.relay(bells).await });
    }
    let rung = |bell: Arc<tokio::sync::Notify>| async move {
        tokio::time::timeout(Duration::from_millis(100), bell.notified()).await.is_ok()
    };
    // It takes a moment until they listen; from then on each is heard.
    let mut number = 0;
    for tries in 0.. {
        assert!(tries < 100, "the other one was never heard");
        number += 1;
        one.accept(request(number)).await.unwrap();
        if rung(of_other.requests.clone()).await {
            break;
        }
    }
    one.record(request(1000), NOW, done(), Some(webhook(&request(1000)))).await.unwrap();
    let heard = tokio::time::timeout(Duration::from_secs(10), of_other.deliveries.notified()).await;
    assert!(heard.is_ok());
    assert!(!rung(of_one.deliveries.clone()).await, "whoever told it knows it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_crashed_has_lost_nothing_and_is_used_again() {
    let server = Server::start();
    let url = server.database();
    let queue = backend(&url).await;
    // Several connections, all of which will be dead.
    let accepted = futures::future::join_all((0..8).map(|number| queue.accept(request(number)))).await;
    assert!(accepted.iter().all(Result::is_ok));
    server.crash();
    for number in 8..12 {
        assert!(queue.accept(request(number)).await.is_err());
    }
    assert!(queue.claim("w", NOW + 99, NOW + 999).await.is_err());
    server.start_again();
    for number in 8..12 {
        assert!(matches!(queue.accept(request(number)).await, Ok(Acceptance::Accepted { .. })), "{number}");
    }
    for _ in 0..12 {
        assert!(queue.claim("w", NOW + 99, NOW + 999).await.unwrap().is_some());
    }
    assert!(queue.claim("w", NOW + 99, NOW + 999).await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_sealed_at_rest_and_gone_at_the_end() {
    let url = Server::shared().database();
    let queue = backend(&url).await;
    queue.add_key(NewKey::unlimited("alice", "open-sesame-1"), NOW).await.unwrap();
    let mut secret = request(1);
    secret.options.network.authorization = Some(Secret::new("open-sesame-2"));
    secret.options.network.cookies = vec![Secret::new("a=open-sesame-3")];
    queue.accept(secret.clone()).await.unwrap();
    queue.record(NewRequest { id: "req_2".to_owned(), ..secret.clone() }, NOW, done(), None).await.unwrap();
    let found = |table: &str| {
        let sql = format!(
            "SELECT count(*) FROM {table} t WHERE strpos(t::text, 'open-sesame') > 0
             OR strpos(t::text, encode('open-sesame', 'hex')) > 0"
        );
        Server::shared().query(&url, &sql)
    };
    assert_eq!((found("requests"), found("keys")), ("0".to_owned(), "0".to_owned()));
    let sealed = || Server::shared().query(&url, "SELECT count(*) FROM requests WHERE secrets IS NOT NULL");
    assert_eq!(sealed(), "1");
    queue.claim("w", NOW + 9, NOW + 99).await.unwrap().unwrap();
    queue.finish(&secret.id, "w", NOW + 9, done(), None).await.unwrap();
    assert_eq!(sealed(), "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_password_is_in_no_message() {
    let root_key = || RootKey::load(&"0f".repeat(32), "".as_ref()).unwrap();
    for url in [
        "postgres://me:open-sesame@127.0.0.1:1/db",
        "postgres://me:open-sesame@127.0.0.1:port/db",
        "postgres://me:open-sesame@127.0.0.1/db?sslmode=perhaps",
        "postgres://me@127.0.0.1/db?sslmode=disable&passwort=open-sesame",
        "postgres://me:ab?open-sesame@127.0.0.1/db",
    ] {
        let settings = settings(url);
        assert!(!format!("{settings:?}").contains("open-sesame"));
        let error = PostgresQueue::open(&settings, root_key(), 1).await.err().unwrap();
        assert!(!format!("{error} {error:?}").contains("open-sesame"), "{error}");
        assert_eq!(url.contains("passwort"), error.to_string().contains("a parameter passwort,"), "{error}");
    }
}
