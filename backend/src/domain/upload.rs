//! Where in a caller's own bucket a file goes, and as whose. Pure: whether the storage agrees is found out elsewhere.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use snaphook_shared::code::{Code, Problem};
use snaphook_shared::options::model::Store;
use snaphook_shared::secret::Secret;

use super::failure::Failure;

/// What S3 leaves as it is in a path, and what every signer must.
const KEPT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
const REGION: &str = "us-east-1";

/// One upload, settled but for the bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// Where the object is, for PUT and for whoever may read it.
    pub url: String,
    pub bucket: String,
    pub key: String,
    pub region: String,
    pub access_key_id: String,
    pub secret_access_key: Secret,
    pub acl: Option<String>,
    /// As S3 writes it.
    pub class: Option<String>,
}

impl Destination {
    /// None if the caller did not name a storage of their own.
    ///
    /// # Errors
    /// `invalid_storage_configuration` for what cannot be a bucket, a path or a pair of credentials.
    pub fn of(store: &Store, extension: &str) -> Result<Option<Destination>, Failure> {
        let own = [&store.bucket, &store.endpoint, &store.access_key_id].into_iter().any(Option::is_some);
        if !store.enabled || !(own || store.secret_access_key.is_some()) {
            return Ok(None);
        }
        let required = |value: &Option<String>, name: &str| {
            value.clone().ok_or_else(|| invalid(name, &format!("\"{name}\" is required")))
        };
        let bucket = required(&store.bucket, "storage_bucket")?;
        let access_key_id = required(&store.access_key_id, "storage_access_key_id")?;
        let secret_access_key = store.secret_access_key.clone();
        let secret_access_key = secret_access_key
            .ok_or_else(|| invalid("storage_secret_access_key", "\"storage_secret_access_key\" is required"))?;
        if !is_bucket(&bucket) {
            return Err(invalid("storage_bucket", "\"storage_bucket\" is not a bucket's name"));
        }
        // It becomes part of a header.
        if !access_key_id.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(invalid("storage_access_key_id", "\"storage_access_key_id\" is not an access key id"));
        }
        let path = store.path.as_deref().unwrap_or_default().trim_start_matches('/');
        // A URL parser would resolve such segments, and the signature would be for another object.
        if path.is_empty() || path.split('/').any(|segment| segment == "." || segment == "..") {
            return Err(invalid("storage_path", "\"storage_path\" is not an object's key"));
        }
        let key = format!("{path}.{extension}");
        let endpoint = match &store.endpoint {
            Some(endpoint) => endpoint.trim_end_matches('/').to_owned(),
            None => format!("https://s3.{REGION}.amazonaws.com"),
        };
        let escaped: Vec<String> =
            key.split('/').map(|segment| utf8_percent_encode(segment, KEPT).to_string()).collect();
        Ok(Some(Destination {
            url: format!("{endpoint}/{bucket}/{}", escaped.join("/")),
            region: region(&endpoint).unwrap_or(REGION).to_owned(),
            bucket,
            key,
            access_key_id,
            secret_access_key,
            acl: store.acl.clone(),
            class: store.class.as_ref().map(|class| class.to_ascii_uppercase()).filter(|class| class != "STANDARD"),
        }))
    }
}

/// A failure that lies in what the caller said of the storage; the detail says where.
pub fn invalid(parameter: &str, message: &str) -> Failure {
    let problem = Problem::with_detail(Code::InvalidStorageConfiguration, parameter, message);
    Failure { problem, ..Failure::new(Code::InvalidStorageConfiguration, message) }
}

fn is_bucket(name: &str) -> bool {
    (3..=63).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'))
        && name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric())
}

/// `s3.eu-west-1.amazonaws.com` names the region that must be signed for; other services take any.
fn region(endpoint: &str) -> Option<&str> {
    let host = endpoint.split_once("://")?.1.split(['/', ':']).next()?;
    let rest = host.strip_suffix(".amazonaws.com")?;
    let region = rest.strip_prefix("s3.dualstack.").or_else(|| rest.strip_prefix("s3."))?;
    (!region.contains('.')).then_some(region)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> Store {
        Store {
            enabled: true,
            path: Some("/a b/ü".to_owned()),
            bucket: Some("shots".to_owned()),
            access_key_id: Some("AKID".to_owned()),
            secret_access_key: Some(Secret::new("s")),
            class: Some("standard_ia".to_owned()),
            ..Store::default()
        }
    }

    #[test]
    fn the_place_is_made_of_endpoint_bucket_and_escaped_key() {
        let place = Destination::of(&store(), "png").unwrap().unwrap();
        assert_eq!(place.url, "https://s3.us-east-1.amazonaws.com/shots/a%20b/%C3%BC.png");
        assert_eq!((place.key.as_str(), place.class.as_deref()), ("a b/ü.png", Some("STANDARD_IA")));
        let elsewhere = Store { endpoint: Some("https://s3.eu-west-1.amazonaws.com/".to_owned()), ..store() };
        assert_eq!(Destination::of(&elsewhere, "png").unwrap().unwrap().region, "eu-west-1");
        let other = Store { endpoint: Some("http://minio.example:9000/".to_owned()), ..store() };
        let place = Destination::of(&other, "png").unwrap().unwrap();
        assert_eq!(
            (place.url.as_str(), place.region.as_str()),
            ("http://minio.example:9000/shots/a%20b/%C3%BC.png", "us-east-1")
        );
    }

    #[test]
    fn without_a_bucket_of_the_callers_there_is_no_upload() {
        assert_eq!(Destination::of(&Store::default(), "png").unwrap(), None);
        let ours = Store { enabled: true, path: Some("a".to_owned()), ..Store::default() };
        assert_eq!(Destination::of(&ours, "png").unwrap(), None);
    }

    #[test]
    fn what_cannot_be_a_storage_is_refused_by_name() {
        let blame = |store: Store| Destination::of(&store, "png").unwrap_err().problem.details[0].parameter.clone();
        assert_eq!(blame(Store { secret_access_key: None, ..store() }), "storage_secret_access_key");
        assert_eq!(blame(Store { bucket: None, ..store() }), "storage_bucket");
        assert_eq!(blame(Store { bucket: Some("a/b".to_owned()), ..store() }), "storage_bucket");
        assert_eq!(blame(Store { access_key_id: Some("A\n".to_owned()), ..store() }), "storage_access_key_id");
        for path in ["/", "a/../b", "./a"] {
            assert_eq!(blame(Store { path: Some(path.to_owned()), ..store() }), "storage_path");
        }
    }
}
