//! `snaphook keys`: who may call, said on the command line while the service runs.

use serde_json::{Value as Json, json};
use snaphook_shared::secret::Secret;
use snaphook_shared::signing::verify_hex;
use snaphook_tests::client::Client;
use snaphook_tests::receiver::Receiver;
use snaphook_tests::run;
use snaphook_tests::stack::{KeyPair, Stack};
use snaphook_tests::wait::s;

fn pair(made: &Json) -> KeyPair {
    let text = |name: &str| made[name].as_str().unwrap().to_owned();
    KeyPair { access_key: text("access_key"), secret_key: text("secret_key") }
}

fn listed<'a>(keys: &'a Json, access_key: &str) -> &'a Json {
    keys.as_array().unwrap().iter().find(|key| key["access_key"] == access_key).unwrap()
}

#[test]
fn keys_are_made_brought_listed_and_ended() {
    run(async {
        let stack = Stack::shared();
        let made = stack.keys(&["create", "--name", "blog", "--json"]);
        assert!(made["webhook_secret"].as_str().unwrap().starts_with("whsec_"));
        let created = Client::new(&stack.api, &pair(&made));
        created.take(&json!({ "html": "<p>x" })).await.expect(200);
        created.get(&created.signed("/take", "html=x")).await.expect(200);

        // A pair from a vendor, with its own ideas of what a secret looks like.
        let brought = KeyPair { secret_key: "s3cr€t & more".to_owned(), ..KeyPair::random() };
        let arguments = ["import", "--access-key", &brought.access_key, "--secret-key", &brought.secret_key, "--json"];
        stack.keys(&arguments);
        let client = Client::new(&stack.api, &brought);
        client.get(&client.signed("/take", "html=x")).await.expect(200);
        let hyphens = KeyPair { access_key: "-json".to_owned(), secret_key: "--s".to_owned() };
        stack.keys(&["import", "--access-key", &hyphens.access_key, "--secret-key", &hyphens.secret_key, "--json"]);
        let hyphens = hyphens.access_key.as_str();
        assert_eq!(stack.keys(&["rotate", hyphens, "--overlap-hours", "1", "--json"])["access_key"], hyphens);
        assert_eq!(stack.keys(&["limits", hyphens, "--quota", "9", "--json"])["access_key"], hyphens);
        assert_eq!(stack.keys(&["revoke", hyphens, "--json"])["access_key"], hyphens);

        let again = stack.run_keys(&arguments);
        assert_eq!(again.status.code(), Some(2), "once is enough");
        let odd = stack.run_keys(&["import", "--access-key", "a b", "--secret-key", "s"]);
        assert_eq!(odd.status.code(), Some(2), "{}", String::from_utf8_lossy(&odd.stderr));

        for secret in ["", &"x".repeat(513)] {
            let odd = stack.run_keys(&["import", "--access-key", "odd", "--secret-key", secret]);
            assert_eq!(odd.status.code(), Some(2), "{}", String::from_utf8_lossy(&odd.stderr));
        }

        let keys = stack.keys(&["list", "--json"]);
        assert_eq!(listed(&keys, &created.key.access_key)["name"], "blog");
        let text = keys.to_string() + &String::from_utf8_lossy(&stack.run_keys(&["list"]).stdout);
        assert!(text.contains(&brought.access_key));
        for secret in [&created.key.secret_key, &brought.secret_key, &stack.key.secret_key] {
            assert!(!text.contains(secret.as_str()), "a list shows no secret");
        }

        stack.keys(&["revoke", &created.key.access_key, "--json"]);
        let answer = created.take(&json!({ "html": "<p>x" })).await.expect(400);
        assert_eq!(answer.json()["error_code"], "access_key_invalid");
        created.get_with_key("/v1/requests").await.expect(401);
        let unknown = stack.run_keys(&["revoke", "nobody"]);
        assert_eq!(unknown.status.code(), Some(2));
    });
}

#[test]
fn a_rotated_key_has_two_good_secrets_for_a_while() {
    run(async {
        let stack = Stack::shared();
        let old = Client::new(&stack.api, &stack.new_key());
        let rotated = stack.keys(&["rotate", &old.key.access_key, "--json"]);
        let new = old.with_key(&pair(&rotated));
        assert_ne!(old.key.secret_key, new.key.secret_key);
        for client in [&old, &new] {
            client.get(&client.signed("/take", "html=x&viewport_width=30")).await.expect(200);
        }
        // A webhook is signed with both, so that a receiver may change its secret when it likes.
        let receiver = Receiver::start();
        new.enqueue("/v1/screenshot", &json!({ "html": "<p>x", "webhook_url": receiver.url() })).await;
        let webhook = receiver.first(s(30)).await;
        assert_eq!(webhook.header("webhook-signature").split(' ').count(), 2);
        let hex = webhook.header("x-screenshotone-signature");
        assert!(verify_hex(&Secret::new(&new.key.secret_key), &webhook.body, hex), "the newest signs");
        // Without overlap the old one ends at once.
        let rotated = stack.keys(&["rotate", &old.key.access_key, "--overlap-hours", "0", "--json"]);
        let newest = old.with_key(&pair(&rotated));
        newest.get(&newest.signed("/take", "html=x")).await.expect(200);
        let answer = new.get(&new.signed("/take", "html=x")).await.expect(400);
        assert_eq!(answer.json()["error_code"], "signature_is_not_valid");
    });
}

#[test]
fn a_key_can_be_for_signed_links_only() {
    run(async {
        let stack = Stack::shared();
        let key = pair(&stack.keys(&["create", "--require-signed", "--json"]));
        for base in [stack.api.as_str(), stack.edge_url()] {
            let client = Client::new(base, &key);
            let answer = client.get_with_key("/take?html=x").await.expect(400);
            assert_eq!(answer.json()["error_code"], "signature_is_required");
            client.get(&client.signed("/take", "html=x")).await.expect(200);
            client.get_with_key("/v1/requests").await.expect(401);
            client.get(&client.signed("/v1/requests", "limit=1")).await.expect(200);
        }
    });
}

#[test]
fn secrets_lie_in_the_database_sealed() {
    run(async {
        let mut stack = Stack::builder().start();
        let client = stack.client();
        client.take(&json!({ "html": "<p>x" })).await.expect(200);
        stack.terminate();
        let mut files = vec![stack.data_dir().to_owned()];
        let (mut checked, mut seen_access_key) = (0, false);
        let contains = |bytes: &[u8], text: &str| bytes.windows(text.len()).any(|part| part == text.as_bytes());
        while let Some(path) = files.pop() {
            if path.is_dir() {
                files.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
                continue;
            }
            let bytes = std::fs::read(&path).unwrap();
            assert!(!contains(&bytes, &stack.key.secret_key), "{} holds the secret", path.display());
            seen_access_key |= contains(&bytes, &stack.key.access_key);
            checked += 1;
        }
        assert!(checked >= 2 && seen_access_key, "the search finds what is there");
    });
}
