//! The client of a remote store: endpoint, region, credentials, time-outs, retries, rate limit.

use std::{sync::Arc, time::Duration};

use object_store::{
    BackoffConfig, ClientOptions, ObjectStore, RetryConfig, aws::AmazonS3Builder,
    gcp::GoogleCloudStorageBuilder, http::HttpBuilder,
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use super::{credentials, fault, limited::Limited, location::Location, remote::Remote};
use crate::{
    error::{Error, Result},
    rate::RateLimiter,
    secrets::Secrets,
};

/// A request that moves one piece of an object; pieces are at most 8 MiB.
const REQUEST: Duration = Duration::from_mins(2);
const CONNECT: Duration = Duration::from_secs(10);

/// How to reach a remote store. Other keys of the connection are not looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Connect {
    /// A server other than the cloud's own; `http://` is allowed.
    pub endpoint: Option<String>,
    /// The region.
    pub region: Option<String>,
    /// `https://server/bucket/key` in place of `https://bucket.server/key`; `None`: where an endpoint is given.
    pub path_style: Option<bool>,
    /// Requests are not signed.
    pub anonymous: bool,
    /// The public half of an S3 key pair, where it is not among the credentials.
    pub access_key_id: Option<String>,
}

impl Connect {
    /// Picks its settings from a connection.
    ///
    /// # Errors
    /// `config` where one of them has the wrong type.
    pub fn from_map(connection: &Map<String, Value>) -> Result<Self> {
        Ok(Self {
            endpoint: setting(connection, "endpoint")?,
            region: setting(connection, "region")?,
            path_style: setting(connection, "pathStyle")?,
            anonymous: setting(connection, "anonymous")?.unwrap_or(false),
            access_key_id: setting(connection, "accessKeyId")?,
        })
    }
}

fn setting<T: DeserializeOwned>(connection: &Map<String, Value>, name: &str) -> Result<Option<T>> {
    let value = connection.get(name).unwrap_or(&Value::Null);
    Option::deserialize(value).map_err(|error| Error::config(format!("`connection.{name}`: {error}")))
}

/// The client for a location that is not local.
pub(super) fn open(
    location: Location,
    connect: &Connect,
    secrets: &Secrets,
    limiter: &RateLimiter,
) -> Result<Remote> {
    let limited = Limited(limiter.clone());
    match location {
        Location::S3 { bucket, prefix } => {
            let place = format!("s3://{bucket}");
            let store = s3(&bucket, connect, secrets, limited)
                .map_err(|error| fault::explain(&place, "open", error))?;
            Ok(Remote::new(store?, place, prefix, true))
        }
        Location::Gs { bucket, prefix } => {
            let place = format!("gs://{bucket}");
            let key = secrets.plain("serviceAccountKey")?;
            let store =
                gs(&bucket, connect, key, limited).map_err(|error| fault::explain(&place, "open", error))?;
            Ok(Remote::new(store, place, prefix, true))
        }
        Location::Http { server, path } => {
            let mut shown = server.clone();
            shown.set_query(None);
            // Fails for URLs without a host alone, and `http` has one.
            let _ = shown.set_username("").and_then(|()| shown.set_password(None));
            let place = shown.as_str().trim_end_matches('/').to_owned();
            // A web server may not know byte ranges, so a file is one request however long it takes; the reader
            // has a time-out of its own for each piece.
            let store = HttpBuilder::new()
                .with_url(server.as_str())
                .with_http_connector(limited)
                .with_client_options(client().with_timeout_disabled())
                .with_retry(retry())
                .build()
                .map_err(|error| fault::explain(&place, "open", error))?;
            Ok(Remote::new(Arc::new(store), place, path, false))
        }
        Location::Local(path) => Err(Error::bug(format!("{} is not remote", path.display()))),
    }
}

type Built<T> = object_store::Result<T>;

fn s3(
    bucket: &str,
    connect: &Connect,
    secrets: &Secrets,
    limited: Limited,
) -> Built<Result<Arc<dyn ObjectStore>>> {
    let mut builder = AmazonS3Builder::new()
        .with_bucket_name(bucket)
        .with_http_connector(limited)
        .with_client_options(client())
        .with_retry(retry())
        .with_virtual_hosted_style_request(!connect.path_style.unwrap_or(connect.endpoint.is_some()))
        .with_skip_signature(connect.anonymous);
    let environment = |names: &[&str]| names.iter().find_map(|name| std::env::var(name).ok());
    if let Some(region) = connect
        .region
        .clone()
        .or_else(|| environment(&["AWS_REGION", "AWS_DEFAULT_REGION"]))
    {
        builder = builder.with_region(region);
    }
    if let Some(endpoint) = connect
        .endpoint
        .clone()
        .or_else(|| environment(&["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"]))
    {
        builder = builder.with_endpoint(endpoint);
    }
    if !connect.anonymous {
        match credentials::s3(connect, secrets) {
            Ok(provider) => builder = builder.with_credentials(provider),
            Err(error) => return Ok(Err(error)),
        }
    }
    Ok(Ok(Arc::new(builder.build()?)))
}

fn gs(bucket: &str, connect: &Connect, key: Option<String>, limited: Limited) -> Built<Arc<dyn ObjectStore>> {
    let mut builder = match &key {
        Some(_) => GoogleCloudStorageBuilder::new(),
        None => GoogleCloudStorageBuilder::from_env(),
    };
    builder = builder
        .with_bucket_name(bucket)
        .with_http_connector(limited)
        .with_client_options(client())
        .with_retry(retry())
        .with_skip_signature(connect.anonymous);
    if let Some(endpoint) = &connect.endpoint {
        builder = builder.with_base_url(endpoint);
    }
    if let Some(key) = key {
        builder = builder.with_service_account_key(key);
    }
    Ok(Arc::new(builder.build()?))
}

fn client() -> ClientOptions {
    ClientOptions::new()
        .with_allow_http(true)
        .with_timeout(REQUEST)
        .with_connect_timeout(CONNECT)
}

/// Short trouble is sat out here; for longer trouble the engine tries the whole load again.
fn retry() -> RetryConfig {
    RetryConfig {
        backoff: BackoffConfig {
            init_backoff: Duration::from_millis(100),
            max_backoff: Duration::from_secs(5),
            base: 2.0,
        },
        max_retries: 6,
        retry_timeout: Duration::from_mins(1),
    }
}
