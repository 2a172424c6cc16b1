//! The addresses that a service listens at, bound before anything else: what cannot be bound is told at once.

use std::net::SocketAddr;
use std::time::Duration;

use super::StartError;
use crate::config::{Config, Role, Roles};
use crate::http::{Limits, Server};

pub(super) struct Listeners {
    pub(super) api: Option<Server>,
    pub(super) api_address: Option<SocketAddr>,
    /// If it has one of its own.
    pub(super) dashboard: Option<Server>,
    pub(super) dashboard_address: Option<SocketAddr>,
    pub(super) operations: Server,
    pub(super) operations_address: SocketAddr,
}

impl Listeners {
    /// Those that the roles need.
    pub(super) async fn bind(config: &Config, roles: &Roles) -> Result<Listeners, StartError> {
        let limits = Limits {
            headers: Duration::from_secs(config.http.header_timeout_seconds),
            drain: Duration::from_secs(config.http.drain_seconds),
        };
        let bind = async |address: SocketAddr| {
            let failed = |source| StartError::Listen { address, source };
            let server = Server::bind(address, limits).await.map_err(failed)?;
            let bound = server.address().map_err(failed)?;
            Ok::<_, StartError>((server, bound))
        };
        let bind_if_wanted = async |address: Option<SocketAddr>| match address.filter(|_| roles.has(Role::Api)) {
            Some(address) => bind(address).await.map(|(server, bound)| (Some(server), Some(bound))),
            None => Ok((None, None)),
        };
        let (api, api_address) = bind_if_wanted(Some(config.http.listen)).await?;
        let (operations, operations_address) = bind(config.http.operations_listen).await?;
        let (dashboard, dashboard_address) = bind_if_wanted(config.dashboard_listen()).await?;
        Ok(Listeners { api, api_address, dashboard, dashboard_address, operations, operations_address })
    }

    /// Where no page may go, whatever is allowed.
    pub(super) fn closed_to_pages(&self) -> Vec<SocketAddr> {
        [self.operations_address].into_iter().chain(self.dashboard_address).collect()
    }
}
