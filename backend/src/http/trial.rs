//! What the operator tries out in the dashboard, on the way of a caller who waits for the answer.

use std::time::Instant;

use async_trait::async_trait;
use snaphook_shared::code::Problem;
use snaphook_shared::request::RawRequest;
use tracing::Instrument;

use super::{Api, render};
use crate::domain::trial::{Trial, Trials};

#[async_trait]
impl Trials for Api {
    async fn check(&self, raw: RawRequest) -> Result<(), Problem> {
        render::admit(self, raw, self.clock.now_s()).await.map(drop)
    }

    async fn run(&self, raw: RawRequest) -> Trial {
        let id = render::new_id(self);
        let span = tracing::error_span!("render", request = id, tried_by = "operator");
        run(self, raw, id).instrument(span).await.unwrap_or_else(Trial::Refused)
    }
}

async fn run(api: &Api, raw: RawRequest, id: String) -> Result<Trial, Problem> {
    let checked = render::admit(api, raw, api.clock.now_s()).await?;
    if checked.options.delivery.asynchronous {
        let (id, _) = render::enqueue(api, render::new_request(api, checked, &id)).await?;
        return Ok(Trial::Accepted { id });
    }
    let _place = render::place(api, &checked.access_key)?;
    let _under_way = render::begin(api, &checked.access_key).await?;
    let started = Instant::now();
    let request = render::new_request(api, checked, &id);
    let finished = api.pipeline.render_now(&request, true).await;
    let finished = api.pipeline.record(request, finished).await;
    api.deliveries.notify_one();
    let took_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    Ok(match finished {
        Ok(rendered) => Trial::Rendered { id, rendered: Box::new(rendered), took_ms },
        Err(failure) => Trial::Failed { id, problem: failure.problem, took_ms },
    })
}
