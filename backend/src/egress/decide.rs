//! Decides on one outbound connection: `(host, port)` becomes addresses that may be dialled, or a refusal.
//!
//! A name is resolved once per decision and every address of the answer is judged; one bad address condemns the name,
//! since which of them is dialled would otherwise be for chance, or for the owner of the name, to settle. A [`Decision`]
//! can only be made here, and it dials nothing but what was judged.
//!
//! No answer is kept for the next decision, and no refusal tells the caller what was found inside the network.

use std::collections::HashSet;
use std::error::Error;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use snaphook_shared::target::{
    Host, NativeUrlParser, TargetPolicy, TargetRefusal, UrlParts, canonical_name, check_address, check_name,
    check_target, classify,
};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

const RESOLVE_TIMEOUT: Duration = Duration::from_secs(5);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Addresses tried of one answer. All of it is judged; trying dozens would only be slow.
const MAX_DIALLED: usize = 8;

/// Look-ups at a time; see [`SystemResolver`].
const MAX_LOOKUPS: usize = 64;

/// Where names become addresses; a trait, so that a test can answer what it likes.
#[async_trait]
pub trait ResolveName: Send + Sync {
    /// Every address of `name`, IPv4 and IPv6, in the order in which to try them.
    async fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>>;
}

/// The system's resolver, with `/etc/hosts` and all.
///
/// It blocks a thread, and goes on doing so when nobody waits any more. So the number of look-ups is limited, and a slot is
/// free only when its thread is: a page full of names that never resolve must not take the pool that the rest of the
/// process needs.
#[derive(Debug, Clone)]
pub struct SystemResolver {
    slots: Arc<Semaphore>,
}

impl Default for SystemResolver {
    fn default() -> SystemResolver {
        SystemResolver { slots: Arc::new(Semaphore::new(MAX_LOOKUPS)) }
    }
}

#[async_trait]
impl ResolveName for SystemResolver {
    async fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        let slot = Arc::clone(&self.slots).acquire_owned().await.map_err(io::Error::other)?;
        let name = name.to_owned();
        let lookup = tokio::task::spawn_blocking(move || {
            let _slot = slot;
            (name.as_str(), 0).to_socket_addrs().map(|found| found.map(|address| address.ip()).collect())
        });
        lookup.await.map_err(io::Error::other)?
    }
}

/// Why there is no connection. `Display` is for our own log and may name inner addresses; [`Refusal::external`] is for
/// everybody else.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    #[error("egress refused: {reason}")]
    Refused { reason: String },
    #[error("{name} does not resolve")]
    NameNotResolved { name: String, source: io::Error },
}

impl Refusal {
    pub fn external(&self) -> &'static str {
        match self {
            Refusal::Refused { .. } => "the target is not allowed",
            Refusal::NameNotResolved { .. } => "the host name could not be resolved",
        }
    }

    /// The refusal at the bottom of an HTTP client's error, if that is what stopped the request.
    pub fn find<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a Refusal> {
        let mut next = Some(error);
        while let Some(error) = next {
            if let Some(refusal) = error.downcast_ref() {
                return Some(refusal);
            }
            // An I/O error calls itself what it wraps, and so has only the source of that.
            let wrapped = error.downcast_ref().and_then(io::Error::get_ref);
            next = wrapped.map_or_else(|| error.source(), |wrapped| Some(wrapped));
        }
        None
    }

    fn refused(reason: impl std::fmt::Display) -> Refusal {
        Refusal::Refused { reason: reason.to_string() }
    }
}

/// Judges outbound connections. Clones share everything.
#[derive(Clone)]
pub struct Egress {
    inner: Arc<Inner>,
}

struct Inner {
    policy: TargetPolicy,
    resolver: Arc<dyn ResolveName>,
    own_endpoints: RwLock<HashSet<SocketAddr>>,
    resolve_timeout: Duration,
    connect_timeout: Duration,
}

impl Egress {
    pub fn new(policy: TargetPolicy, resolver: Arc<dyn ResolveName>) -> Egress {
        let inner = Inner {
            policy,
            resolver,
            own_endpoints: RwLock::default(),
            resolve_timeout: RESOLVE_TIMEOUT,
            connect_timeout: CONNECT_TIMEOUT,
        };
        Egress { inner: Arc::new(inner) }
    }

    /// Closes one of our own listeners to everything that goes out by here, whatever the policy allows: a page on a
    /// developer's machine may read `localhost`, but not the DevTools port of the browser that renders it.
    pub fn deny_endpoint(&self, endpoint: SocketAddr) {
        self.inner.own_endpoints.write().unwrap_or_else(PoisonError::into_inner).insert(endpoint);
    }

    /// For a listener that is gone, as its port may be somebody else's next.
    pub fn forget_endpoint(&self, endpoint: SocketAddr) {
        self.inner.own_endpoints.write().unwrap_or_else(PoisonError::into_inner).remove(&endpoint);
    }

    /// All that can be said of a URL without DNS; to be asked first for every URL, and the only check that a literal
    /// address gets when the request goes by [`EgressResolver`].
    pub fn check_url(&self, url: &str) -> Result<UrlParts, TargetRefusal> {
        let policy = &self.inner.policy;
        let parts = check_target(url, &NativeUrlParser, policy)?;
        // The resolver hook is told no port, so it cannot keep a name off one of our listeners. Where names may lead inside
        // at all, those ports are closed to names here.
        let is_refused = match parts.host.address() {
            Some(address) => self.judge(address, Some(parts.port)).is_err(),
            None => !policy.allow_subnets.is_empty() && self.is_own_port(parts.port),
        };
        if is_refused {
            return Err(parts
                .host
                .address()
                .map_or(TargetRefusal::Port(parts.port), |address| TargetRefusal::Address(classify(address))));
        }
        Ok(parts)
    }

    /// May this be dialled, and at which addresses? One look-up at most.
    pub async fn decide(&self, host: &Host, port: u16) -> Result<Decision, Refusal> {
        Egress::check_port(host, port, self.inner.policy.allowed_ports.allows(port))?;
        self.resolve(host, port).await
    }

    /// As [`Egress::decide`], for a proxy of a caller's: those have ports of their own.
    pub async fn decide_proxy(&self, host: &Host, port: u16) -> Result<Decision, Refusal> {
        Egress::check_port(host, port, self.inner.policy.allowed_ports.allows_proxy(port))?;
        self.resolve(host, port).await
    }

    /// All that can be said of a target that somebody else will resolve.
    pub fn decide_unresolved(&self, host: &Host, port: u16) -> Result<(), Refusal> {
        Egress::check_port(host, port, self.inner.policy.allowed_ports.allows(port))?;
        match host.address() {
            Some(address) => self.judge(address, Some(port)).map(|_| ()),
            None => check_name(&host.to_string(), &self.inner.policy)
                .map_err(|refusal| Refusal::refused(format_args!("{host}: {refusal}"))),
        }
    }

    fn check_port(host: &Host, port: u16, is_allowed: bool) -> Result<(), Refusal> {
        match is_allowed {
            true => Ok(()),
            false => Err(Refusal::refused(format_args!("port {port} of {host} is not allowed"))),
        }
    }

    async fn resolve(&self, host: &Host, port: u16) -> Result<Decision, Refusal> {
        let addresses = match host.address() {
            Some(address) => vec![self.judge(address, Some(port))?],
            None => self.addresses_of(&host.to_string(), Some(port)).await?,
        };
        let addresses = addresses.into_iter().take(MAX_DIALLED).map(|address| SocketAddr::new(address, port)).collect();
        Ok(Decision { host: host.clone(), addresses, connect_timeout: self.inner.connect_timeout })
    }

    /// The judged addresses of a name: all of them, or a refusal.
    async fn addresses_of(&self, name: &str, port: Option<u16>) -> Result<Vec<IpAddr>, Refusal> {
        let refused = |refusal: TargetRefusal| Refusal::refused(format_args!("{name}: {refusal}"));
        check_name(name, &self.inner.policy).map_err(refused)?;
        let canonical = canonical_name(name).ok_or(TargetRefusal::Name).map_err(refused)?;
        let found = if canonical == "localhost" || canonical.ends_with(".localhost") {
            // These are loopback by definition (RFC 6761), and few resolvers know the second kind.
            vec![IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)]
        } else {
            let unresolved = |source| Refusal::NameNotResolved { name: canonical.clone(), source };
            let answer = timeout(self.inner.resolve_timeout, self.inner.resolver.resolve(&canonical)).await;
            let found = answer.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())).map_err(unresolved)?;
            if found.is_empty() {
                return Err(unresolved(io::ErrorKind::NotFound.into()));
            }
            found
        };
        let judged: Result<Vec<IpAddr>, Refusal> = found.into_iter().map(|address| self.judge(address, port)).collect();
        judged.map_err(|refusal| Refusal::refused(format_args!("{canonical}: {refusal}")))
    }

    /// One address, unmapped as it will be dialled. Without a port our own listeners cannot be told apart.
    fn judge(&self, address: IpAddr, port: Option<u16>) -> Result<IpAddr, Refusal> {
        let address = address.to_canonical();
        let policy = &self.inner.policy;
        check_address(address, policy)
            .map_err(|refusal| Refusal::refused(format_args!("{address} is no place to go: {refusal:?}")))?;
        // What listens on this machine may be shielded by a firewall that looks only at what comes from outside.
        let is_own = is_own_address(address);
        if is_own && !policy.allow_subnets.iter().any(|subnet| subnet.contains(address)) {
            return Err(Refusal::refused(format_args!("{address} belongs to this machine")));
        }
        let endpoints = self.inner.own_endpoints.read().unwrap_or_else(PoisonError::into_inner);
        let is_endpoint = |endpoint: &SocketAddr| {
            let ip = endpoint.ip().to_canonical();
            let is_reached = ip == address || (is_own && (ip.is_unspecified() || ip.is_loopback()));
            port == Some(endpoint.port()) && is_reached
        };
        if endpoints.iter().any(is_endpoint) {
            return Err(Refusal::refused(format_args!("{address} port {port:?} is a listener of our own")));
        }
        Ok(address)
    }

    fn is_own_port(&self, port: u16) -> bool {
        let endpoints = self.inner.own_endpoints.read().unwrap_or_else(PoisonError::into_inner);
        endpoints.iter().any(|endpoint| endpoint.port() == port)
    }
}

impl std::fmt::Debug for Egress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Egress").field("policy", &self.inner.policy).finish_non_exhaustive()
    }
}

/// Is this an address of one of our interfaces? The kernel knows: the source it picks for a packet to oneself is oneself.
/// Connecting a UDP socket sends nothing. An address without a route is not ours.
fn is_own_address(address: IpAddr) -> bool {
    if address.is_loopback() || address.is_unspecified() {
        return true;
    }
    let any = match address {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let source = UdpSocket::bind((any, 0)).and_then(|socket| {
        socket.connect((address, 9))?;
        socket.local_addr()
    });
    source.is_ok_and(|source| source.ip() == address)
}

/// Leave to connect, to these addresses only. There is no other way to make one than [`Egress::decide`].
#[derive(Debug, Clone)]
pub struct Decision {
    host: Host,
    addresses: Vec<SocketAddr>,
    connect_timeout: Duration,
}

impl Decision {
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// In the order in which they are tried.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Connects to the first address that answers. The time is shared out among those left, so that a dead first one
    /// leaves some for the next.
    pub async fn dial(&self) -> io::Result<TcpStream> {
        let end = Instant::now() + self.connect_timeout;
        let mut failure = io::Error::from(io::ErrorKind::AddrNotAvailable);
        for (address, left) in self.addresses.iter().zip((1..=self.addresses.len()).rev()) {
            let share = end.saturating_duration_since(Instant::now()) / u32::try_from(left).unwrap_or(u32::MAX);
            match timeout(share, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => {
                    stream.set_nodelay(true)?;
                    return Ok(stream);
                }
                Ok(Err(error)) => failure = error,
                Err(_) => failure = io::ErrorKind::TimedOut.into(),
            }
        }
        Err(failure)
    }
}

/// The same decision, as the resolver of a `reqwest` client.
///
/// A URL with a literal address never gets here, since there is nothing to resolve: call [`Egress::check_url`] on every
/// URL before the request. The client must not follow redirects (the next URL would not be checked) nor use a proxy.
#[derive(Debug, Clone)]
pub struct EgressResolver {
    egress: Egress,
}

impl EgressResolver {
    pub fn new(egress: Egress) -> EgressResolver {
        EgressResolver { egress }
    }
}

impl reqwest::dns::Resolve for EgressResolver {
    fn resolve(&self, name: reqwest::dns::Name) -> reqwest::dns::Resolving {
        let egress = self.egress.clone();
        Box::pin(async move {
            let addresses = egress.addresses_of(name.as_str(), None).await?;
            // Port 0 stands for the port of the URL.
            let addresses = addresses.into_iter().take(MAX_DIALLED).map(|address| SocketAddr::new(address, 0));
            Ok(Box::new(addresses) as reqwest::dns::Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::FakeResolver;
    use super::*;

    fn name(text: &str) -> Host {
        Host::Name(text.to_owned())
    }

    fn address(text: &str) -> Host {
        Host::V4(text.parse().unwrap())
    }

    fn is_refused<T>(result: &Result<T, Refusal>) -> bool {
        matches!(result, Err(Refusal::Refused { .. }))
    }

    fn zone() -> Arc<FakeResolver> {
        FakeResolver::new(&[
            ("example.com", &["93.184.216.34 2606:2800:220:1::1"]),
            ("private.example", &["10.0.0.5"]),
            ("mixed.example", &["93.184.216.34 10.0.0.5"]),
            ("mixed6.example", &["93.184.216.34 fd00::1"]),
            ("mapped.example", &["::ffff:10.0.0.5"]),
            ("mapped-public.example", &["::ffff:93.184.216.34"]),
            ("metadata.example", &["169.254.169.254"]),
            ("azure.example", &["168.63.129.16"]),
            ("loopback.example", &["127.0.0.1"]),
            ("two.example", &["127.0.0.2 127.0.0.1"]),
            ("empty.example", &[""]),
            ("rebind.example", &["93.184.216.34", "10.0.0.5"]),
        ])
    }

    /// One that waits for nobody for long.
    fn hurried(policy: TargetPolicy, resolver: Arc<dyn ResolveName>) -> Egress {
        let mut inner = Arc::into_inner(Egress::new(policy, resolver).inner).unwrap();
        (inner.resolve_timeout, inner.connect_timeout) = (Duration::from_millis(20), Duration::from_millis(400));
        Egress { inner: Arc::new(inner) }
    }

    /// A listener that does not accept and has no room for who waits: the kernel does not answer the next one at all.
    async fn silent_listener(address: SocketAddr) -> (SocketAddr, tokio::net::TcpListener, Vec<TcpStream>) {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(address).unwrap();
        let listener = socket.listen(0).unwrap();
        let (address, mut waiting) = (listener.local_addr().unwrap(), Vec::new());
        while let Ok(stream) = timeout(Duration::from_millis(200), TcpStream::connect(address)).await {
            waiting.push(stream.unwrap());
        }
        (address, listener, waiting)
    }

    #[test]
    fn nobody_is_waited_for_longer_than_was_said() {
        let egress = Egress::new(TargetPolicy::default(), zone());
        assert_eq!(egress.inner.resolve_timeout, Duration::from_secs(5));
        assert_eq!(egress.inner.connect_timeout, Duration::from_secs(10));
    }

    #[tokio::test]
    async fn a_dial_that_hangs_has_an_end_and_leaves_time_for_the_next_address() {
        let egress = hurried(TargetPolicy::development(), zone());
        // The first address of `two.example`; the other is that of `loopback.example`.
        let (address, _silent, _waiting) = silent_listener("127.0.0.2:0".parse().unwrap()).await;
        let both = egress.decide(&name("two.example"), address.port()).await.unwrap();
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", address.port())).await.unwrap();
        let began = Instant::now();
        let stream = both.dial().await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), listener.local_addr().unwrap());
        assert!(began.elapsed() >= Duration::from_millis(200), "the first had its half: {:?}", began.elapsed());

        let one = egress.decide(&Host::V4([127, 0, 0, 2].into()), address.port()).await.unwrap();
        let began = Instant::now();
        assert_eq!(one.dial().await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        let took = began.elapsed();
        assert!(took >= Duration::from_millis(400) && took < Duration::from_secs(5), "{took:?}");
    }

    fn public() -> (Egress, Arc<FakeResolver>) {
        let resolver = zone();
        (Egress::new(TargetPolicy::default(), resolver.clone()), resolver)
    }

    #[tokio::test]
    async fn a_public_name_gives_all_its_addresses_at_the_port() {
        let (egress, resolver) = public();
        let decision = egress.decide(&name("EXAMPLE.com."), 443).await.unwrap();
        let expected = ["93.184.216.34:443".parse().unwrap(), "[2606:2800:220:1::1]:443".parse().unwrap()];
        assert_eq!(decision.addresses(), expected);
        assert_eq!(decision.host(), &name("EXAMPLE.com."));
        assert_eq!(resolver.asked("example.com"), 1);
        let decision = egress.decide(&name("mapped-public.example"), 80).await.unwrap();
        assert_eq!(decision.addresses(), ["93.184.216.34:80".parse().unwrap()], "dialled as it was judged: unmapped");
    }

    #[tokio::test]
    async fn one_bad_address_condemns_the_name() {
        let (egress, _) = public();
        for bad in ["private", "mixed", "mixed6", "mapped", "metadata", "azure", "loopback", "two"] {
            let decision = egress.decide(&name(&format!("{bad}.example")), 80).await;
            assert!(is_refused(&decision), "{bad}: {decision:?}");
        }
    }

    #[tokio::test]
    async fn names_and_ports_are_refused_before_dns() {
        let (egress, resolver) = public();
        for bad in ["localhost", "x.localhost", "printer", "nas.local", "metadata.google.internal", "0x7f.1", "a b"] {
            assert!(is_refused(&egress.decide(&name(bad), 80).await), "{bad}");
        }
        for port in [0, 22, 25, 6379] {
            assert!(is_refused(&egress.decide(&name("example.com"), port).await), "{port}");
        }
        assert_eq!(resolver.total(), 0);
    }

    #[tokio::test]
    async fn literals_are_judged_without_dns() {
        let (egress, resolver) = public();
        for bad in ["127.0.0.1", "10.0.0.5", "169.254.169.254", "0.0.0.0", "168.63.129.16"] {
            assert!(is_refused(&egress.decide(&address(bad), 80).await), "{bad}");
        }
        for bad in ["::1", "::", "::ffff:10.0.0.5", "fd00::1", "64:ff9b::808:808"] {
            assert!(is_refused(&egress.decide(&Host::V6(bad.parse().unwrap()), 80).await), "{bad}");
        }
        assert!(egress.decide(&address("1.1.1.1"), 443).await.is_ok());
        assert_eq!(resolver.total(), 0);
    }

    #[tokio::test]
    async fn a_rebinding_name_is_pinned_and_then_refused() {
        let (egress, resolver) = public();
        let first = egress.decide(&name("rebind.example"), 80).await.unwrap();
        assert_eq!(resolver.asked("rebind.example"), 1);
        assert!(is_refused(&egress.decide(&name("rebind.example"), 80).await));
        assert_eq!(first.addresses(), ["93.184.216.34:80".parse().unwrap()], "what was decided stays decided");
        assert_eq!(resolver.asked("rebind.example"), 2);
    }

    #[tokio::test]
    async fn names_that_do_not_resolve() {
        struct Hangs;
        #[async_trait]
        impl ResolveName for Hangs {
            async fn resolve(&self, _: &str) -> io::Result<Vec<IpAddr>> {
                std::future::pending().await
            }
        }
        let (egress, _) = public();
        for unknown in ["nxdomain.example", "empty.example"] {
            let decision = egress.decide(&name(unknown), 80).await;
            assert!(matches!(decision, Err(Refusal::NameNotResolved { .. })), "{unknown}: {decision:?}");
        }
        let hanging = hurried(TargetPolicy::default(), Arc::new(Hangs)).decide(&name("example.com"), 80).await;
        let is_late = |source: &io::Error| source.kind() == io::ErrorKind::TimedOut;
        assert!(matches!(hanging, Err(Refusal::NameNotResolved { source, .. }) if is_late(&source)));
    }

    #[tokio::test]
    async fn what_is_told_outside_names_nothing_inside() {
        let (egress, _) = public();
        let refusal = egress.decide(&name("private.example"), 80).await.unwrap_err();
        assert!(refusal.to_string().contains("10.0.0.5"), "{refusal}");
        assert_eq!(refusal.external(), egress.decide(&name("metadata.example"), 80).await.unwrap_err().external());
        assert_eq!(refusal.external(), egress.decide(&name("localhost"), 80).await.unwrap_err().external());
        let wrapped = io::Error::other(io::Error::other(refusal));
        assert!(matches!(Refusal::find(&wrapped), Some(Refusal::Refused { .. })));
        assert!(Refusal::find(&io::Error::other("else")).is_none());
    }

    #[tokio::test]
    async fn development_reaches_loopback_but_none_of_our_listeners() {
        let resolver = zone();
        let egress = Egress::new(TargetPolicy::development(), resolver.clone());
        let devtools: SocketAddr = "127.0.0.1:9222".parse().unwrap();
        let internal: SocketAddr = "0.0.0.0:7070".parse().unwrap();
        egress.deny_endpoint(devtools);
        egress.deny_endpoint(internal);

        let decision = egress.decide(&name("app.localhost"), 3000).await.unwrap();
        assert_eq!(decision.addresses(), ["127.0.0.1:3000".parse().unwrap(), "[::1]:3000".parse().unwrap()]);
        assert_eq!(resolver.total(), 0, "localhost is nothing to ask DNS about");
        assert!(egress.decide(&name("loopback.example"), 3000).await.is_ok());
        assert!(is_refused(&egress.decide(&name("private.example"), 3000).await));

        for port in [9222, 7070] {
            for host in [name("localhost"), name("loopback.example"), address("127.0.0.1"), address("127.9.9.9")] {
                assert!(is_refused(&egress.decide(&host, port).await), "{host}:{port}");
            }
            let mapped = Host::V6("::ffff:127.0.0.1".parse().unwrap());
            assert!(is_refused(&egress.decide(&mapped, port).await));
            for url in ["http://localhost", "http://127.0.0.1", "http://loopback.example"] {
                assert!(egress.check_url(&format!("{url}:{port}/")).is_err(), "{url}:{port}");
            }
        }
        assert!(egress.check_url("http://localhost:3000/").is_ok());
        egress.forget_endpoint(devtools);
        assert!(egress.decide(&name("localhost"), 9222).await.is_ok());
    }

    #[tokio::test]
    async fn addresses_of_this_machine_are_not_public() {
        assert!(is_own_address("127.0.0.1".parse().unwrap()));
        assert!(is_own_address("::1".parse().unwrap()));
        assert!(!is_own_address("192.0.2.1".parse().unwrap()));
        assert!(!is_own_address("2001:db8::1".parse().unwrap()));
        // Whatever interface this machine has, if it has one.
        let outward = UdpSocket::bind("0.0.0.0:0").and_then(|s| s.connect("192.0.2.1:9").and_then(|()| s.local_addr()));
        if let Ok(outward) = outward {
            assert!(is_own_address(outward.ip()));
        }
    }

    #[tokio::test]
    async fn urls_are_checked_without_dns() {
        let (egress, resolver) = public();
        assert_eq!(egress.check_url("https://EXAMPLE.com/a").unwrap().serialized, "https://example.com/a");
        for bad in
            ["http://0x7f.1/", "http://[::1]/", "file:///etc/passwd", "http://localhost/", "http://example.com:22/"]
        {
            assert!(egress.check_url(bad).is_err(), "{bad}");
        }
        assert_eq!(resolver.total(), 0);
    }

    #[tokio::test]
    async fn dial_takes_the_first_address_that_answers() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let resolver = zone();
        let egress = Egress::new(TargetPolicy::development(), resolver.clone());
        let decision = egress.decide(&name("two.example"), port).await.unwrap();
        let stream = decision.dial().await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), listener.local_addr().unwrap());
        assert_eq!(resolver.total(), 1, "dialling asks nobody");
        drop(listener);
        assert_eq!(decision.dial().await.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    }

    #[tokio::test]
    async fn the_resolver_hook_decides_the_same() {
        use reqwest::dns::Resolve;
        let (egress, _) = public();
        let hook = EgressResolver::new(egress);
        let resolve = |text: &str| hook.resolve(text.parse().unwrap());
        let addresses: Vec<_> = resolve("example.com").await.ok().unwrap().collect();
        assert_eq!(addresses, ["93.184.216.34:0".parse().unwrap(), "[2606:2800:220:1::1]:0".parse().unwrap()]);
        for bad in ["mixed.example", "localhost", "nxdomain.example"] {
            let error = resolve(bad).await.err().unwrap();
            assert!(Refusal::find(error.as_ref()).is_some(), "{bad}");
        }
    }

    #[tokio::test]
    async fn the_system_resolver_knows_this_machine() {
        let found = SystemResolver::default().resolve("localhost").await.unwrap();
        assert!(!found.is_empty() && found.iter().all(IpAddr::is_loopback));
    }

    #[tokio::test]
    async fn a_decision_takes_less_than_a_millisecond_besides_dns() {
        let (egress, _) = public();
        let hosts = [name("example.com"), name("private.example"), address("8.8.8.8"), address("10.0.0.5")];
        // A machine that is busy with something else may spoil one round, and not all of them.
        let mut slowest = Vec::new();
        for _ in 0..5 {
            let mut times = Vec::new();
            for host in hosts.iter().cycle().take(1_000) {
                let began = std::time::Instant::now();
                let _ = egress.decide(host, 443).await;
                times.push(began.elapsed());
            }
            times.sort();
            slowest.push(times[990]);
        }
        let best = slowest.iter().min().unwrap();
        assert!(*best < Duration::from_millis(1), "p99 of five rounds: {slowest:?}");
    }
}
