//! Stored files as the pages show them: small in a list, large on a page of their own. They are served sandboxed, as to
//! everybody, and under names that never change, so that a browser asks for each of them once.

use maud::{Markup, html};

use super::html::is_image;
use crate::domain::job::StoredFile;

/// A list has many files: one that is larger, or that would fill a browser's memory when it is decoded, is shown on its own
/// page alone.
const SMALL_BYTES_MAX: u64 = 2_000_000;
const SMALL_PIXELS_MAX: u64 = 8_000_000;

/// What a browser shows of a file by itself.
#[derive(Debug, PartialEq, Eq)]
enum Kind {
    Picture,
    Video,
    Other,
}

fn kind(file: &StoredFile) -> Kind {
    match media_type(file) {
        "video/mp4" | "video/webm" => Kind::Video,
        media_type if is_image(media_type) => Kind::Picture,
        _ => Kind::Other,
    }
}

/// Without parameters: `text/html`.
fn media_type(file: &StoredFile) -> &str {
    file.content_type.split(';').next().unwrap_or_default()
}

fn extension(file: &StoredFile) -> &str {
    file.name.rsplit_once('.').map_or("", |(_, extension)| extension)
}

/// For a row of a list, whose link leads to the page that shows more.
pub(super) fn small(file: &StoredFile, now_ms: u64) -> Markup {
    html! {
        @if file.expires_ms > now_ms && kind(file) == Kind::Picture && is_light(file) {
            img .thumb src=(path(file)) alt="" loading="lazy" decoding="async" width="56" height="42";
        } @else {
            span .thumb aria-hidden="true" { (extension(file)) }
        }
    }
}

fn is_light(file: &StoredFile) -> bool {
    let pixels = file.size.map_or(0, |size| u64::from(size.width) * u64::from(size.height));
    file.bytes <= SMALL_BYTES_MAX && pixels <= SMALL_PIXELS_MAX
}

pub(super) fn large(file: &StoredFile) -> Markup {
    let path = path(file);
    html! {
        @match kind(file) {
            Kind::Picture => a .picture href=(path) {
                img src=(path) alt="The picture that was taken" loading="lazy"
                    width=[file.size.map(|size| size.width)] height=[file.size.map(|size| size.height)];
            },
            Kind::Video => {
                video .picture controls muted loop playsinline preload="metadata" src=(path) aria-label="The video that was recorded" {}
            },
            Kind::Other => a .document href=(path) {
                span .kind aria-hidden="true" { (extension(file)) }
                span { "Open the " (extension(file)) " file" }
            },
        }
    }
}

fn path(file: &StoredFile) -> String {
    format!("/files/{}", file.name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::artifact::Size;

    fn file(name: &str, content_type: &str) -> StoredFile {
        StoredFile {
            name: name.to_owned(),
            content_type: content_type.to_owned(),
            bytes: 1000,
            size: Some(Size { width: 1280, height: 1024 }),
            expires_ms: 1000,
            attachment: None,
        }
    }

    #[test]
    fn a_file_is_shown_as_what_it_is() {
        for (name, content_type, part) in [
            ("a.png", "image/png", "<img src=\"/files/a.png\""),
            ("a.mp4", "video/mp4", "<video class=\"picture\" controls"),
            ("a.pdf", "application/pdf", "Open the pdf file"),
            ("a.html", "text/html; charset=utf-8", "Open the html file"),
            ("a.svg", "image/svg+xml", "Open the svg file"),
        ] {
            let shown = large(&file(name, content_type)).into_string();
            assert!(shown.contains(part) && shown.contains(&format!("/files/{name}")), "{shown}");
        }
    }

    #[test]
    fn a_list_loads_pictures_only_and_no_heavy_ones() {
        let picture = file("a.png", "image/png");
        let shown = small(&picture, 999).into_string();
        assert!(shown.contains("src=\"/files/a.png\"") && shown.contains("loading=\"lazy\""), "{shown}");
        let heavy = StoredFile { bytes: SMALL_BYTES_MAX + 1, ..picture.clone() };
        let tall = StoredFile { size: Some(Size { width: 1280, height: 16_000 }), ..picture.clone() };
        for other in [&heavy, &tall, &file("a.webm", "video/webm"), &file("a.pdf", "application/pdf")] {
            let shown = small(other, 999).into_string();
            assert!(!shown.contains("src=") && shown.contains(extension(other)), "{shown}");
        }
        assert!(!small(&picture, 1000).into_string().contains("src="), "its time is over");
    }
}
