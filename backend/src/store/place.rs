//! From `[store] url` to the store it names: S3 and what speaks like it, Google Cloud Storage, Azure Blob Storage.

use std::sync::Arc;

use object_store::ObjectStore;
use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::client::{HttpClient, HttpConnector};
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::path::Path;
use object_store::{ClientOptions, Result};

use super::StoreError;
use crate::config::StoreConfig;

/// The bucket (Azure says container) and the prefix of all names in it.
pub(super) fn open(config: &StoreConfig, client: reqwest::Client) -> Result<(Arc<dyn ObjectStore>, Path), StoreError> {
    let unknown = || StoreError::Url(config.url.clone());
    let (scheme, place) = config.url.split_once("://").ok_or_else(unknown)?;
    let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
    if bucket.is_empty() {
        return Err(unknown());
    }
    let client = SharedClient(client);
    let store = match scheme {
        "s3" => s3(config, bucket, client)?,
        "gs" => google(config, bucket, client)?,
        "az" => azure(config, bucket, client)?,
        _ => return Err(unknown()),
    };
    Ok((store, Path::from(prefix)))
}

fn s3(config: &StoreConfig, bucket: &str, client: SharedClient) -> Result<Arc<dyn ObjectStore>> {
    let mut builder =
        AmazonS3Builder::new().with_bucket_name(bucket).with_region(&config.region).with_http_connector(client);
    if !config.access_key_id.is_empty() {
        builder =
            builder.with_access_key_id(&config.access_key_id).with_secret_access_key(config.secret_access_key.expose());
    }
    if !config.endpoint.is_empty() {
        builder = builder.with_endpoint(&config.endpoint).with_allow_http(true);
    }
    Ok(Arc::new(builder.build()?))
}

/// Without a key, by the identity of the machine that this runs on.
fn google(config: &StoreConfig, bucket: &str, client: SharedClient) -> Result<Arc<dyn ObjectStore>> {
    let mut builder = GoogleCloudStorageBuilder::new().with_bucket_name(bucket).with_http_connector(client);
    if !config.secret_access_key.expose().is_empty() {
        builder = builder.with_service_account_key(config.secret_access_key.expose());
    }
    Ok(Arc::new(builder.build()?))
}

/// Without a key, by the identity of the machine that this runs on.
fn azure(config: &StoreConfig, container: &str, client: SharedClient) -> Result<Arc<dyn ObjectStore>> {
    let mut builder = MicrosoftAzureBuilder::new()
        .with_account(&config.access_key_id)
        .with_container_name(container)
        .with_http_connector(client);
    if !config.secret_access_key.expose().is_empty() {
        builder = builder.with_access_key(config.secret_access_key.expose());
    }
    if !config.endpoint.is_empty() {
        builder = builder.with_endpoint(config.endpoint.clone()).with_allow_http(true);
    }
    Ok(Arc::new(builder.build()?))
}

/// Gives object_store a client that we have made, with our rules for connections.
#[derive(Debug)]
struct SharedClient(reqwest::Client);

impl HttpConnector for SharedClient {
    fn connect(&self, _: &ClientOptions) -> Result<HttpClient> {
        Ok(HttpClient::new(self.0.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn a_store_is_named_by_its_url() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let opened = |url: &str| {
            let settings = |name: &str| match name {
                "SNAPHOOK_STORE_URL" => Some(url.to_owned()),
                "SNAPHOOK_STORE_ACCESS_KEY_ID" => Some("account".to_owned()),
                _ => None,
            };
            open(&Config::load(None, &settings).unwrap().store, reqwest::Client::new())
        };
        for (url, store, prefix) in [
            ("s3://shots", "AmazonS3", ""),
            ("s3://shots/a/b", "AmazonS3", "a/b"),
            ("gs://shots/a", "GoogleCloudStorage", "a"),
            ("az://shots/a", "MicrosoftAzure", "a"),
        ] {
            let (opened, its_prefix) = opened(url).unwrap();
            assert!(opened.to_string().starts_with(store), "{url}: {opened}");
            assert_eq!(its_prefix.as_ref(), prefix, "{url}");
        }
        for url in ["shots", "s3://", "s3:///a", "ftp://shots", "https://shots.example.com/a"] {
            assert!(matches!(opened(url), Err(StoreError::Url(_))), "{url}");
        }
    }
}
