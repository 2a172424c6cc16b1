//! Every parameter of every endpoint by an effect that can be seen: a row each. A parameter without a row fails the test, and
//! so does one that changes nothing.
//!
//! A row names a parameter, a value and a way to look. It holds when the look sees one thing without the parameter and
//! another with it, and both are what the row says. What the tables refuse by name needs no row: it is seen being refused.

mod lab;
mod pages;
mod screenshotmax;
mod screenshotone;
mod video;

use std::collections::BTreeSet;

use futures::StreamExt;
use lab::{Lab, Taken, usual};
use pages::PROBE;
use serde_json::{Value as Json, json};
use snaphook_shared::options::{Kind, Support};
use snaphook_shared::request::Endpoint;
use snaphook_tests::run;

/// Renders at once; many of them only wait.
const AT_ONCE: usize = 6;

type Look = Box<dyn Fn(&Taken) -> String + Send + Sync>;

/// One parameter, and what can be seen of it.
struct Row {
    on: &'static [Endpoint],
    name: &'static str,
    value: Json,
    beside: Json,
    page: String,
    /// The options without the parameter were rendered before.
    is_second: bool,
    look: Look,
    without: String,
    with: String,
}

/// A row over the probe page; [`Row::sees`] or one of its siblings says what is looked at.
fn row(on: &'static [Endpoint], name: &'static str, value: impl Into<Json>) -> Row {
    Row {
        on,
        name,
        value: value.into(),
        beside: json!({}),
        page: PROBE.to_owned(),
        is_second: false,
        look: Box::new(Taken::code),
        without: String::new(),
        with: String::new(),
    }
}

impl Row {
    /// Other options, both times. `null` takes one of the usual away.
    fn beside(mut self, options: Json) -> Row {
        self.beside = options;
        self
    }

    /// Another page.
    fn page(mut self, html: impl Into<String>) -> Row {
        self.page = format!("<!doctype html><style>body{{margin:0}}</style>{}", html.into());
        self
    }

    /// The options without the parameter are rendered once more, before anything is looked at.
    fn after_itself(mut self) -> Row {
        self.is_second = true;
        self
    }

    fn look(mut self, look: impl Fn(&Taken) -> String + Send + Sync + 'static, without: &str, with: &str) -> Row {
        self.look = Box::new(look);
        (self.without, self.with) = (without.to_owned(), with.to_owned());
        self
    }

    /// What the page finds.
    fn told(self, name: &'static str, without: &str, with: &str) -> Row {
        self.look(move |taken| taken.told(name), without, with)
    }

    /// A pixel of the picture.
    fn pixel(self, x: u32, y: u32, without: &str, with: &str) -> Row {
        self.look(move |taken| taken.pixel(x, y), without, with)
    }

    /// The picture's width and height.
    fn size(self, without: &str, with: &str) -> Row {
        self.look(Taken::size, without, with)
    }

    /// A header of the answer.
    fn header(self, name: &'static str, without: &str, with: &str) -> Row {
        self.look(move |taken| taken.header(name), without, with)
    }

    /// A part of a JSON answer.
    fn json(self, pointer: &'static str, without: &str, with: &str) -> Row {
        self.look(move |taken| taken.json(pointer), without, with)
    }

    /// A header of the browser's request for the page.
    fn sent(self, header: &'static str, without: &str, with: &str) -> Row {
        self.look(move |taken| taken.sent("", header), without, with)
    }

    /// How often the page's server was asked for this.
    fn times(self, path: &'static str, without: &str, with: &str) -> Row {
        self.look(move |taken| taken.times(path), without, with)
    }

    /// `ok`, or how it failed.
    fn code(self, without: &str, with: &str) -> Row {
        self.look(Taken::code, without, with)
    }

    fn options(&self, endpoint: Endpoint) -> Json {
        let mut options = usual(endpoint);
        let all = options.as_object_mut().unwrap();
        all.remove(self.name);
        all.extend(self.beside.as_object().unwrap().clone());
        all.retain(|_, value| !value.is_null());
        options
    }

    /// What is wrong with it, if anything.
    async fn prove(&self, lab: &Lab, endpoint: Endpoint) -> Option<String> {
        let mut options = self.options(endpoint);
        let before = lab.take_once(endpoint, &self.page, &options).await;
        let without = match self.is_second {
            true => (self.look)(&lab.take(endpoint, &self.page, &options).await),
            false => before.get().map_or_else(String::new, &self.look),
        };
        options[self.name] = self.value.clone();
        let with = (self.look)(&lab.take(endpoint, &self.page, &options).await);
        let place = format!("{} {}={}", endpoint.path(), self.name, self.value);
        if without == with {
            return Some(format!("{place} changes nothing: {with:?}"));
        }
        let found = (without.as_str(), with.as_str());
        let wanted = (self.without.as_str(), self.with.as_str());
        (found != wanted).then(|| format!("{place}: {found:?} and not {wanted:?}"))
    }
}

fn rows() -> Vec<Row> {
    [screenshotone::rows(), screenshotmax::rows(), video::rows()].into_iter().flatten().collect()
}

#[test]
fn every_parameter_has_an_effect_that_can_be_seen() {
    let rows = rows();
    let covered: BTreeSet<(&str, &str)> =
        rows.iter().flat_map(|row| row.on.iter().map(|endpoint| (endpoint.path(), row.name))).collect();
    let has_effect = |support: &Support| matches!(support, Support::Effect(_));
    let of_tables: BTreeSet<(&str, &str)> = Endpoint::ALL
        .into_iter()
        .flat_map(|endpoint| endpoint.table().iter().map(move |parameter| (endpoint, parameter)))
        .filter(|(_, parameter)| has_effect(&parameter.support))
        .map(|(endpoint, parameter)| (endpoint.path(), parameter.name))
        .collect();
    let forgotten: Vec<_> = of_tables.difference(&covered).collect();
    assert!(forgotten.is_empty(), "parameters without a row: {forgotten:?}");
    let unknown: Vec<_> = covered.difference(&of_tables).collect();
    assert!(unknown.is_empty(), "rows without a parameter: {unknown:?}");

    run(async {
        let lab = Lab::start();
        let proofs = rows.iter().flat_map(|row| row.on.iter().map(move |endpoint| (row, *endpoint)));
        let doubtful: Vec<(&Row, Endpoint, String)> = futures::stream::iter(proofs)
            .map(async |(row, endpoint)| Some((row, endpoint, row.prove(&lab, endpoint).await?)))
            .buffer_unordered(AT_ONCE)
            .filter_map(async |doubtful| doubtful)
            .collect()
            .await;
        // Some look at what a page had done by a certain time. Those may be wrong beside so many others, but not by themselves.
        let mut wrong = Vec::new();
        for (row, endpoint, seen) in doubtful {
            eprintln!("once more: {seen}");
            lab.forget();
            wrong.extend(row.prove(&lab, endpoint).await);
        }
        assert!(wrong.is_empty(), "{} of {} rows:\n{}", wrong.len(), rows.len(), wrong.join("\n"));
    });
}

#[test]
fn what_is_not_supported_is_refused_by_name() {
    run(async {
        let lab = Lab::start();
        let mut seen = 0;
        for endpoint in Endpoint::ALL {
            for parameter in endpoint.table() {
                let (harmless, reason) = match parameter.support {
                    Support::Refused(reason) => ((parameter.kind == Kind::Bool).then_some(json!(false)), reason),
                    Support::RefusedBut(harmless, reason) => (Some(json!(harmless)), reason),
                    _ => continue,
                };
                let mut options = usual(endpoint);
                options[parameter.name] = match parameter.kind {
                    Kind::Bool => json!(true),
                    Kind::Int { max, .. } => json!(max),
                    Kind::Enum { of, .. } => json!(of[of.len() - 1]),
                    _ => json!("x"),
                };
                let code = lab.take(endpoint, PROBE, &options).await.code();
                let wanted = format!("request_not_valid \"{}\" is not supported: {reason}", parameter.name);
                assert_eq!(code, wanted, "{}", endpoint.path());
                // What asks for nothing is nothing to refuse.
                if let Some(harmless) = harmless {
                    options[parameter.name] = harmless;
                    assert_eq!(lab.take(endpoint, PROBE, &options).await.code(), "ok", "{}", parameter.name);
                }
                seen += 1;
            }
        }
        assert!(seen > 0);
    });
}
