//! The SSRF corpus, every row, through the rules as a caller has to combine them: the URL, each address its name resolves
//! to, each redirect, and once more for a name that changes its mind. Nothing here touches a network.
//!
//! Native only: in a Worker the parser is the platform's, which the edge brings along.
#![cfg(not(target_arch = "wasm32"))]
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::net::IpAddr;

use snaphook_shared::target::{
    Host, NativeUrlParser, ParseUrl, TargetPolicy, canonical_name, check_address, check_target,
};

const CORPUS: &str = include_str!("../golden/ssrf_corpus.tsv");

struct Row<'a> {
    url: String,
    allow: bool,
    reason: &'a str,
}

fn rows() -> Vec<Row<'static>> {
    let row = |line: &'static str| {
        let mut columns = line.split('\t');
        let url = columns.next().unwrap().replace("\\\\", "\\").replace("\\t", "\t");
        let allow = match columns.next().unwrap() {
            "allow" => true,
            "block" => false,
            other => panic!("verdict {other}"),
        };
        Row { url, allow, reason: columns.next().unwrap() }
    };
    CORPUS.lines().skip(1).map(row).collect()
}

/// What the names of the corpus resolve to: a list of answers, the last of which is repeated.
struct Zone {
    answers: HashMap<String, Vec<Vec<IpAddr>>>,
    asked: HashMap<String, usize>,
}

impl Zone {
    fn of(rows: &[Row]) -> Zone {
        let mut answers = HashMap::new();
        for row in rows {
            let Some(Host::Name(name)) = NativeUrlParser.parse(&row.url).map(|parts| parts.host) else { continue };
            let addresses: Vec<IpAddr> = addresses_in(row.reason);
            if addresses.is_empty() {
                continue;
            }
            let in_turn = row.reason.contains("later answers");
            let row_answers = if in_turn { addresses.iter().map(|a| vec![*a]).collect() } else { vec![addresses] };
            answers.insert(canonical_name(&name).unwrap(), row_answers);
        }
        Zone { answers, asked: HashMap::new() }
    }

    fn resolve(&mut self, name: &str) -> Vec<IpAddr> {
        let name = canonical_name(name).unwrap();
        let Some(answers) = self.answers.get(&name) else { return Vec::new() };
        let turn = self.asked.entry(name).or_default();
        let answer = answers[(*turn).min(answers.len() - 1)].clone();
        *turn += 1;
        answer
    }
}

/// The addresses after each `A=` and `AAAA=`.
fn addresses_in(reason: &str) -> Vec<IpAddr> {
    let is_address = |c: char| c.is_ascii_hexdigit() || matches!(c, '.' | ':');
    let after = reason.split("A=").skip(1);
    after.map(|text| text.split(|c| !is_address(c)).next().unwrap().parse().unwrap()).collect()
}

/// One visit, redirects included. The addresses that would have been dialled are noted even if a later hop is refused.
fn visit(url: &str, policy: &TargetPolicy, zone: &mut Zone, dialled: &mut Vec<IpAddr>) -> Result<(), String> {
    let mut next = url.to_owned();
    for _ in 0..5 {
        let parts = check_target(&next, &NativeUrlParser, policy).map_err(|refusal| refusal.to_string())?;
        let addresses = match &parts.host {
            Host::Name(name) => zone.resolve(name),
            literal => literal.address().into_iter().collect(),
        };
        for address in &addresses {
            check_address(*address, policy).map_err(|refusal| refusal.to_string())?;
        }
        dialled.push(*addresses.first().ok_or("not resolved")?);
        match (&parts.host, parts.serialized.split_once("?to=")) {
            (Host::Name(name), Some((_, to))) if name == "redirector.test" => next = to.to_owned(),
            _ => return Ok(()),
        }
    }
    Err("too many redirects".to_owned())
}

#[test]
fn every_row_gets_its_verdict() {
    let rows = rows();
    let policy = TargetPolicy { deny_hosts: vec!["backend.self.test".parse().unwrap()], ..TargetPolicy::default() };
    // The installation's own name resolves to a public address: only the deny list can refuse it.
    let mut zone = Zone::of(&rows);
    zone.answers.insert("backend.self.test".to_owned(), vec![vec!["93.184.216.34".parse().unwrap()]]);

    let mut wrong = Vec::new();
    for row in &rows {
        // Twice, since rebinding shows at the second look-up.
        let mut dialled = Vec::new();
        let first = visit(&row.url, &policy, &mut zone, &mut dialled);
        let verdict = first.and_then(|()| visit(&row.url, &policy, &mut zone, &mut dialled));
        if verdict.is_ok() != row.allow {
            wrong.push(format!("{:?} ({}): {verdict:?}", row.url, row.reason));
        }
        let harmful: Vec<_> = dialled.iter().filter(|address| check_address(**address, &policy).is_err()).collect();
        assert!(harmful.is_empty(), "{}: would have dialled {harmful:?}", row.url);
    }
    assert!(wrong.is_empty(), "{} of {} wrong:\n{}", wrong.len(), rows.len(), wrong.join("\n"));
    assert_eq!(rows.len(), 133);
}

/// What SECURITY.md says of our filter beside others: the rows whose host is an address, however it is written.
#[test]
fn no_literal_address_is_judged_wrong() {
    let (mut public, mut inner) = (0, 0);
    for row in rows() {
        let parts = NativeUrlParser.parse(&row.url);
        let Some(address) = parts.and_then(|parts| parts.host.address()) else { continue };
        *(if row.allow { &mut public } else { &mut inner }) += 1;
        let verdict = check_address(address, &TargetPolicy::default());
        assert_eq!(verdict.is_ok(), row.allow, "{:?} is {address}: {verdict:?}", row.url);
    }
    assert_eq!((public, inner), (10, 69));
}
