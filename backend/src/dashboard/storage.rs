//! What is kept: where, how much of it, whose it is, for how long, and what goes next.

use std::path::PathBuf;
use std::time::Duration;

use http::StatusCode;
use maud::{Markup, html};

use super::Dashboard;
use super::answer::{self, Result};
use super::html::{Frame, badge, bytes, duration, layout, number, time};
use crate::disk::{self, ROOM_NEEDED, ROOM_WANTED, Room};
use crate::domain::operator::{COUNT_MAX, Holdings, Kept, USAGE_KEPT_HOURS};

/// How many of those that go next are shown.
const EXPIRING_SHOWN: u32 = 10;

/// Where an installation keeps what it has, and for how long.
#[derive(Clone, Debug)]
pub struct Places {
    /// Database, browser's scratch, and the files if they are local.
    pub data_dir: PathBuf,
    /// A folder or a bucket, without credentials.
    pub files: String,
    pub database: String,
    pub file_lifetime: Duration,
    pub request_lifetime: Duration,
}

pub(super) async fn show(dashboard: &Dashboard, frame: &Frame) -> Result {
    let holdings = dashboard.operator.holdings().await?;
    let kept = dashboard.operator.kept(COUNT_MAX, EXPIRING_SHOWN).await?;
    let places = &dashboard.places;
    let folder = places.data_dir.clone();
    // A file system of the network may take its time.
    let room = tokio::task::spawn_blocking(move || disk::room(&folder).ok()).await.ok().flatten();
    let body = html! {
        h1 { "Storage" }
        (tiles(&holdings, room))
        div .columns {
            section {
                h2 { "Where" }
                dl .facts {
                    dt { "Files" } dd .id { (places.files) }
                    dt { "Database" } dd .id { (places.database) }
                    dt { "Data" } dd .id { (places.data_dir.display()) }
                    @if let Some(room) = room {
                        dt { "Its disk" } dd { (bytes(room.free)) " free of " (bytes(room.total)) " " (judgement(room)) }
                    }
                }
            }
            section {
                h2 { "For how long" }
                dl .facts {
                    dt { "Files" } dd { (lifetime(places.file_lifetime)) span .sub { "longer where an answer is cached for longer" } }
                    dt { "Requests" } dd { (lifetime(places.request_lifetime)) span .sub { "after their end, with their webhooks" } }
                    dt { "Figures" } dd { (USAGE_KEPT_HOURS / 24) " days" }
                }
            }
        }
        (keys(&kept, holdings.files > COUNT_MAX))
        (expiring(&kept, frame.now_ms))
    };
    Ok(answer::page(StatusCode::OK, layout(frame, "Storage", body)))
}

fn tiles(holdings: &Holdings, room: Option<Room>) -> Markup {
    html! {
        dl .tiles {
            div { dt { "Files" } dd { (number(holdings.files)) } }
            div { dt { "Their size" } dd { (bytes(holdings.file_bytes)) } }
            div { dt { "Database" } dd { (bytes(holdings.database_bytes)) } }
            @if let Some(room) = room { div { dt { "Free on the disk" } dd { (bytes(room.free)) } } }
        }
    }
}

fn judgement(room: Room) -> Markup {
    html! {
        @match room.free {
            0..ROOM_NEEDED => { (badge("missing")) span .sub { "Accepted requests wait until there is room again." } },
            ROOM_NEEDED..ROOM_WANTED => { (badge("warning")) span .sub { "Make room, or shorten [store] file_lifetime_seconds." } },
            _ => {},
        }
    }
}

fn lifetime(lifetime: Duration) -> String {
    duration(u64::try_from(lifetime.as_millis()).unwrap_or(u64::MAX))
}

fn keys(kept: &Kept, are_some: bool) -> Markup {
    html! {
        section {
            h2 { "By key" }
            @if are_some { p .sub { "Of the " (number(COUNT_MAX)) " files that stay the longest." } }
            @if kept.by_key.is_empty() { p .empty { "No file is kept." } } @else {
                table .list {
                    caption .hidden { "Files by key, the most bytes first" }
                    thead { tr { th scope="col" { "Key" } th scope="col" { "Files" } th scope="col" { "Size" } } }
                    tbody {
                        @for key in &kept.by_key {
                            tr {
                                td .wide { a .target .id href={ "/dashboard/access/" (key.access_key) } { (key.access_key) } }
                                td .figure data-label="Files" { (number(key.files)) }
                                td .figure data-label="Size" { (bytes(key.bytes)) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn expiring(kept: &Kept, now_ms: u64) -> Markup {
    html! {
        @if !kept.expiring.is_empty() {
            section {
                h2 { "What goes next" }
                table .list {
                    caption .hidden { "Files whose time ends first; times are UTC" }
                    thead { tr { th scope="col" { "Request" } th scope="col" { "Size" } th scope="col" { "Expires" } } }
                    tbody {
                        @for file in &kept.expiring {
                            tr {
                                td .wide { a .target .id href={ "/dashboard/requests/" (file.request_id) } { (file.request_id) } }
                                td .figure data-label="Size" { (bytes(file.bytes)) }
                                td data-label="Expires" {
                                    div {
                                        (time(file.expires_ms))
                                        span .sub {
                                            @match file.expires_ms.checked_sub(now_ms) {
                                                Some(left_ms) => { "in " (duration(left_ms)) },
                                                None => "at the next clean-up",
                                            }
                                        }
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::operator::ExpiringFile;

    #[test]
    fn a_disk_that_fills_up_is_judged() {
        let judged = |free| judgement(Room { free, total: 10 * ROOM_WANTED }).into_string();
        assert!(judged(ROOM_NEEDED - 1).contains("badge missing"));
        assert!(judged(ROOM_NEEDED).contains("badge warning") && judged(ROOM_WANTED - 1).contains("badge warning"));
        assert_eq!(judged(ROOM_WANTED), "");
    }

    #[test]
    fn where_not_all_files_were_counted_the_page_says_so() {
        let kept = Kept::default();
        assert!(
            keys(&kept, true)
                .into_string()
                .contains(&format!("Of the {} files that stay the longest.", number(COUNT_MAX)))
        );
        assert!(!keys(&kept, false).into_string().contains("Of the"));
    }

    #[test]
    fn a_file_past_its_time_goes_at_the_next_clean_up() {
        let file = |expires_ms| ExpiringFile { request_id: "req_1".to_owned(), bytes: 1, expires_ms };
        let kept = Kept { by_key: Vec::new(), expiring: vec![file(99), file(60_100)] };
        let page = expiring(&kept, 100).into_string();
        assert!(page.contains("at the next clean-up") && page.contains("in 1 min 0 s"), "{page}");
    }
}
