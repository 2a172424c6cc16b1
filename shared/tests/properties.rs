//! Random option sets, valid, invalid and mixed, written in every way of the SDKs: as a query and as a JSON body they get
//! the same verdict, the same options or the same errors.
#![cfg(not(target_arch = "wasm32"))]

use std::cell::Cell;
use std::collections::BTreeSet;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Map, Value as Json, json};
use snaphook_shared::code::{Code, Problem};
use snaphook_shared::options::model::Options;
use snaphook_shared::options::{Kind, Parameter};
use snaphook_shared::request::{Endpoint, Method, Policies, RawRequest};
use snaphook_shared::target::NativeUrlParser;

/// Option sets for each endpoint.
const CASES: u32 = 250;
/// Parameters in one set; fewer than there may be errors in an answer.
const PARAMETERS_MAX: usize = 10;

/// One value, as both sides write it.
#[derive(Clone, Debug)]
enum Given {
    Scalar {
        in_query: String,
        in_json: Json,
    },
    List {
        texts: Vec<String>,
        spelling: Spelling,
    },
    /// A bare key, and `null`.
    Absent,
}

/// How a list is written in a query.
#[derive(Clone, Copy, Debug)]
enum Spelling {
    /// `k=a&k=b`
    Repeated,
    /// `k[]=a&k[]=b`
    Brackets,
    /// `k[0]=a&k[1]=b`
    Indexes,
    /// `k%5B0%5D=a&…`
    EscapedIndexes,
    /// `k=a,b`; enums only.
    Commas,
    /// `k=['a', 'b']`
    Python,
}

fn scalar(in_query: impl Into<String>, in_json: impl Into<Json>) -> Given {
    Given::Scalar { in_query: in_query.into(), in_json: in_json.into() }
}

/// The same text on both sides.
fn same(text: String) -> Given {
    scalar(text.clone(), text)
}

fn text() -> BoxedStrategy<String> {
    prop_oneof!["[a-z .#>]{1,12}", "\\PC{0,16}", "[\\[\\]'\",&=%+ a]{1,8}", Just(String::new())].boxed()
}

/// Whole numbers as SDKs write them, JavaScript's with its dot.
fn written(number: i64) -> BoxedStrategy<Given> {
    let text = number.to_string();
    select(vec![
        scalar(text.clone(), number),
        scalar(format!("{text}."), number),
        scalar(format!("{text}.0"), text.clone()),
        scalar(text.clone(), json!(number as f64)),
        scalar(format!(" {text}"), text),
    ])
    .boxed()
}

fn any_case(text: &str) -> BoxedStrategy<Given> {
    let capital = text.char_indices().map(|(at, letter)| if at == 0 { letter.to_ascii_uppercase() } else { letter });
    let all = [text.to_owned(), text.to_uppercase(), capital.collect(), format!(" {text} ")];
    (select(all.to_vec()), select(all.to_vec())).prop_map(|(query, json)| scalar(query, json)).boxed()
}

fn boolean() -> BoxedStrategy<Given> {
    let flag = any::<bool>().prop_map(|flag| {
        let words = if flag { ["true", "True", "TRUE", "1"] } else { ["false", "False", "FALSE", "0"] };
        (flag, words)
    });
    let query = flag.prop_flat_map(|(flag, words)| (Just(flag), select(words.to_vec()), select(words.to_vec())));
    let json = query.prop_flat_map(|(flag, query, text)| {
        let number = i32::from(flag);
        (Just(query), select(vec![json!(flag), json!(text), json!(number)]))
    });
    json.prop_map(|(query, json)| scalar(query, json)).boxed()
}

fn list(of: BoxedStrategy<String>, spellings: &[Spelling]) -> BoxedStrategy<Given> {
    (prop::collection::vec(of, 1..4), select(spellings.to_vec()))
        .prop_map(|(texts, spelling)| Given::List { texts, spelling })
        .boxed()
}

const LISTS: [Spelling; 4] = [Spelling::Brackets, Spelling::Indexes, Spelling::EscapedIndexes, Spelling::Python];

/// What a parameter of this kind may be.
fn valid(kind: Kind) -> BoxedStrategy<Given> {
    match kind {
        Kind::Bool => boolean(),
        Kind::Int { min, max } => prop_oneof![Just(min), Just(max), min..=max].prop_flat_map(written).boxed(),
        Kind::Number { min, max } => prop_oneof![
            // Nobody means more digits, and of more the JSON parser may lose the last.
            (f64::from(min)..=f64::from(max)).prop_map(|number| {
                let text = format!("{number:.9}");
                let number: f64 = text.parse().expect("a number");
                scalar(text, number)
            }),
            (i64::from(min)..=i64::from(max)).prop_flat_map(written),
        ]
        .boxed(),
        Kind::Text => text().prop_map(same).boxed(),
        Kind::AlphaNumeric { .. } => "[a-zA-Z0-9]{1,64}".prop_map(same).boxed(),
        Kind::Url => select(vec![
            "https://example.com/",
            "http://example.com/a?b=c&d=%20e#f",
            "https://xn--bcher-kva.example:8443/ü",
            "HTTPS://Example.com",
        ])
        .prop_map(|url| same(url.to_owned()))
        .boxed(),
        Kind::Enum { of, fold: true } => select(of).prop_flat_map(any_case).boxed(),
        Kind::Enum { of, fold: false } => select(of).prop_map(|name| same(name.to_owned())).boxed(),
        // A text alone in a list may be meant as a list itself, so only plain ones are repeated.
        Kind::List => prop_oneof![
            list(text(), &LISTS),
            list("[a-z.# ]{1,8}".boxed(), &[Spelling::Repeated]),
            "[a-z.# ]{1,8}".prop_map(same),
        ]
        .boxed(),
        Kind::EnumList { of } => {
            let all = [&LISTS[..], &[Spelling::Repeated, Spelling::Commas]].concat();
            list(select(of).prop_map(str::to_owned).boxed(), &all)
        }
    }
}

/// What no parameter, or not every one, may be.
fn odd() -> BoxedStrategy<Given> {
    let number = prop_oneof![any::<i64>(), -3_i64..3];
    prop_oneof![
        text().prop_map(same),
        number.prop_map(|number| scalar(number.to_string(), number)),
        any::<bool>().prop_map(|flag| scalar(flag.to_string(), flag)),
        select(vec![
            "yes",
            "1.5",
            "1e400",
            "-0",
            "NaN",
            "0x10",
            "ftp://x",
            "http://10.0.0.1/",
            "https://https://x",
            "png",
            "load,load"
        ])
        .prop_map(|text| same(text.to_owned())),
        list(text(), &LISTS[..3]),
        Just(Given::Absent),
    ]
    .boxed()
}

/// A set of parameters of an endpoint, most of them right, and now and then one that it does not know.
fn option_set(endpoint: Endpoint) -> BoxedStrategy<Vec<(String, Given)>> {
    let table = endpoint.table();
    let value = move |index: &usize| {
        let Parameter { name, kind, .. } = *table[*index];
        prop_oneof![20 => valid(kind), 1 => odd()].prop_map(move |given| (name.to_owned(), given)).boxed()
    };
    let (urls, others): (Vec<usize>, Vec<usize>) = (0..table.len()).partition(|index| table[*index].name == "url");
    let some = subsequence(others, 0..PARAMETERS_MAX)
        .prop_shuffle()
        .prop_flat_map(move |chosen| chosen.iter().map(value).collect::<Vec<_>>());
    let source = prop_oneof![12 => value(&urls[0]).prop_map(Some), 1 => Just(None)];
    let unknown = prop_oneof![
        12 => Just(None),
        1 => ("[a-z]{1,6}_x", odd()).prop_map(Some),
    ];
    (source, some, unknown)
        .prop_map(|(source, some, unknown)| source.into_iter().chain(some).chain(unknown).collect())
        .boxed()
}

fn escape(text: &str) -> String {
    // Both spellings of a blank, whichever the text's length says.
    let escaped = utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    if text.len().is_multiple_of(2) { escaped.replace("%20", "+") } else { escaped }
}

fn python(texts: &[String]) -> String {
    let quoted = |text: &String| format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"));
    format!("[{}]", texts.iter().map(quoted).collect::<Vec<_>>().join(", "))
}

fn query(set: &[(String, Given)]) -> String {
    let mut pairs = vec!["access_key=AK".to_owned()];
    for (name, given) in set {
        let mut add = |name: &str, text: &str| pairs.push(format!("{name}={}", escape(text)));
        match given {
            Given::Absent => pairs.push(name.clone()),
            Given::Scalar { in_query, .. } => add(name, in_query),
            Given::List { texts, spelling: Spelling::Commas } => add(name, &texts.join(",")),
            Given::List { texts, spelling: Spelling::Python } => add(name, &python(texts)),
            Given::List { texts, spelling } => {
                for (index, text) in texts.iter().enumerate() {
                    match spelling {
                        Spelling::Brackets => add(&format!("{name}[]"), text),
                        Spelling::Indexes => add(&format!("{name}[{index}]"), text),
                        Spelling::EscapedIndexes => add(&format!("{name}%5B{index}%5D"), text),
                        _ => add(name, text),
                    }
                }
            }
        }
    }
    pairs.join("&")
}

fn body(set: &[(String, Given)]) -> Vec<u8> {
    let value = |given: &Given| match given {
        Given::Absent => Json::Null,
        Given::Scalar { in_json, .. } => in_json.clone(),
        Given::List { texts, .. } => json!(texts),
    };
    let object: Map<String, Json> = set.iter().map(|(name, given)| (name.clone(), value(given))).collect();
    Json::Object(object).to_string().into_bytes()
}

/// The options, or what is wrong in no order.
type Verdict = Result<Options, (Code, BTreeSet<(String, String)>)>;

fn verdict(endpoint: Endpoint, method: Method, query: String, body: Vec<u8>) -> Verdict {
    let access_key_header = Some("AK".to_owned());
    let raw = RawRequest { endpoint, method, query, access_key_header, idempotency_key: None, priority: None, body };
    let checked = raw.read().and_then(|read| read.check(&NativeUrlParser, &Policies::default()));
    checked.map(|checked| checked.options).map_err(|Problem { code, details, .. }| {
        (code, details.into_iter().map(|detail| (detail.parameter, detail.message)).collect())
    })
}

#[test]
fn a_query_and_a_json_body_that_say_the_same_get_the_same_verdict() {
    for endpoint in Endpoint::ALL {
        let (accepted, refused) = (Cell::new(0), Cell::new(0));
        let config = Config { cases: CASES, failure_persistence: None, ..Config::default() };
        let outcome = TestRunner::new(config).run(&option_set(endpoint), |set| {
            let by_query = verdict(endpoint, Method::Get, query(&set), Vec::new());
            let by_body = verdict(endpoint, Method::Post, String::new(), body(&set));
            let count = if by_query.is_ok() { &accepted } else { &refused };
            count.set(count.get() + 1);
            prop_assert_eq!(by_query, by_body, "{}\n{}", query(&set), String::from_utf8_lossy(&body(&set)));
            Ok(())
        });
        if let Err(error) = outcome {
            panic!("{}: {error}", endpoint.path());
        }
        // Both kinds came up, so both were compared.
        let least = CASES / 50;
        assert!(accepted.get() > least && refused.get() > least, "{}: {accepted:?} {refused:?}", endpoint.path());
    }
}
