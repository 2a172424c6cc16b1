//! Signing in and out. Every failure gets the same answer, and tries are paced.

use std::net::IpAddr;

use http::StatusCode;
use maud::html;
use snaphook_shared::options::fields::Fields;
use snaphook_shared::secret::Secret;

use super::answer::{self, Answer, Result};
use super::html::{Frame, layout};
use super::session::Open;
use super::{Call, Dashboard};

/// The page of the form. `error` says why it is shown again.
pub(super) fn form(dashboard: &Dashboard, status: StatusCode, error: Option<&str>) -> Answer {
    let frame = Frame::new(None, "", dashboard.clock.now_ms());
    let body = html! {
        div .login {
            h1 { span .mark aria-hidden="true" {} "snaphook" }
            form method="post" action="/dashboard/login" {
                label { span { "Password" }
                    input type="password" name="password" autocomplete="current-password" required autofocus
                        maxlength="256" aria-invalid=[error.map(|_| "true")] aria-describedby=[error.map(|_| "error")];
                }
                @if let Some(error) = error { p #error .error role="alert" { (error) } }
                button type="submit" .primary { "Sign in" }
            }
            p .hint { "The first start has shown the password. Another one: " code { "snaphook admin reset-password" } }
        }
    };
    answer::page(status, layout(&frame, "Sign in", body))
}

pub(super) async fn sign_in(dashboard: &Dashboard, call: &Call) -> Result {
    let now_ms = dashboard.clock.now_ms();
    if let Err(seconds) = dashboard.throttle.enter(call.peer, now_ms) {
        return Ok(later(dashboard, seconds));
    }
    let given = Fields::from_query(&call.form()).take("password").map(Secret::new);
    let hash = dashboard.admins.password_hash().await?;
    let given = given.unwrap_or_else(|| Secret::new(""));
    let Ok(is_right) = dashboard.checker.check(given, hash.clone()).await else { return Ok(later(dashboard, 2)) };
    let cookie = match hash.filter(|_| is_right) {
        Some(hash) => dashboard.sessions.begin(hash).await?,
        None => None,
    };
    let Some(cookie) = cookie else {
        tracing::warn!(from = %from(call.peer), "a sign-in to the dashboard failed");
        return Ok(form(dashboard, StatusCode::UNAUTHORIZED, Some("That is not the password.")));
    };
    dashboard.throttle.succeeded(call.peer);
    tracing::info!(from = %from(call.peer), "signed in to the dashboard");
    let mut answer = answer::see("/dashboard/requests");
    answer::set(&mut answer, "set-cookie", &cookie);
    Ok(answer)
}

pub(super) async fn sign_out(dashboard: &Dashboard, session: &Open) -> Result {
    let cookie = dashboard.sessions.end(session).await?;
    let mut answer = answer::see("/dashboard/login");
    answer::set(&mut answer, "set-cookie", &cookie);
    Ok(answer)
}

fn later(dashboard: &Dashboard, seconds: u64) -> Answer {
    let error = format!("Too many tries. The next one is possible in {seconds} s.");
    let mut answer = form(dashboard, StatusCode::TOO_MANY_REQUESTS, Some(&error));
    answer::set(&mut answer, "retry-after", &seconds.to_string());
    answer
}

fn from(peer: Option<IpAddr>) -> String {
    peer.map_or_else(|| "somewhere".to_owned(), |peer| peer.to_string())
}
