//! The rules, case by case, and the corpus as far as no DNS is needed.

use super::*;

const CORPUS: &str = include_str!("../../golden/ssrf_corpus.tsv");

fn check(input: &str) -> Result<UrlParts, TargetRefusal> {
    check_target(input, &NativeUrlParser, &TargetPolicy::default())
}

fn class(address: &str) -> AddressClass {
    classify(address.parse().unwrap())
}

#[test]
fn the_corpus_as_far_as_no_dns_is_needed() {
    let mut undecided = Vec::new();
    for row in CORPUS.lines().skip(1) {
        let mut columns = row.split('\t');
        let url = columns.next().unwrap().replace("\\\\", "\\");
        match (columns.next().unwrap(), check(&url)) {
            ("allow", verdict) => assert!(verdict.is_ok(), "{row}: {verdict:?}"),
            ("block", Ok(parts)) => undecided.push(parts.host.to_string()),
            ("block", Err(_)) => {}
            _ => panic!("{row}"),
        }
    }
    undecided.sort();
    undecided.dedup();
    // All that a name alone does not give away.
    let dns = ["app.10.0.0.1.nip.io", "backend.self.test", "nxdomain.test", "rebind.test", "redirector.test"];
    assert_eq!(undecided, dns);
}

#[test]
fn each_refusal_says_what_is_wrong() {
    let text = |input: &str| check(input).unwrap_err().to_string();
    assert_eq!(text("file:///etc/passwd"), "the scheme `file` is not allowed: use http or https");
    assert_eq!(
        text(" \tVIEW-source:http://example.com/"),
        "the scheme `view-source` is not allowed: use http or https"
    );
    assert_eq!(text("data:,x"), "the scheme `data` is not allowed: use http or https");
    for input in ["", "example.com", "example.com:8080/x", "//example.com/", ":", "1http://example.com/"] {
        assert_eq!(text(input), "the URL must start with http:// or https://", "{input}");
    }
    assert_eq!(text(&format!("{}:x", "a".repeat(100))), "the URL must start with http:// or https://");
    assert_eq!(text("http://exa mple.com/"), "the URL is not valid");
    assert_eq!(text("http://"), "the URL is not valid");
    assert_eq!(text("http://example.com:25/"), "port 25 is not allowed");
    assert_eq!(text("http://printer/"), "the host name is not allowed");
    assert_eq!(text("http://10.0.0.1/"), text("http://[fd20:ce::254]/"));
    assert_eq!(check("http://user@example.com/"), Err(TargetRefusal::Credentials));
    assert_eq!(check("http://:secret@example.com/"), Err(TargetRefusal::Credentials));
}

#[test]
fn length_is_limited_before_and_after_encoding() {
    let base = "https://example.com/";
    let longest = format!("{base}{}", "a".repeat(MAX_URL_BYTES - base.len()));
    assert!(check(&longest).is_ok());
    assert_eq!(check(&format!("{longest}a")), Err(TargetRefusal::TooLong));
    assert_eq!(check(&format!("{base}{}", "é".repeat(2_000))), Err(TargetRefusal::TooLong));
}

#[test]
fn backslashes_matter_only_before_the_path() {
    for input in ["http:\\\\example.com", "http:/\\example.com/", "http://example.com\\x", "ht\ntp:\t\\/example.com"] {
        assert_eq!(check(input), Err(TargetRefusal::Backslash), "{input}");
    }
    for input in
        ["http://example.com/a\\b", "http://example.com?a\\b", "http:///example.com/a\\b", "http:example.com#\\"]
    {
        assert_eq!(check(input).unwrap().host, Host::Name("example.com".to_owned()), "{input}");
    }
}

#[test]
fn classes_at_the_edges() {
    use AddressClass::*;
    let cases = [
        ("9.255.255.255", Public),
        ("10.0.0.0", Private),
        ("10.255.255.255", Private),
        ("11.0.0.0", Public),
        ("0.1.2.3", Unspecified),
        ("100.127.255.255", SharedNat),
        ("100.100.100.200", Metadata),
        ("127.255.255.255", Loopback),
        ("169.254.0.1", LinkLocal),
        ("169.254.170.2", Metadata),
        ("168.63.129.15", Public),
        ("168.63.129.16", Metadata),
        ("172.31.255.255", Private),
        ("172.32.0.0", Public),
        ("192.0.0.192", Metadata),
        ("192.0.1.0", Public),
        ("192.88.99.1", Translated),
        ("198.17.255.255", Public),
        ("198.19.255.255", Benchmarking),
        ("198.20.0.0", Public),
        ("239.255.255.250", Multicast),
        ("255.255.255.255", Reserved),
        ("::", Unspecified),
        ("::1", Loopback),
        ("::127.0.0.1", Translated),
        ("::ffff:127.0.0.1", Loopback),
        ("::ffff:8.8.8.8", Public),
        ("::ffff:168.63.129.16", Metadata),
        ("::ffff:0:127.0.0.1", Reserved),
        ("64:ff9b::8.8.8.8", Translated),
        ("64:ff9b:1::a00:1", Translated),
        ("100::1", Reserved),
        ("1fff:ffff::", Reserved),
        ("2000::", Public),
        ("2001::1", Reserved),
        ("2001:1ff:ffff::", Reserved),
        ("2001:200::", Public),
        ("2001:db8:ffff::", Documentation),
        ("2001:db9::", Public),
        ("2002:a00:1::", Translated),
        ("2003::", Public),
        ("2606:4700:4700::1111", Public),
        ("2620:4f:8000::1", Reserved),
        ("3ffe::1", Public),
        ("3fff:fff::1", Documentation),
        ("3fff:1000::1", Public),
        ("4000::", Reserved),
        ("5f00::1", Reserved),
        ("fc00::1", Private),
        ("fd00:ec2::254", Metadata),
        ("fd20:ce::254", Metadata),
        ("fe80::1", LinkLocal),
        ("fec0::1", Private),
        ("ff02::1", Multicast),
    ];
    for (address, expected) in cases {
        assert_eq!(class(address), expected, "{address}");
    }
}

#[test]
fn subnets() {
    let contains = |subnet: &str, address: &str| subnet.parse::<Subnet>().unwrap().contains(address.parse().unwrap());
    assert!(contains("10.0.0.0/8", "10.255.0.1"));
    assert!(contains("10.0.0.0/8", "::ffff:10.1.2.3"));
    assert!(!contains("10.0.0.0/8", "11.0.0.0"));
    assert!(contains("::ffff:10.0.0.0/104", "10.1.2.3"));
    assert!(contains("::1", "::1"));
    assert!(!contains("::1/128", "::2"));
    assert!(contains("0.0.0.0/0", "1.2.3.4"));
    assert!(!contains("0.0.0.0/0", "2000::1"));
    assert!(!contains("::/0", "1.2.3.4"));
    assert_eq!("fd00::/8".parse::<Subnet>().unwrap().to_string(), "fd00::/8");
    for wrong in ["", "10.0.0.0/", "10.0.0.0/33", "::/129", "10.0.0/8", "10.0.0.0/-1", "example.com", "a/b/c"] {
        assert_eq!(wrong.parse::<Subnet>(), Err(SubnetError::Syntax), "{wrong}");
    }
    for wrong in ["10.0.0.5/8", "fd00::1/8", "::ffff:0:0/90"] {
        assert_eq!(wrong.parse::<Subnet>(), Err(SubnetError::HostBits), "{wrong}");
    }
}

#[test]
fn ports() {
    let web = PortPolicy::Web;
    assert!([80, 443, 1024, 3000, 5000, 8000, 8080, 8443, 8888, 9000, 65535].into_iter().all(|port| web.allows(port)));
    let dangerous = [0, 1, 22, 25, 81, 1023, 2375, 3306, 5432, 6000, 6379, 9200, 10250, 11211, 27017];
    assert!(!dangerous.into_iter().any(|port| web.allows(port)));
    assert!(PortPolicy::Unprivileged.allows(6379) && !PortPolicy::Unprivileged.allows(22));
    assert!(PortPolicy::Only(vec![22]).allows(22) && !PortPolicy::Only(vec![22]).allows(443));
}

#[test]
fn names() {
    let policy = TargetPolicy::default();
    for name in
        ["example.com", "EXAMPLE.com.", "127.0.0.1.example.com", "a_b.example.com", "locals.example", "mylocal.io"]
    {
        assert_eq!(check_name(name, &policy), Ok(()), "{name}");
    }
    let refused = [
        "",
        ".",
        "..",
        "a..b",
        ".example.com",
        "example.com..",
        "localhost",
        "LOCALHOST.",
        "x.localhost",
        "printer",
        "localhost.localdomain",
        "nas.local",
        "metadata.google.internal",
        "metadata.goog.",
        "db.default.svc",
        "x.svc.cluster.local",
        "127.0.0.1",
        "0x7f.1",
        "1.0x",
        "2130706433",
        "exämple.com",
        "a b.com",
        "a/b.com",
    ];
    for name in refused {
        assert_eq!(check_name(name, &policy), Err(TargetRefusal::Name), "{name}");
    }
    assert_eq!(check_name(&format!("{}.com", "a".repeat(64)), &policy), Err(TargetRefusal::Name));
    assert_eq!(check_name(&"a.".repeat(127), &policy), Ok(()));
    assert_eq!(check_name(&"a.".repeat(128), &policy), Err(TargetRefusal::Name));
}

#[test]
fn the_operator_opens_and_closes() {
    let policy = TargetPolicy {
        allow_subnets: vec!["10.0.0.0/8".parse().unwrap()],
        deny_subnets: vec!["10.0.0.7".parse().unwrap(), "93.184.216.0/24".parse().unwrap()],
        allow_hosts: vec!["wiki".parse().unwrap(), "*.Corp.".parse().unwrap()],
        deny_hosts: vec!["secret.corp".parse().unwrap(), "*.example.com".parse().unwrap()],
        ..TargetPolicy::default()
    };
    for url in ["http://wiki/", "http://a.b.corp/", "http://10.1.2.3/", "http://example.com/", "http://[::ffff:a00:1]/"]
    {
        assert!(check_target(url, &NativeUrlParser, &policy).is_ok(), "{url}");
    }
    let refused = [
        "http://corp/",
        "http://secret.corp./",
        "http://www.example.com/",
        "http://wiki.lan/",
        "http://10.0.0.7/",
        "http://[::ffff:10.0.0.7]/",
        "http://192.168.0.1/",
        "http://93.184.216.34/",
    ];
    for url in refused {
        assert!(check_target(url, &NativeUrlParser, &policy).is_err(), "{url}");
    }
}

#[test]
fn development_opens_loopback_only() {
    let policy = TargetPolicy::development();
    for url in ["http://localhost:6379/", "http://app.localhost:3000/", "http://127.0.0.1:1024/", "http://[::1]:9222/"]
    {
        assert!(check_target(url, &NativeUrlParser, &policy).is_ok(), "{url}");
    }
    for url in [
        "http://10.0.0.1/",
        "http://0.0.0.0/",
        "http://[::]/",
        "http://169.254.169.254/",
        "http://nas.local/",
        "http://localhost:22/",
    ] {
        assert!(check_target(url, &NativeUrlParser, &policy).is_err(), "{url}");
    }
}

/// Fields as V8 serialises them.
#[test]
fn platform_fields_give_what_the_native_parser_gives() {
    let cases = [
        ("https://EXAMPLE.com./a b", "https://example.com./a%20b", "https:", "example.com.", "", "", ""),
        ("http://u:p@example.com:8080/", "http://u:p@example.com:8080/", "http:", "example.com", "8080", "u", "p"),
        ("http://0x7f.1", "http://127.0.0.1/", "http:", "127.0.0.1", "", "", ""),
        ("http://[::FFFF:127.0.0.1]:80/", "http://[::ffff:7f00:1]/", "http:", "[::ffff:7f00:1]", "", "", ""),
        ("wss://example.com/", "wss://example.com/", "wss:", "example.com", "", "", ""),
    ];
    for (input, href, protocol, hostname, port, username, password) in cases {
        let parts = UrlParts::from_platform(href, protocol, hostname, port, username, password);
        assert_eq!(parts, NativeUrlParser.parse(input), "{input}");
        assert!(parts.is_some());
    }
    assert_eq!(UrlParts::from_platform("file:///x", "file:", "", "", "", ""), None);
    assert_eq!(UrlParts::from_platform("x://h/", "x:", "h", "", "", ""), None);
}
