//! What a finished request has to tell its caller's webhook.

use snaphook_shared::code::Problem;
use snaphook_shared::dialect::Dialect;
use snaphook_shared::event::{self, Finished, ImageSize, Slice, header};
use snaphook_shared::metadata::Metadata;
use snaphook_shared::options::model::ResponseType;
use snaphook_shared::trace;

use super::delivery::{DeliveryBody, NewDelivery};
use super::job::{NewRequest, StoredFile, StoredSlice, StoredSlices};
use super::upload::Destination;

/// A copy in a storage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    pub bucket: String,
    pub key: String,
    /// If the caller wants to be told.
    pub location: Option<String>,
}

/// Addresses that appear in what callers read, without a final slash.
#[derive(Clone, Debug)]
pub struct Links {
    /// `https://shots.example.com`
    pub public_url: String,
}

impl Links {
    pub fn file(&self, name: &str) -> String {
        format!("{}/files/{name}", self.public_url)
    }

    pub fn request(&self, id: &str) -> String {
        format!("{}/v1/requests/{id}", self.public_url)
    }

    pub fn error_docs(&self) -> String {
        format!("{}/docs/errors", self.public_url)
    }

    /// Where the caller's copy is; None if they asked for none.
    pub fn stored(&self, request: &NewRequest, file: &StoredFile) -> Option<Stored> {
        let store = &request.options.delivery.store;
        if !store.enabled {
            return None;
        }
        let extension = file.name.rsplit_once('.').map_or("", |(_, extension)| extension);
        let (bucket, key, url) = match Destination::of(store, extension) {
            Ok(Some(place)) => (place.bucket, place.key, place.url),
            _ => ("snaphook".to_owned(), file.name.clone(), self.file(&file.name)),
        };
        Some(Stored { bucket, key, location: store.return_location.then_some(url) })
    }

    /// The JSON of a finished ScreenshotOne request.
    pub fn screenshotone_json(
        &self,
        request: &NewRequest,
        file: &StoredFile,
        metadata: &Metadata,
        slices: Option<&StoredSlices>,
    ) -> String {
        self.write_screenshotone(request, file, metadata, slices, event::screenshotone)
    }

    fn write_screenshotone(
        &self,
        request: &NewRequest,
        file: &StoredFile,
        metadata: &Metadata,
        slices: Option<&StoredSlices>,
        write: impl Fn(&Finished<'_>) -> String,
    ) -> String {
        let url = self.file(&file.name);
        let size = file.size.filter(|_| request.options.output.tell_size);
        let stored = self.stored(request, file);
        write(&Finished {
            id: &request.id,
            file_url: &url,
            expires_s: file.expires_ms / 1000,
            created_s: request.created_ms / 1000,
            store_location: stored.as_ref().and_then(|stored| stored.location.as_deref()),
            cache_url: request.options.delivery.cache.enabled.then_some(url.as_str()),
            image_size: size.map(|size| ImageSize { width: size.width, height: size.height }),
            slices: slices.map(|slices| self.slices(&slices.slices)).unwrap_or_default(),
            metadata: Some(metadata),
        })
    }

    /// Slices as a caller reads of them.
    pub fn slices(&self, slices: &[StoredSlice]) -> Vec<Slice> {
        let slice = |(index, slice): (usize, &StoredSlice)| Slice {
            index,
            offset_y: slice.offset_y,
            width: slice.file.size.map_or(0, |size| size.width),
            height: slice.file.size.map_or(0, |size| size.height),
            url: self.file(&slice.file.name),
        };
        slices.iter().enumerate().map(slice).collect()
    }
}

/// The delivery for a render that succeeded; None if nobody wants it.
pub fn of_success(
    request: &NewRequest,
    file: &StoredFile,
    metadata: &Metadata,
    slices: Option<&StoredSlices>,
    render_ms: u64,
    links: &Links,
) -> Option<NewDelivery> {
    let delivery = start(request)?;
    if request.dialect() == Dialect::ScreenshotMax {
        let finished = Finished {
            id: &request.id,
            file_url: &links.file(&file.name),
            expires_s: file.expires_ms / 1000,
            created_s: request.created_ms / 1000,
            metadata: Some(metadata),
            ..Finished::default()
        };
        let body = event::bounded(&finished, event::screenshotmax);
        return Some(with_json(delivery, body));
    }
    let mut delivery = match request.options.delivery.response_type {
        ResponseType::Json => {
            let write = |finished: &Finished<'_>| event::bounded(finished, event::screenshotone);
            with_json(delivery, links.write_screenshotone(request, file, metadata, slices, write))
        }
        ResponseType::ByFormat | ResponseType::Empty => {
            let mut delivery = NewDelivery { body: DeliveryBody::File(file.name.clone()), ..delivery };
            delivery.headers.push(("content-type".to_owned(), file.content_type.clone()));
            let told = metadata.headers(request.dialect()).into_iter();
            delivery.headers.extend(told.map(|(name, value)| (name.to_owned(), value)));
            delivery
        }
    };
    let mut add = |name: &str, value: String| delivery.headers.push((name.to_owned(), value));
    add(header::RENDERING_SECONDS, format!("{:.2}", render_ms as f64 / 1000.0));
    add(header::SIZE_BYTES, file.bytes.to_string());
    add(header::REFERENCE, request.id.clone());
    let trace = request.traceparent.as_deref().and_then(trace::parts);
    add(header::TRACE_ID, trace.map_or_else(|| request.id.clone(), |(trace, _, _)| trace.to_owned()));
    if let Some(identifier) = &request.options.delivery.external_identifier {
        add(header::EXTERNAL_IDENTIFIER, identifier.clone());
    }
    Some(delivery)
}

/// The delivery for a render that failed for good; None if nobody wants it.
pub fn of_failure(request: &NewRequest, problem: &Problem, links: &Links) -> Option<NewDelivery> {
    let delivery = start(request)?;
    let one = request.dialect() == Dialect::ScreenshotOne;
    if one && !request.options.delivery.webhook.errors {
        return None;
    }
    let body = event::failed(request.dialect(), &request.id, request.created_ms / 1000, problem, &links.error_docs());
    let mut delivery = with_json(delivery, body);
    if one {
        let entry = problem.code.entry();
        let mut add = |name: &str, value: String| delivery.headers.push((name.to_owned(), value));
        add(header::ERROR_CODE, entry.name.to_owned());
        add(header::ERROR_MESSAGE, entry.text.to_owned());
        add(header::DOCUMENTATION_URL, format!("{}/{}", links.error_docs(), entry.slug));
        if let Some(identifier) = &request.options.delivery.external_identifier {
            add(header::EXTERNAL_IDENTIFIER, identifier.clone());
        }
    }
    Some(delivery)
}

fn start(request: &NewRequest) -> Option<NewDelivery> {
    let webhook = &request.options.delivery.webhook;
    Some(NewDelivery {
        // One event a request, so its id is the request's, by another name.
        id: request.id.replacen("req_", "msg_", 1),
        url: webhook.url.clone()?,
        sign: webhook.sign,
        headers: Vec::new(),
        body: DeliveryBody::Inline(Vec::new()),
    })
}

fn with_json(mut delivery: NewDelivery, body: String) -> NewDelivery {
    delivery.headers.push(("content-type".to_owned(), "application/json".to_owned()));
    NewDelivery { body: DeliveryBody::Inline(body.into_bytes()), ..delivery }
}
