//! What each role consists of, made of the few things that all of them share.

use std::sync::Arc;
use std::time::Duration;

use snaphook_shared::request::Policies;

use super::StartError;
use super::listeners::Listeners;
use super::operations::{Disk, Operations};
use super::places::places;
use crate::clock::Clock;
use crate::config::Config;
use crate::dashboard::{self, Dashboard};
use crate::disk::LastLook;
use crate::domain::notice::Links;
use crate::domain::operator::random_text;
use crate::domain::pipeline::Pipeline;
use crate::egress::Egress;
use crate::http::{Api, Flights, Routes, Waiting, dashboard_routes, routes};
use crate::notify::{Sender, WebhookClient, build_client};
use crate::queue::{Bells, Queue};
use crate::render::ChromiumRenderer;
use crate::schedule::Scheduler;
use crate::store::{Store, Uploader};
use crate::sweep::Sweeper;
use crate::worker::Worker;

pub(super) struct Parts {
    pub(super) config: Config,
    pub(super) queue: Arc<dyn Queue>,
    pub(super) store: Arc<Store>,
    pub(super) clock: Clock,
    pub(super) links: Links,
    pub(super) egress: Egress,
    pub(super) policies: Policies,
    pub(super) bells: Bells,
    pub(super) disk: LastLook,
}

/// What the role `api` serves.
pub(super) struct ApiRoutes {
    pub(super) api: Routes,
    /// What the dashboard's own listener serves, if it has one.
    pub(super) dashboard: Option<Routes>,
    /// Where the dashboard is, if there is one.
    pub(super) url: Option<String>,
}

impl Parts {
    pub(super) fn watch(&self, renderer: Option<Arc<ChromiumRenderer>>) -> Operations {
        let sandbox = !self.config.render.allow_no_sandbox;
        let disk = Disk {
            last: self.disk.clone(),
            data_dir: self.config.data_dir.clone(),
            free_min: self.config.disk_free_min(),
        };
        Operations::new(renderer, self.queue.clone(), self.clock.clone(), sandbox, disk)
    }

    pub(super) fn pipeline(&self, renderer: Arc<ChromiumRenderer>) -> Result<Pipeline, StartError> {
        Ok(Pipeline {
            renderer,
            store: self.store.clone(),
            queue: self.queue.clone(),
            clock: self.clock.clone(),
            links: self.links.clone(),
            file_lifetime: Duration::from_secs(self.config.store.file_lifetime_seconds),
            uploads: Arc::new(Uploader::new(self.egress.clone(), build_client(&self.egress)?)),
        })
    }

    /// Also makes the first password of the dashboard.
    pub(super) async fn api(
        &self,
        listeners: &Listeners,
        renderer: &ChromiumRenderer,
        pipeline: Arc<Pipeline>,
        watch: Arc<Operations>,
    ) -> Result<ApiRoutes, StartError> {
        if self.queue.keys().await?.is_empty() {
            tracing::warn!("there is no access key yet, so nobody can call: snaphook keys create, or keys import");
        }
        let config = &self.config;
        let api = Arc::new(Api {
            pipeline,
            queue: self.queue.clone(),
            tasks: self.queue.clone(),
            store: self.store.clone(),
            disk: self.disk.clone(),
            clock: self.clock.clone(),
            links: self.links.clone(),
            policies: self.policies.clone(),
            edge_secrets: config.edge_secrets(),
            screenshotone_async_status: config.compat.screenshotone_async_status,
            body_timeout: Duration::from_secs(config.http.body_timeout_seconds),
            makes_videos: renderer.makes_videos(),
            waiting: Waiting::new(config.render.waiting_max + config.sizing().concurrency),
            flights: Flights::default(),
            requests: self.bells.requests.clone(),
            deliveries: self.bells.deliveries.clone(),
        });
        if !config.dashboard.enabled {
            return Ok(ApiRoutes { api: routes(api, None), dashboard: None, url: None });
        }
        let own = listeners.dashboard_address;
        let url = match own {
            Some(address) => format!("http://{address}/dashboard"),
            None => format!("{}/dashboard", self.links.public_url),
        };
        dashboard::make_first_password(&*self.queue, self.clock.now_ms(), &url).await?;
        let pages = Arc::new(Dashboard::new(dashboard::Parts {
            queue: self.queue.clone(),
            operator: self.queue.clone(),
            admins: self.queue.clone(),
            readiness: watch,
            trials: api.clone(),
            clock: self.clock.clone(),
            links: self.links.clone(),
            places: places(config),
            disk: self.disk.clone(),
            // A listener of its own speaks plain HTTP, whatever the callers' address is.
            secure: own.is_none() && self.links.public_url.starts_with("https://"),
            requests: self.bells.requests.clone(),
            deliveries: self.bells.deliveries.clone(),
            session_lifetime: Duration::from_secs(config.dashboard.session_seconds),
            session_idle: Duration::from_secs(config.dashboard.session_idle_seconds),
        }));
        // A listener of its own has the pages, or that of the API.
        let (dashboard, pages) = match own {
            Some(_) => (Some(dashboard_routes(pages, api.clone())), None),
            None => (None, Some(pages)),
        };
        Ok(ApiRoutes { api: routes(api, pages), dashboard, url: Some(url) })
    }

    /// One for each page that may be open at once.
    pub(super) fn workers(&self, pipeline: &Arc<Pipeline>) -> Result<Vec<Worker>, StartError> {
        // Others may have the same process id and the same start, in containers of their own.
        let service = random_text(9)?;
        let lookout = Arc::default();
        let worker = |number| Worker {
            name: format!("{service}-{number}"),
            pipeline: pipeline.clone(),
            clock: self.clock.clone(),
            lease: Duration::from_secs(self.config.queue.lease_seconds),
            requests: self.bells.requests.clone(),
            lookout: Arc::clone(&lookout),
            deliveries: self.bells.deliveries.clone(),
        };
        Ok((0..self.config.sizing().concurrency).map(worker).collect())
    }

    pub(super) fn sender(&self) -> Result<Arc<Sender>, StartError> {
        let webhook = &self.config.webhook;
        Ok(Arc::new(Sender {
            queue: self.queue.clone(),
            store: self.store.clone(),
            client: WebhookClient::new(self.egress.clone())?,
            clock: self.clock.clone(),
            schedule_seconds: webhook.schedule_seconds.clone(),
            timeout: Duration::from_secs(webhook.timeout_seconds),
            concurrency: webhook.concurrency,
            per_receiver: webhook.per_receiver_concurrency,
            wake: self.bells.deliveries.clone(),
        }))
    }

    pub(super) fn sweeper(&self) -> Sweeper {
        Sweeper {
            queue: self.queue.clone(),
            store: self.store.clone(),
            clock: self.clock.clone(),
            request_lifetime: Duration::from_secs(self.config.queue.request_lifetime_seconds),
        }
    }

    pub(super) fn scheduler(&self) -> Scheduler {
        Scheduler {
            tasks: self.queue.clone(),
            clock: self.clock.clone(),
            policies: self.policies.clone(),
            requests: self.bells.requests.clone(),
            disk: self.disk.clone(),
        }
    }
}
