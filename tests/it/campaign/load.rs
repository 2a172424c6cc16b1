//! What the campaign asks for, and what each of it has to come to: pictures that are told of, pictures that are sent, pages that
//! fail for good, and requests that are repeated under an idempotency key.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde_json::{Value as Json, json};
use snaphook_tests::client::{Answer, Client};
use snaphook_tests::receiver::Webhook;
use snaphook_tests::site::Site;

use super::Dice;

/// What a request is, which says how it has to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// The webhook is JSON that names the file.
    Told,
    /// The webhook's body is the file.
    Sent,
    /// The page fails for good, and the webhook says so.
    Failing,
}

impl Kind {
    fn of(dice: &mut Dice) -> Kind {
        match dice.below(10) {
            0 => Kind::Failing,
            1 | 2 => Kind::Sent,
            _ => Kind::Told,
        }
    }
}

/// A request, however often it was posted.
struct Posted {
    kind: Kind,
    keyed: bool,
    /// What the answers of 202 named; more than one is one too many.
    ids: HashSet<String>,
    answers: u32,
    /// Whether it had to be posted again since no answer of 202 came.
    again: bool,
}

/// Everything that was posted so far. The number of a request is the end of its webhook's address, so that its row and its
/// webhooks are known even where its answer was lost.
pub(super) struct Load {
    site: Site,
    receiver: String,
    posted: Vec<Posted>,
}

impl Load {
    pub(super) fn new(receiver: String) -> Load {
        Load { site: Site::start(), receiver, posted: Vec::new() }
    }

    /// Posts so many new requests at once: some of them twice under one key. With them goes whatever has a key and no answer:
    /// its caller can only ask again.
    pub(super) async fn post(&mut self, client: &Client, dice: &mut Dice, count: u64) {
        let mut numbers = self.without_answer();
        for number in &numbers {
            self.posted[*number].again = true;
        }
        for _ in 0..count {
            let (kind, keyed) = (Kind::of(dice), dice.below(5) == 0);
            numbers.push(self.posted.len());
            numbers.extend(keyed.then_some(self.posted.len()));
            self.posted.push(Posted { kind, keyed, ids: HashSet::new(), answers: 0, again: false });
        }
        let posts = numbers.iter().map(|number| self.post_one(client, *number));
        let answers = futures::future::join_all(posts).await;
        for (number, answer) in numbers.into_iter().zip(answers) {
            let Some(answer) = answer else { continue };
            // What is refused under fire is refused for the moment, and says so.
            assert!(answer.status == 202 || answer.status.is_server_error(), "{}: {}", answer.status, answer.text());
            if answer.status == 202 {
                self.posted[number].answers += 1;
                self.posted[number].ids.insert(answer.header("x-snaphook-request-id").to_owned());
            }
        }
    }

    /// Asks again for what has a key until each is answered. False if there was one without an answer this time too.
    pub(super) async fn ask_again(&mut self, client: &Client, dice: &mut Dice) -> bool {
        self.post(client, dice, 0).await;
        self.without_answer().is_empty()
    }

    pub(super) fn count(&self) -> usize {
        self.posted.len()
    }

    fn without_answer(&self) -> Vec<usize> {
        let waits = |posted: &Posted| posted.keyed && posted.ids.is_empty();
        (0..self.posted.len()).filter(|number| waits(&self.posted[*number])).collect()
    }

    async fn post_one(&self, client: &Client, number: usize) -> Option<Answer> {
        let posted = &self.posted[number];
        let page = json!({ "html": "<body style='margin:0;background:#123456'>", "format": "png" });
        let broken = json!({ "url": self.site.url("/status/500"), "format": "png" });
        // ScreenshotMAX's dialect tells of failures unasked.
        let (path, mut options) = match (posted.kind, number % 2) {
            (Kind::Told, _) => ("/v1/screenshot", page),
            (Kind::Sent, _) => ("/take", page),
            (Kind::Failing, 0) => ("/v1/screenshot", broken),
            (Kind::Failing, _) => ("/take", broken),
        };
        let (url, both) = (format!("{}/{number}", self.receiver), options.as_object_mut().unwrap());
        both.extend(
            json!({ "async": true, "webhook_url": url, "viewport_width": 60, "viewport_height": 40 })
                .as_object()?
                .clone(),
        );
        let (name, value) = match path {
            "/take" if posted.kind == Kind::Sent => ("response_type", json!("by_format")),
            "/take" => ("webhook_errors", json!(true)),
            _ => ("block_annoyance", json!("none")),
        };
        both.insert(name.to_owned(), value);
        let key = format!("once-{number}");
        let headers = [("idempotency-key", key.as_str())];
        client.try_post_with(path, if posted.keyed { &headers } else { &[] }, &options).await
    }

    fn number(&self, url: &str) -> usize {
        url.rsplit('/').next().and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("{url}"))
    }

    /// Holds every row and every webhook to what was promised. `rows` are all that the backend lists, each ended and told of.
    pub(super) async fn judge(&self, client: &Client, rows: &[Json], webhooks: &[Webhook]) -> Figures {
        let mut attempts: HashMap<usize, Vec<&Webhook>> = HashMap::new();
        for webhook in webhooks {
            attempts.entry(self.number(&webhook.path)).or_default().push(webhook);
        }
        let (mut figures, mut known, mut files) = (Figures::default(), BTreeMap::new(), HashSet::new());
        for row in rows {
            let number = self.number(row["webhook"]["url"].as_str().unwrap());
            let id = row["id"].as_str().unwrap();
            assert_eq!(known.insert(number, id), None, "two requests for what was posted once: {row:#}");
            let told = attempts.remove(&number).unwrap_or_else(|| panic!("no webhook: {row:#}"));
            for webhook in &told {
                assert_eq!(webhook.header("webhook-id"), id.replace("req_", "msg_"));
                assert_eq!(webhook.body, told[0].body, "the same bytes on every attempt");
            }
            figures.duplicates += told.len() - 1;
            self.judge_one(client, number, row, told[0], &mut figures, &mut files).await;
        }
        assert!(attempts.is_empty(), "webhooks of nothing: {:?}", attempts.keys());
        for (number, posted) in self.posted.iter().enumerate() {
            let kept: HashSet<String> = known.get(&number).map(|id| (*id).to_owned()).into_iter().collect();
            // A 202 may have been lost on its way; what it was for is there all the same.
            assert!(kept.is_empty() || posted.ids.is_subset(&kept), "{number}: {:?}, and kept is {kept:?}", posted.ids);
            figures.lost += posted.ids.difference(&kept).count();
            assert!(!posted.keyed || kept.len() == 1, "{number} was asked for until it was answered");
            figures.accepted += usize::from(!posted.ids.is_empty());
            figures.unheard += usize::from(posted.ids.is_empty() && !kept.is_empty());
            figures.repeated += usize::from(posted.answers > 1);
            figures.again += usize::from(posted.again);
        }
        assert_eq!(figures.lost, 0, "of {} that were answered 202", figures.accepted);
        figures
    }

    async fn judge_one(
        &self,
        client: &Client,
        number: usize,
        row: &Json,
        webhook: &Webhook,
        figures: &mut Figures,
        files: &mut HashSet<String>,
    ) {
        let kind = self.posted[number].kind;
        if kind == Kind::Failing {
            assert_eq!((&row["state"], &row["file"]), (&json!("failed"), &Json::Null), "{row:#}");
            assert_eq!(row["error"]["code"], "host_returned_error", "{row:#}");
            assert!(webhook.text().contains("host_returned_error"), "{}", webhook.text());
            figures.failed += 1;
            return;
        }
        assert_eq!(row["state"], "done", "{row:#}");
        let url = row["file"]["url"].as_str().unwrap();
        let file = client.get(url).await.expect(200);
        assert_eq!(Some(file.body.len() as u64), row["file"]["bytes"].as_u64(), "{row:#}");
        assert!(files.insert(url.to_owned()), "a file of its own: {row:#}");
        match kind {
            Kind::Sent => assert!(webhook.body == file.body, "what is stored and what was sent differ: {row:#}"),
            _ => assert_eq!(webhook.json()["file"], url),
        }
        figures.done += 1;
        figures.sent += usize::from(kind == Kind::Sent);
    }
}

/// What came of it all.
#[derive(Default)]
pub(super) struct Figures {
    /// Answered 202.
    pub accepted: usize,
    /// Kept, though the answer was lost on its way.
    pub unheard: usize,
    pub done: usize,
    /// Of those, with the file for a webhook.
    pub sent: usize,
    pub failed: usize,
    /// Answered 202 more than once under one key.
    pub repeated: usize,
    /// Posted again under their key since there was no answer.
    pub again: usize,
    /// Webhooks that came again.
    pub duplicates: usize,
    /// Answered 202, and nothing is known of it.
    pub lost: usize,
}
