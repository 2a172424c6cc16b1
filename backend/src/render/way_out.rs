//! A render's own way out: an egress proxy for its browser context alone, so that its limits and its refusals are those of
//! this render and of no other.

use std::time::{Duration, Instant};

use snaphook_shared::code::Code;
use snaphook_shared::options::model::Options;
use snaphook_shared::target::{Host, NativeUrlParser, ParseUrl, classify};

use crate::domain::failure::Failure;
use crate::domain::refused::{Refused, RefusedFor};
use crate::egress::{self, Egress, EgressProxy, FailedExchange, ProxyLimits, Refusal, Upstream};
use crate::metrics;

/// Entries of a request's record; a page that scans a network need not fill it.
const REFUSED_MAX: usize = 50;

/// What one page may move.
#[derive(Clone, Debug)]
pub struct PageTraffic {
    pub bytes_max: u64,
    pub requests_max: u64,
    pub connections_max: usize,
}

/// Whether the options ask for another way out than everybody's.
pub(super) fn is_own(options: &Options) -> bool {
    options.network.proxy.is_some()
}

/// Opens the way out that the options ask for; without any, everybody's.
pub(super) async fn open(
    egress: &Egress,
    traffic: &PageTraffic,
    options: Option<&Options>,
) -> Result<EgressProxy, Failure> {
    let limits = ProxyLimits {
        max_exchanges: traffic.connections_max,
        max_requests: traffic.requests_max,
        max_bytes: traffic.bytes_max,
        max_total_bytes: traffic.bytes_max,
        ..ProxyLimits::default()
    };
    let upstream = options.map_or(Ok(None), upstream)?;
    EgressProxy::start_with(egress.clone(), limits, upstream)
        .await
        .map_err(|error| Failure::internal(format!("the egress proxy: {error}")))
}

/// The page's own address is judged before the browser hears of it, for an error that says what is wrong.
pub(super) async fn check_target(egress: &Egress, options: &Options) -> Result<(), Failure> {
    let Some(url) = &options.source.url else { return Ok(()) };
    let parts = egress.check_url(url).map_err(|error| Failure::new(Code::TargetNotAllowed, error.to_string()))?;
    if upstream(options)?.is_some_and(|upstream| !upstream.is_bypassed(&parts.host)) {
        // The name is the other proxy's to resolve.
        return Ok(());
    }
    match egress.decide(&parts.host, parts.port).await {
        Ok(_) => Ok(()),
        Err(refusal @ Refusal::NameNotResolved { .. }) => Err(Failure::new(Code::NameNotResolved, refusal.to_string())),
        Err(refusal) => Err(Failure::new(Code::TargetNotAllowed, refusal.to_string())),
    }
}

fn upstream(options: &Options) -> Result<Option<Upstream>, Failure> {
    let network = &options.network;
    let Some(proxy) = &network.proxy else { return Ok(None) };
    Upstream::parse(proxy.expose(), &network.proxy_bypass_hosts)
        .map(Some)
        .ok_or_else(|| Failure::invalid("proxy", "\"proxy\" must be a valid uri"))
}

/// Why the page could not be had, where Chromium only knows that a proxy said no.
pub(super) fn explain(failure: Failure, options: &Options, proxy: &EgressProxy, since: Instant) -> Failure {
    if failure.problem.code != Code::NetworkError {
        return failure;
    }
    let page = options.source.url.as_deref().and_then(|url| NativeUrlParser.parse(url));
    let failures = proxy.failures_since(since);
    let of_page = |failed: &&FailedExchange| page.as_ref().is_some_and(|page| page.host == failed.host);
    // A redirect leads to a host that no option names; then the latest failure is the best witness.
    let Some(failed) = failures.iter().rev().find(of_page).or(failures.last()) else { return failure };
    match failed.failure {
        egress::Failure::Refused => Failure::new(Code::TargetNotAllowed, "the egress proxy refused the page"),
        egress::Failure::NameNotResolved => Failure::new(Code::NameNotResolved, "the name was not resolved"),
        egress::Failure::OverLimit => {
            Failure::new(Code::NetworkError, "the page wanted more traffic than a page may have")
        }
        egress::Failure::ProxyUnreachable => Failure::invalid("proxy", "\"proxy\" cannot be reached"),
        egress::Failure::ProxyDenied => Failure::invalid("proxy", "\"proxy\" refused the user name and password (407)"),
        _ => failure,
    }
}

/// Counts what the page did not get, for the metrics.
pub(super) fn count(proxy: &EgressProxy, since: Instant) {
    for failed in proxy.failures_since(since) {
        metrics::get().egress_refused("page", failed.failure.marker(), failed.count);
    }
}

/// What was kept back, for the request's record.
pub(super) fn refused(proxy: &EgressProxy) -> Vec<Refused> {
    let long_ago = Instant::now().checked_sub(Duration::from_secs(86_400)).unwrap_or_else(Instant::now);
    let mut all: Vec<Refused> = Vec::new();
    for FailedExchange { host, port, failure, count, .. } in proxy.failures_since(long_ago) {
        let reason = match failure {
            egress::Failure::Refused => RefusedFor::Target,
            egress::Failure::OverLimit => RefusedFor::Limit,
            _ => continue,
        };
        let class = host.address().map(|address| classify(address).name().to_owned());
        let name = match &host {
            Host::Name(name) => name.clone(),
            address => address.to_string(),
        };
        if all.len() < REFUSED_MAX {
            all.push(Refused { host: name, port, class, reason, count });
        }
    }
    all
}
