//! What may be connected to: the rules for a URL, a host name, a port and an address, whoever named them.
//!
//! One set of rules serves the edge (before a request is taken), the backend (before a browser or a webhook sees the URL)
//! and the egress module (after DNS, on every single connection). The URL is parsed once, by a WHATWG parser, and only
//! that parser's serialisation is passed on: where two parsers disagree about the host, an attacker chooses between them.
//!
//! This module never resolves a name and never dials. So a name that passes here has only passed the name rules; whoever
//! dials must call [`check_address`] on every address that the name resolved to, and dial one of exactly those.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// Longest URL taken, in bytes, both as given and as serialised (percent-encoding can triple it).
pub const MAX_URL_BYTES: usize = 8_192;

/// Longest scheme worth naming in an answer.
const MAX_SCHEME_BYTES: usize = 32;

/// The host of a URL, after percent-decoding, IDNA and the many spellings of IPv4.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Host {
    Name(String),
    V4(Ipv4Addr),
    V6(Ipv6Addr),
}

impl Host {
    /// The address, when the host is a literal one.
    pub fn address(&self) -> Option<IpAddr> {
        match self {
            Host::Name(_) => None,
            Host::V4(address) => Some(IpAddr::V4(*address)),
            Host::V6(address) => Some(IpAddr::V6(*address)),
        }
    }
}

/// As it stands in a URL: IPv6 in brackets.
impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Name(name) => f.write_str(name),
            Host::V4(address) => address.fmt(f),
            Host::V6(address) => write!(f, "[{address}]"),
        }
    }
}

/// What the rules need to know of a parsed URL. `serialized` is the only spelling to pass on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UrlParts {
    pub serialized: String,
    /// Lower case, without the colon.
    pub scheme: String,
    pub host: Host,
    /// The port that would be dialled: the one given, or the scheme's own.
    pub port: u16,
    pub has_credentials: bool,
}

impl UrlParts {
    /// From the fields of a JavaScript `URL` object, as the platform serialises them: the protocol with its colon, IPv6
    /// in brackets, the port empty when it is the scheme's own. `None` without a host, or without a known port.
    pub fn from_platform(
        href: &str,
        protocol: &str,
        hostname: &str,
        port: &str,
        username: &str,
        password: &str,
    ) -> Option<UrlParts> {
        let scheme = protocol.strip_suffix(':').unwrap_or(protocol).to_ascii_lowercase();
        let host = match hostname.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            Some(bare) => Host::V6(bare.parse().ok()?),
            None if hostname.is_empty() => return None,
            // Only the schemes of the web have their numbers read as addresses; elsewhere the host is opaque text.
            None => match hostname.parse() {
                Ok(address) if default_port(&scheme).is_some() => Host::V4(address),
                _ => Host::Name(hostname.to_owned()),
            },
        };
        let port = if port.is_empty() { default_port(&scheme)? } else { port.parse().ok()? };
        let has_credentials = !username.is_empty() || !password.is_empty();
        Some(UrlParts { serialized: href.to_owned(), scheme, host, port, has_credentials })
    }
}

fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" | "ws" => Some(80),
        "https" | "wss" => Some(443),
        "ftp" => Some(21),
        _ => None,
    }
}

/// A WHATWG URL parser. Native code has [`NativeUrlParser`]; a Worker wraps the platform's `URL`, which costs no bytes.
///
/// An implementation never needs to judge: the scheme is checked before it is asked, by the same scan that the standard
/// prescribes, so that `file:///x` is refused for its scheme although it has no host to report.
pub trait ParseUrl {
    /// `None` when the input is not an absolute URL, or has no host.
    fn parse(&self, input: &str) -> Option<UrlParts>;
}

/// The `url` crate. It and V8's parser gave the same host, or both refused, on every row of the SSRF corpus.
#[cfg(not(target_arch = "wasm32"))]
#[derive(Debug, Clone, Copy, Default)]
pub struct NativeUrlParser;

#[cfg(not(target_arch = "wasm32"))]
impl ParseUrl for NativeUrlParser {
    fn parse(&self, input: &str) -> Option<UrlParts> {
        let url = url::Url::parse(input).ok()?;
        let host = match url.host()? {
            url::Host::Domain("") => return None,
            url::Host::Domain(name) => Host::Name(name.to_owned()),
            url::Host::Ipv4(address) => Host::V4(address),
            url::Host::Ipv6(address) => Host::V6(address),
        };
        Some(UrlParts {
            host,
            port: url.port_or_known_default()?,
            scheme: url.scheme().to_owned(),
            has_credentials: !url.username().is_empty() || url.password().is_some_and(|password| !password.is_empty()),
            serialized: url.into(),
        })
    }
}

/// What kind of place an address is. Only [`AddressClass::Public`] may be dialled without the operator's word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AddressClass {
    Public,
    /// `0.0.0.0/8` and `::`. Linux connects these to the machine itself.
    Unspecified,
    Loopback,
    /// RFC 1918, IPv6 unique local, and the old site-local range.
    Private,
    /// Carrier-grade NAT, `100.64.0.0/10`; some clouds put their own services here.
    SharedNat,
    LinkLocal,
    /// A cloud's service that hands out credentials to whoever can reach it.
    Metadata,
    Multicast,
    Documentation,
    Benchmarking,
    /// An IPv4 address in another coat: 6to4, NAT64, Teredo, IPv4-compatible. Where it leads depends on the network.
    Translated,
    Reserved,
}

impl AddressClass {
    pub fn is_public(self) -> bool {
        self == AddressClass::Public
    }

    pub const fn name(self) -> &'static str {
        match self {
            AddressClass::Public => "public",
            AddressClass::Unspecified => "unspecified",
            AddressClass::Loopback => "loopback",
            AddressClass::Private => "private",
            AddressClass::SharedNat => "shared_nat",
            AddressClass::LinkLocal => "link_local",
            AddressClass::Metadata => "metadata",
            AddressClass::Multicast => "multicast",
            AddressClass::Documentation => "documentation",
            AddressClass::Benchmarking => "benchmarking",
            AddressClass::Translated => "translated",
            AddressClass::Reserved => "reserved",
        }
    }
}

/// Everything of IPv4 that is not public. IPv4 is nearly full, so the exceptions are listed and the rest is public.
const SPECIAL_V4: &[(Ipv4Addr, u8, AddressClass)] = &[
    (Ipv4Addr::new(0, 0, 0, 0), 8, AddressClass::Unspecified),
    (Ipv4Addr::new(10, 0, 0, 0), 8, AddressClass::Private),
    (Ipv4Addr::new(100, 64, 0, 0), 10, AddressClass::SharedNat),
    (Ipv4Addr::new(127, 0, 0, 0), 8, AddressClass::Loopback),
    (Ipv4Addr::new(169, 254, 0, 0), 16, AddressClass::LinkLocal),
    (Ipv4Addr::new(172, 16, 0, 0), 12, AddressClass::Private),
    (Ipv4Addr::new(192, 0, 0, 0), 24, AddressClass::Reserved),
    (Ipv4Addr::new(192, 0, 2, 0), 24, AddressClass::Documentation),
    (Ipv4Addr::new(192, 88, 99, 0), 24, AddressClass::Translated),
    (Ipv4Addr::new(192, 168, 0, 0), 16, AddressClass::Private),
    (Ipv4Addr::new(198, 18, 0, 0), 15, AddressClass::Benchmarking),
    (Ipv4Addr::new(198, 51, 100, 0), 24, AddressClass::Documentation),
    (Ipv4Addr::new(203, 0, 113, 0), 24, AddressClass::Documentation),
    (Ipv4Addr::new(224, 0, 0, 0), 4, AddressClass::Multicast),
    (Ipv4Addr::new(240, 0, 0, 0), 4, AddressClass::Reserved),
];

/// Single addresses that a range above would name less exactly, or (the last) would call public.
const METADATA_V4: &[Ipv4Addr] = &[
    Ipv4Addr::new(169, 254, 169, 254), // AWS, GCP, Azure, OpenStack and others
    Ipv4Addr::new(169, 254, 170, 2),   // AWS, container credentials
    Ipv4Addr::new(100, 100, 100, 200), // Alibaba
    Ipv4Addr::new(192, 0, 0, 192),     // Oracle
    Ipv4Addr::new(168, 63, 129, 16),   // Azure's WireServer, in the middle of public space
];

/// The parts of global unicast, `2000::/3`, that are not public.
const SPECIAL_V6: &[(Ipv6Addr, u8, AddressClass)] = &[
    // IETF protocol assignments: Teredo, benchmarking, both ORCHIDs, AMT. `2001:200::` and up are ordinary networks.
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23, AddressClass::Reserved),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32, AddressClass::Documentation),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16, AddressClass::Translated),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20, AddressClass::Documentation),
    (Ipv6Addr::new(0x2620, 0x4f, 0x8000, 0, 0, 0, 0, 0), 48, AddressClass::Reserved),
];

/// Names for what lies outside global unicast. It is all refused; the table only says why.
const OUTSIDE_V6: &[(Ipv6Addr, u8, AddressClass)] = &[
    (Ipv6Addr::UNSPECIFIED, 128, AddressClass::Unspecified),
    (Ipv6Addr::LOCALHOST, 128, AddressClass::Loopback),
    (Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254), 128, AddressClass::Metadata), // AWS
    (Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254), 128, AddressClass::Metadata),  // GCP
    (Ipv6Addr::UNSPECIFIED, 96, AddressClass::Translated),
    (Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 32, AddressClass::Translated),
    (Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7, AddressClass::Private),
    (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10, AddressClass::LinkLocal),
    (Ipv6Addr::new(0xfec0, 0, 0, 0, 0, 0, 0, 0), 10, AddressClass::Private),
    (Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8, AddressClass::Multicast),
];

const GLOBAL_UNICAST: Ipv6Addr = Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0);

/// What kind of place `address` is.
///
/// IPv4-mapped addresses are unmapped first, since the kernel does the same. IPv6 is public only inside `2000::/3` minus a
/// short list: refusing by default is what closes the embedding tricks without having to know each of them.
pub fn classify(address: IpAddr) -> AddressClass {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            if METADATA_V4.contains(&address) {
                return AddressClass::Metadata;
            }
            let special = SPECIAL_V4.iter().find(|(network, prefix, _)| within_v4(*network, *prefix, address));
            special.map_or(AddressClass::Public, |(_, _, class)| *class)
        }
        IpAddr::V6(address) => {
            let (table, otherwise) = if within_v6(GLOBAL_UNICAST, 3, address) {
                (SPECIAL_V6, AddressClass::Public)
            } else {
                (OUTSIDE_V6, AddressClass::Reserved)
            };
            let special = table.iter().find(|(network, prefix, _)| within_v6(*network, *prefix, address));
            special.map_or(otherwise, |(_, _, class)| *class)
        }
    }
}

fn within_v4(network: Ipv4Addr, prefix: u8, address: Ipv4Addr) -> bool {
    let mask = u32::MAX.checked_shl(32u32.saturating_sub(prefix.into())).unwrap_or(0);
    network.to_bits() & mask == address.to_bits() & mask
}

fn within_v6(network: Ipv6Addr, prefix: u8, address: Ipv6Addr) -> bool {
    let mask = u128::MAX.checked_shl(128u32.saturating_sub(prefix.into())).unwrap_or(0);
    network.to_bits() & mask == address.to_bits() & mask
}

/// A range of addresses, `10.0.0.0/8`; a bare address is a range of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Subnet {
    network: IpAddr,
    prefix: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SubnetError {
    #[error("not a network such as 10.0.0.0/8 or fd00::/8, nor an address")]
    Syntax,
    /// `10.0.0.5/8` may mean one address or sixteen million, and this setting opens doors.
    #[error("address bits are set behind the prefix: write either the network or the single address")]
    HostBits,
}

impl Subnet {
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.network, address.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(address)) => within_v4(network, self.prefix, address),
            (IpAddr::V6(network), IpAddr::V6(address)) => within_v6(network, self.prefix, address),
            _ => false,
        }
    }
}

impl FromStr for Subnet {
    type Err = SubnetError;

    fn from_str(text: &str) -> Result<Subnet, SubnetError> {
        let (address, prefix) = text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
        let given: IpAddr = address.trim().parse().map_err(|_| SubnetError::Syntax)?;
        let width = if given.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix.map(|digits| digits.trim().parse::<u8>()) {
            None => width,
            Some(Ok(prefix)) if prefix <= width => prefix,
            Some(_) => return Err(SubnetError::Syntax),
        };
        // Addresses are compared unmapped, so a mapped network has to be as well. A mapped one with a prefix below 96
        // has bits behind the prefix and fails just below.
        let (network, prefix) = match given.to_canonical() {
            unmapped if unmapped != given && prefix >= 96 => (unmapped, prefix.saturating_sub(96)),
            _ => (given, prefix),
        };
        let is_exact = match network {
            IpAddr::V4(bits) => bits.to_bits().checked_shl(prefix.into()).unwrap_or(0) == 0,
            IpAddr::V6(bits) => bits.to_bits().checked_shl(prefix.into()).unwrap_or(0) == 0,
        };
        if is_exact { Ok(Subnet { network, prefix }) } else { Err(SubnetError::HostBits) }
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.prefix)
    }
}

/// A host name (`wiki.example.com`), or all below one (`*.example.com`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPattern {
    /// As [`canonical_name`] gives it.
    name: String,
    is_below: bool,
}

/// Why a text is no [`HostPattern`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "neither a host name, as in `wiki.example.com` (in ASCII: `xn--…`), nor all below one, as in `*.example.com`; addresses \
     are for the subnets"
)]
pub struct HostPatternError;

impl HostPattern {
    fn exactly(name: &str) -> HostPattern {
        HostPattern { name: name.to_owned(), is_below: false }
    }

    fn below(name: &str) -> HostPattern {
        HostPattern { name: name.to_owned(), is_below: true }
    }

    /// `name` as [`canonical_name`] gives it.
    fn matches(&self, name: &str) -> bool {
        match self.is_below {
            true => name.strip_suffix(&self.name).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.')),
            false => name == self.name,
        }
    }
}

impl FromStr for HostPattern {
    type Err = HostPatternError;

    fn from_str(text: &str) -> Result<HostPattern, HostPatternError> {
        let (name, is_below) = text.strip_prefix("*.").map_or((text, false), |name| (name, true));
        // An address in brackets has no canonical name, one of IPv4 ends like a number.
        canonical_name(name).map(|name| HostPattern { name, is_below }).ok_or(HostPatternError)
    }
}

/// Which ports may be dialled.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum PortPolicy {
    /// 80, 443, and any port from 1024 on that is not the well-known port of something other than a web server.
    ///
    /// Below 1024 every port but those two belongs to some other service (mail, SSH, SMB, …). From there on people do run
    /// web servers on any number, so the rule names the exceptions: databases, caches, brokers, container and cluster
    /// interfaces (a crafted HTTP request can talk to many of those), and what Chromium refuses to open anyway.
    #[default]
    Web,
    /// 80, 443, and any port from 1024 on.
    Unprivileged,
    /// These and no others.
    Only(Vec<u16>),
}

impl PortPolicy {
    pub fn allows(&self, port: u16) -> bool {
        match self {
            PortPolicy::Web => matches!(port, 80 | 443) || (port >= 1024 && !is_service_port(port)),
            PortPolicy::Unprivileged => matches!(port, 80 | 443) || port >= 1024,
            PortPolicy::Only(ports) => ports.contains(&port),
        }
    }

    /// As [`PortPolicy::allows`], for a proxy: its two well-known ports are then no mistake.
    pub fn allows_proxy(&self, port: u16) -> bool {
        self.allows(port) || (*self == PortPolicy::Web && matches!(port, 1080 | 3128))
    }
}

fn is_service_port(port: u16) -> bool {
    match port {
        // databases, caches and search
        1433..=1434 | 1521 | 3050 | 3306 | 5432 | 5984 | 6379..=6380 | 7000..=7001 | 7199 | 7473..=7474 | 7687 => true,
        8086 | 8123 | 9042 | 9160 | 9200 | 9300 | 11211 | 16379 | 26257 | 26379 | 27017..=27019 | 28015 | 33060 => true,
        // brokers and coordination
        1883 | 2181 | 2379..=2380 | 2888 | 3888 | 4222 | 4369 | 5671..=5672 | 8500 | 9092..=9093 | 61613..=61616 => {
            true
        }
        // containers, clusters, agents, remote control
        1099 | 2375..=2377 | 3389 | 4243 | 4646..=4648 => true,
        5900..=5910 | 5985..=5986 | 6443 | 7946 | 8300..=8302 | 9222 | 9229 | 10248..=10259 | 50051 => true,
        // proxies, files, printers
        1080 | 3128 | 3260 | 8009 | 9100 | 24007 => true,
        // Chromium's own list (ERR_UNSAFE_PORT): a clear refusal now is better than a failed page later
        1719..=1720 | 1723 | 2049 | 3659 | 4045 | 4190 | 5060..=5061 | 6000..=6063 | 6566 => true,
        6665..=6669 | 6679 | 6697 | 10080 => true,
        _ => false,
    }
}

/// What the operator allows. The default is the public Internet and nothing else.
///
/// A deny always beats an allow. Host patterns are an exact name (`wiki.example.com`) or everything below one
/// (`*.example.com`); they are not for addresses, which have their own lists.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TargetPolicy {
    /// Addresses that may be dialled although they are not public.
    pub allow_subnets: Vec<Subnet>,
    /// Addresses that may not be dialled although they are public, such as the installation's own behind a NAT.
    pub deny_subnets: Vec<Subnet>,
    /// Names exempt from the name rules (`build-server`, `*.corp`). Their addresses still have to be allowed.
    pub allow_hosts: Vec<HostPattern>,
    /// Names never to be asked for, such as the installation's own.
    pub deny_hosts: Vec<HostPattern>,
    pub allowed_ports: PortPolicy,
    /// Off, because a URL is logged, stored and sent to webhooks, and a password in it would go along.
    pub allow_credentials: bool,
    /// What goes there is nobody else's to read.
    pub https_only: bool,
}

impl TargetPolicy {
    /// For a developer's own machine: the public Internet, and loopback by address or by the name `localhost`.
    pub fn development() -> TargetPolicy {
        TargetPolicy {
            allow_subnets: vec![
                Subnet { network: IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)), prefix: 8 },
                Subnet { network: IpAddr::V6(Ipv6Addr::LOCALHOST), prefix: 128 },
            ],
            allow_hosts: vec![HostPattern::exactly("localhost"), HostPattern::below("localhost")],
            allowed_ports: PortPolicy::Unprivileged,
            ..TargetPolicy::default()
        }
    }
}

/// Why a target is refused. The text is for the caller: it tells what is wrong with what they sent, and nothing of what
/// may be found inside the network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TargetRefusal {
    #[error("the URL is longer than {MAX_URL_BYTES} bytes")]
    TooLong,
    #[error("the URL must start with http:// or https://")]
    NoScheme,
    #[error("the scheme `{0}` is not allowed: use http or https")]
    Scheme(String),
    #[error("the URL must start with https://")]
    NotHttps,
    #[error("the URL has a backslash before its path")]
    Backslash,
    #[error("the URL is not valid")]
    Invalid,
    #[error("the URL contains a user name or password: pass them in an authorization option or header instead")]
    Credentials,
    #[error("port {0} is not allowed")]
    Port(u16),
    #[error("the host name is not allowed")]
    Name,
    #[error("the address is not allowed: only public addresses are")]
    Address(AddressClass),
}

/// Applies every rule that needs no DNS, and returns the URL as it is to be used from here on.
pub fn check_target(input: &str, parser: &dyn ParseUrl, policy: &TargetPolicy) -> Result<UrlParts, TargetRefusal> {
    if input.len() > MAX_URL_BYTES {
        return Err(TargetRefusal::TooLong);
    }
    check_spelling(input)?;
    let parts = parser.parse(input).ok_or(TargetRefusal::Invalid)?;
    // The parser's word is the last one, should it ever differ from the scan of the raw text.
    if !is_web_scheme(&parts.scheme) {
        return Err(TargetRefusal::Scheme(parts.scheme));
    }
    if policy.https_only && parts.scheme != "https" {
        return Err(TargetRefusal::NotHttps);
    }
    if parts.serialized.len() > MAX_URL_BYTES {
        return Err(TargetRefusal::TooLong);
    }
    if parts.has_credentials && !policy.allow_credentials {
        return Err(TargetRefusal::Credentials);
    }
    if !policy.allowed_ports.allows(parts.port) {
        return Err(TargetRefusal::Port(parts.port));
    }
    match &parts.host {
        Host::Name(name) => check_name(name, policy)?,
        Host::V4(address) => check_address(IpAddr::V4(*address), policy)?,
        Host::V6(address) => check_address(IpAddr::V6(*address), policy)?,
    }
    Ok(parts)
}

/// [`check_target`] for a proxy of a caller's: it has credentials of its own, and may have a proxy's port.
pub fn check_proxy_target(input: &str, parser: &dyn ParseUrl, policy: &TargetPolicy) -> Result<String, TargetRefusal> {
    // The port is judged below, by another rule.
    let allowed_ports = match &policy.allowed_ports {
        PortPolicy::Web => PortPolicy::Unprivileged,
        other => other.clone(),
    };
    let parts =
        check_target(input, parser, &TargetPolicy { allow_credentials: true, allowed_ports, ..policy.clone() })?;
    match policy.allowed_ports.allows_proxy(parts.port) {
        true => Ok(parts.serialized),
        false => Err(TargetRefusal::Port(parts.port)),
    }
}

pub(crate) fn is_web_scheme(scheme: &str) -> bool {
    matches!(scheme, "http" | "https")
}

/// The scheme and the absence of backslashes, on the raw text, read as a WHATWG parser reads it: leading controls and
/// spaces are skipped, tabs and line ends dropped wherever they stand.
pub(crate) fn check_spelling(input: &str) -> Result<(), TargetRefusal> {
    let text = input.trim_start_matches(|c: char| c <= ' ');
    let mut characters = text.chars().filter(|c| !matches!(c, '\t' | '\n' | '\r'));
    let mut scheme = String::new();
    loop {
        match characters.next() {
            Some(':') if !scheme.is_empty() => break,
            Some(c) if c.is_ascii_alphabetic() => scheme.push(c.to_ascii_lowercase()),
            Some(c @ ('0'..='9' | '+' | '-')) if !scheme.is_empty() => scheme.push(c),
            // A dot is legal in a scheme, but `example.com:8080` is a forgotten scheme.
            _ => return Err(TargetRefusal::NoScheme),
        }
        if scheme.len() > MAX_SCHEME_BYTES {
            return Err(TargetRefusal::NoScheme);
        }
    }
    if !is_web_scheme(&scheme) {
        return Err(TargetRefusal::Scheme(scheme));
    }
    // WHATWG takes `\` for `/` here, RFC 3986 for part of the host: nobody writes it who means well.
    let mut in_slashes = true;
    for c in characters {
        match c {
            '\\' => return Err(TargetRefusal::Backslash),
            '/' if in_slashes => {}
            '/' | '?' | '#' => break,
            _ => in_slashes = false,
        }
    }
    Ok(())
}

/// A host name in the form that rules compare and resolvers are asked: lower case, without the trailing dot. `None` when
/// it cannot be the name of a host in DNS; that includes whatever a resolver might take for a number.
pub fn canonical_name(name: &str) -> Option<String> {
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    let is_label = |label: &str| {
        matches!(label.len(), 1..=63) && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    let last = name.rsplit('.').next().unwrap_or_default();
    // `getaddrinfo` reads `0x7f.1` as an address, so a name that ends like one is no name.
    let is_number = last.bytes().all(|b| b.is_ascii_digit())
        || last.strip_prefix("0x").is_some_and(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()));
    (name.len() <= 253 && name.split('.').all(is_label) && !is_number).then_some(name)
}

/// Top-level and other suffixes that exist only inside some network or machine.
const LOCAL_SUFFIXES: &[&str] = &[
    "localhost",
    "localdomain",
    "local",
    "internal",
    "intranet",
    "private",
    "corp",
    "home",
    "home.arpa",
    "lan",
    "svc",
    "onion",
];

/// Names of credential services that are not under one of the suffixes above.
const METADATA_NAMES: &[&str] =
    &["metadata.goog", "metadata.tencentyun.com", "metadata.platformequinix.com", "metadata.packet.net"];

/// The rules for a host name. They save a look-up and give a clear answer; the boundary is [`check_address`].
pub fn check_name(name: &str, policy: &TargetPolicy) -> Result<(), TargetRefusal> {
    let name = canonical_name(name).ok_or(TargetRefusal::Name)?;
    let listed = |patterns: &[HostPattern]| patterns.iter().any(|pattern| pattern.matches(&name));
    if listed(&policy.deny_hosts) {
        return Err(TargetRefusal::Name);
    }
    if listed(&policy.allow_hosts) {
        return Ok(());
    }
    let is_under =
        |suffix: &&str| name.strip_suffix(*suffix).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
    // A single label is a neighbour: a container, a search-domain name, a router.
    if !name.contains('.') || LOCAL_SUFFIXES.iter().any(is_under) || METADATA_NAMES.iter().any(is_under) {
        return Err(TargetRefusal::Name);
    }
    Ok(())
}

/// The rule for an address, literal or resolved. Every address of a name has to pass.
pub fn check_address(address: IpAddr, policy: &TargetPolicy) -> Result<(), TargetRefusal> {
    let class = classify(address);
    let listed = |subnets: &[Subnet]| subnets.iter().any(|subnet| subnet.contains(address));
    if listed(&policy.deny_subnets) || !(class.is_public() || listed(&policy.allow_subnets)) {
        return Err(TargetRefusal::Address(class));
    }
    Ok(())
}

#[cfg(test)]
#[cfg(not(target_arch = "wasm32"))]
mod tests;
