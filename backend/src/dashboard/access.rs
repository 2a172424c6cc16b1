//! Who may call: keys made, imported, limited, rotated, revoked. A secret is shown once, in the answer to the form that made
//! it, which no browser keeps.

use http::StatusCode;
use maud::{Markup, html};
use snaphook_shared::key::{KeyLimits, is_access_key, is_secret_key};
use snaphook_shared::limits::SECRET_KEY_CHARACTERS_MAX;
use snaphook_shared::options::fields::Fields;
use snaphook_shared::secret::Secret;
use snaphook_shared::signing::standard_webhook_secret;

use super::answer::{self, Refusal, Result};
use super::html::{Frame, badge, input, layout, maybe_time, number, said, time};
use super::{Dashboard, filled};
use crate::domain::operator::{KeySummary, NewKey, Rotation, new_access_key, new_secret};

const NAME_CHARACTERS_MAX: usize = 200;
/// A year.
const OVERLAP_HOURS_MAX: u64 = 366 * 24;

pub(super) async fn list(dashboard: &Dashboard, frame: &Frame, fields: &mut Fields) -> Result {
    let keys = dashboard.operator.keys().await?;
    let notice = (fields.take("said").as_deref() == Some("imported")).then_some("The key is imported.");
    let body = html! {
        h1 { "Access" }
        (said(notice))
        @if keys.is_empty() {
            p .empty { "There is no key yet, so nobody can call." }
        } @else {
            (table(&keys))
        }
        div .columns {
            section {
                h2 { "Create a key" }
                form method="post" action="/dashboard/access/create" .stack {
                    (frame.token())
                    (input("name", "What it is for", "text", ""))
                    (limit_inputs(KeyLimits::default()))
                    (signing_box(false))
                    button type="submit" .primary { "Create" }
                }
            }
            section {
                h2 { "Import a pair" }
                p .sub { "From a vendor or another installation. Your callers keep their keys." }
                form method="post" action="/dashboard/access/import" .stack {
                    (frame.token())
                    (input("access_key", "Access key", "text", ""))
                    (input("secret_key", "Secret key", "password", ""))
                    (input("name", "What it is for", "text", ""))
                    (signing_box(false))
                    button type="submit" { "Import" }
                }
            }
        }
    };
    Ok(answer::page(StatusCode::OK, layout(frame, "Access", body)))
}

fn table(keys: &[KeySummary]) -> Markup {
    html! {
        table .list {
            caption .hidden { "Keys" }
            thead { tr {
                th scope="col" { "State" }
                th scope="col" { "Key" }
                th scope="col" { "Month" }
                th scope="col" { "Minute" }
                th scope="col" { "At once" }
                th scope="col" { "Created" }
            } }
            tbody {
                @for key in keys {
                    tr {
                        td { (state(key)) }
                        td .wide {
                            a .target .id href={ "/dashboard/access/" (key.access_key) } { (key.access_key) }
                            span .sub { (key.name) @if key.require_signed { @if !key.name.is_empty() { " · " } "signed links only" } }
                        }
                        td .figure data-label="Month" { (limit(key.limits.monthly_quota)) }
                        td .figure data-label="Minute" { (limit(key.limits.requests_per_minute)) }
                        td .figure data-label="At once" { (limit(key.limits.concurrency)) }
                        td data-label="Created" { (time(key.created_ms)) }
                    }
                }
            }
        }
    }
}

fn state(key: &KeySummary) -> Markup {
    badge(if key.revoked_ms.is_some() { "revoked" } else { "live" })
}

fn limit(limit: Option<u64>) -> Markup {
    html! { @match limit { Some(limit) => (number(limit)), None => span .none { "unlimited" } } }
}

pub(super) async fn show(dashboard: &Dashboard, frame: &Frame, access_key: &str, fields: &mut Fields) -> Result {
    let key = find(dashboard, access_key).await?;
    let usage = dashboard.queue.usage(access_key, frame.now_ms).await?;
    let notice = match fields.take("said").as_deref() {
        Some("limited") => Some("The limits hold from the next request on."),
        Some("signing") => Some("The rule for links holds from the next request on."),
        Some("revoked") => Some("The key is revoked."),
        _ => None,
    };
    let path = |action: &str| format!("/dashboard/access/{access_key}/{action}");
    let body = html! {
        p .crumbs { a href="/dashboard/access" { "Access" } " / " span .id { (access_key) } }
        (said(notice))
        div .title {
            h1 { (state(&key)) " " span .heading .id { (access_key) } }
            div .actions { a .button href={ "/dashboard/requests?key=" (access_key) } { "Its requests" } }
        }
        section {
            dl .facts {
                dt { "For" } dd { @if key.name.is_empty() { span .none { "–" } } @else { (key.name) } }
                dt { "This month" } dd { (number(usage.rendered)) " rendered, " (number(usage.unfinished)) " not finished" }
                dt { "Links" } dd { @if key.require_signed { "signed only" } @else { "signed or not" } }
                dt { "Created" } dd { (time(key.created_ms)) }
                dt { "Old secret good until" } dd { (maybe_time(key.previous_until_ms.filter(|until_ms| *until_ms > frame.now_ms))) }
                @if let Some(revoked_ms) = key.revoked_ms { dt { "Revoked" } dd { (time(revoked_ms)) } }
            }
        }
        @if key.revoked_ms.is_none() {
            div .columns {
                section {
                    h2 { "Limits" }
                    form method="post" action=(path("limits")) .stack {
                        (frame.token())
                        (limit_inputs(key.limits))
                        button type="submit" { "Save limits" }
                    }
                }
                section {
                    h2 { "Signed links" }
                    form method="post" action=(path("signing")) .stack {
                        (frame.token())
                        (signing_box(key.require_signed))
                        button type="submit" { "Save" }
                    }
                }
                section {
                    h2 { "New secret" }
                    p .sub { "The old one stays good for a while. Webhooks carry a signature of both." }
                    form method="post" action=(path("rotate")) .stack {
                        (frame.token())
                        label { span { "Hours that the old secret stays good" }
                            input type="number" name="overlap_hours" value="24" min="0" max=(OVERLAP_HOURS_MAX) required; }
                        button type="submit" { "Rotate" }
                    }
                }
                section {
                    h2 { "Revoke" }
                    p .sub { "The key ends at once and for good. Its requests stay listed." }
                    form method="post" action=(path("revoke")) .stack {
                        (frame.token())
                        label .check { input type="checkbox" name="sure" value="yes" required; span { "End this key" } }
                        button type="submit" .danger { "Revoke" }
                    }
                }
            }
        }
    };
    Ok(answer::page(StatusCode::OK, layout(frame, access_key, body)))
}

fn limit_inputs(limits: KeyLimits) -> Markup {
    let value = |limit: Option<u64>| limit.map(|limit| limit.to_string()).unwrap_or_default();
    html! {
        fieldset {
            legend { "Empty: no limit" }
            (number_input("monthly_quota", "Renders in a month", &value(limits.monthly_quota)))
            (number_input("requests_per_minute", "Requests in a minute", &value(limits.requests_per_minute)))
            (number_input("concurrency", "Renders at once", &value(limits.concurrency)))
        }
    }
}

fn number_input(name: &str, label: &str, value: &str) -> Markup {
    html! { label { span { (label) } input type="number" min="0" name=(name) value=(value) placeholder="unlimited"; } }
}

fn signing_box(checked: bool) -> Markup {
    html! {
        label .check {
            input type="checkbox" name="require_signed" value="yes" checked[checked];
            span { "Accept signed links only" }
        }
    }
}

/// The page that has a secret in it.
fn secret_page(frame: &Frame, title: &str, access_key: &str, secret: &Secret) -> answer::Answer {
    let webhook_secret = standard_webhook_secret(secret);
    let body = html! {
        h1 { (title) }
        p .said role="status" { "The secret is shown this once. Keep it now: nobody can read it later." }
        section {
            dl .facts .secrets {
                dt { "Access key" } dd { code { (access_key) } }
                dt { "Secret key" } dd { code { (secret.expose()) } }
                dt { "Webhook secret" } dd { code { (webhook_secret.expose()) } span .sub { "the same, for Standard Webhooks libraries" } }
            }
        }
        p { a .button href={ "/dashboard/access/" (access_key) } { "I have kept it" } }
    };
    answer::page(StatusCode::OK, layout(frame, title, body))
}

pub(super) async fn create(dashboard: &Dashboard, frame: &Frame, fields: &mut Fields) -> Result {
    let (access_key, secret) = (new_access_key().map_err(no_randomness)?, new_secret().map_err(no_randomness)?);
    let key = NewKey {
        access_key: access_key.clone(),
        secret: secret.clone(),
        name: name(fields)?,
        require_signed: fields.take("require_signed").is_some(),
        limits: limits_of(fields)?,
    };
    match dashboard.operator.add_key(key, dashboard.clock.now_ms()).await? {
        true => Ok(secret_page(frame, "The key is made", &access_key, &secret)),
        false => Err(Refusal::Unavailable),
    }
}

pub(super) async fn import(dashboard: &Dashboard, fields: &mut Fields) -> Result {
    let access_key = filled(fields, "access_key").unwrap_or_default();
    if !is_access_key(&access_key) {
        return Err(Refusal::Invalid("An access key has 1 to 64 letters, digits, _ and -.".to_owned()));
    }
    let secret = fields.take("secret_key").unwrap_or_default();
    if !is_secret_key(&secret) {
        return Err(Refusal::Invalid(format!("A secret key has 1 to {SECRET_KEY_CHARACTERS_MAX} characters.")));
    }
    let key = NewKey {
        access_key: access_key.clone(),
        secret: Secret::new(secret),
        name: name(fields)?,
        require_signed: fields.take("require_signed").is_some(),
        limits: KeyLimits::default(),
    };
    match dashboard.operator.add_key(key, dashboard.clock.now_ms()).await? {
        true => Ok(answer::see("/dashboard/access?said=imported")),
        false => Err(Refusal::Conflict(format!("There is a key {access_key} already."))),
    }
}

pub(super) async fn limits(dashboard: &Dashboard, access_key: &str, fields: &mut Fields) -> Result {
    match dashboard.operator.set_limits(access_key, limits_of(fields)?).await? {
        true => Ok(answer::see(&format!("/dashboard/access/{access_key}?said=limited"))),
        false => Err(Refusal::NotFound),
    }
}

pub(super) async fn signing(dashboard: &Dashboard, access_key: &str, fields: &mut Fields) -> Result {
    match dashboard.operator.set_require_signed(access_key, fields.take("require_signed").is_some()).await? {
        true => Ok(answer::see(&format!("/dashboard/access/{access_key}?said=signing"))),
        false => Err(Refusal::NotFound),
    }
}

pub(super) async fn rotate(dashboard: &Dashboard, frame: &Frame, access_key: &str, fields: &mut Fields) -> Result {
    let hours = filled(fields, "overlap_hours").and_then(|hours| hours.parse().ok());
    let hours: u64 = hours
        .filter(|hours| *hours <= OVERLAP_HOURS_MAX)
        .ok_or_else(|| Refusal::Invalid(format!("The old secret may stay good for 0 to {OVERLAP_HOURS_MAX} hours.")))?;
    let (secret, now_ms) = (new_secret().map_err(no_randomness)?, dashboard.clock.now_ms());
    match dashboard.operator.rotate(access_key, &secret, now_ms + hours * 3_600_000, now_ms).await? {
        Rotation::Done => Ok(secret_page(frame, "The key has a new secret", access_key, &secret)),
        Rotation::Unknown => Err(Refusal::NotFound),
        Rotation::TooMany => Err(Refusal::Conflict(
            "Ten old secrets are still good. Wait for the first to end, or end all with 0 hours.".to_owned(),
        )),
    }
}

pub(super) async fn revoke(dashboard: &Dashboard, access_key: &str, fields: &mut Fields) -> Result {
    if fields.take("sure").is_none() {
        return Err(Refusal::Invalid("Tick the box, so that no key ends by a slip.".to_owned()));
    }
    match dashboard.operator.revoke(access_key, dashboard.clock.now_ms()).await? {
        true => Ok(answer::see(&format!("/dashboard/access/{access_key}?said=revoked"))),
        false => Err(Refusal::NotFound),
    }
}

async fn find(dashboard: &Dashboard, access_key: &str) -> Result<KeySummary> {
    let keys = dashboard.operator.keys().await?;
    keys.into_iter().find(|key| key.access_key == access_key).ok_or(Refusal::NotFound)
}

fn name(fields: &mut Fields) -> Result<String> {
    let name = filled(fields, "name").unwrap_or_default();
    match name.chars().count() <= NAME_CHARACTERS_MAX {
        true => Ok(name),
        false => Err(Refusal::Invalid(format!("A name has {NAME_CHARACTERS_MAX} characters at most."))),
    }
}

fn limits_of(fields: &mut Fields) -> Result<KeyLimits> {
    let mut limit = |name: &str| match filled(fields, name) {
        None => Ok(None),
        // SQLite's integers have a sign.
        Some(text) => match text.parse().ok().filter(|number| *number <= i64::MAX.unsigned_abs()) {
            Some(number) => Ok(Some(number)),
            None => Err(Refusal::Invalid(format!("{text} is no limit. A limit is a whole number, or empty for none."))),
        },
    };
    Ok(KeyLimits {
        monthly_quota: limit("monthly_quota")?,
        requests_per_minute: limit("requests_per_minute")?,
        concurrency: limit("concurrency")?,
    })
}

fn no_randomness(error: crate::domain::operator::NoRandomness) -> Refusal {
    tracing::error!(%error, "a secret could not be made");
    Refusal::Unavailable
}
