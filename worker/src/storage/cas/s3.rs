//! Objects of an S3 server, by If-None-Match and If-Match.
//!
//! A conditional write is sent once: the SDK's own retries are off, since the retry of a write that was applied is
//! answered with 412 as if it were another's. Plain reads are tried again with backoff. The version is the `ETag`,
//! which many servers make from the content alone: the bytes must hold a random mark of their writer.

mod answer;
#[cfg(test)]
mod fake;
#[cfg(test)]
mod tests;

use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_s3::{
    Client,
    config::{
        BehaviorVersion, Credentials, Region, RequestChecksumCalculation, ResponseChecksumValidation,
        retry::RetryConfig, timeout::TimeoutConfig,
    },
    operation::{get_object::GetObjectOutput, put_object::builders::PutObjectFluentBuilder},
    primitives::ByteStream,
};
use bytes::Bytes;
use millrace_crds::plan::S3Plan;

use self::answer::{failure, is_missing, outcome};
use super::{Cas, CasStore, Version};
use crate::{
    backoff::Backoff,
    error::{Error, Result},
    rate::RateLimiter,
    secrets::Secrets,
};

/// Limits for one request: to connect, and in all.
const CONNECT: Duration = Duration::from_secs(10);
const ANSWER: Duration = Duration::from_secs(30);

/// A bucket and a prefix below which the keys lie.
#[derive(Clone, Debug)]
pub struct S3Cas {
    client: Client,
    bucket: String,
    prefix: String,
    /// The server that is named in errors, where it is not AWS.
    server: Option<String>,
    backoff: Backoff,
    limiter: RateLimiter,
}

impl S3Cas {
    /// A client for the place that the plan names; sends nothing yet. With no credentials in the plan the
    /// environment's own are used, as every AWS tool finds them.
    ///
    /// # Errors
    /// `config` where a credential that the plan names is not there.
    pub async fn connect(plan: &S3Plan, secrets: &Secrets) -> Result<Self> {
        let mut loader = aws_config::defaults(BehaviorVersion::latest());
        if let Some(region) = region(plan) {
            loader = loader.region(Region::new(region));
        }
        if let Some(access_key) = secrets.plain("accessKeyId")? {
            let secret_key = secrets
                .plain("secretAccessKey")?
                .ok_or_else(|| incomplete("secretAccessKey", "accessKeyId"))?;
            let token = secrets.plain("sessionToken")?;
            loader = loader
                .credentials_provider(Credentials::new(access_key, secret_key, token, None, "millrace"));
        } else if secrets.plain("secretAccessKey")?.is_some() {
            return Err(incomplete("accessKeyId", "secretAccessKey"));
        }
        let environment = loader.load().await;
        let mut config = aws_sdk_s3::config::Builder::from(&environment)
            .retry_config(RetryConfig::disabled())
            .timeout_config(TimeoutConfig::builder().connect_timeout(CONNECT).operation_timeout(ANSWER).build())
            // The bytes carry a digest of their own, and some servers refuse the newer checksum headers.
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired);
        if let Some(endpoint) = &plan.endpoint {
            config = config.endpoint_url(endpoint).force_path_style(true);
        }
        let endpoint = plan
            .endpoint
            .clone()
            .or_else(|| std::env::var("AWS_ENDPOINT_URL_S3").ok())
            .or_else(|| environment.endpoint_url().map(str::to_owned));
        Ok(Self {
            client: Client::from_conf(config.build()),
            server: endpoint.as_deref().and_then(shown),
            bucket: plan.bucket.clone(),
            prefix: plan.prefix.trim_matches('/').to_owned(),
            backoff: Backoff {
                tries: 5,
                ..Backoff::default()
            },
            limiter: RateLimiter::default(),
        })
    }

    /// The same place, with every request waiting for its turn.
    #[must_use]
    pub fn limited(mut self, limiter: &RateLimiter) -> Self {
        self.limiter = limiter.clone();
        self
    }

    fn key(&self, key: &str) -> String {
        if self.prefix.is_empty() {
            key.to_owned()
        } else {
            format!("{}/{key}", self.prefix)
        }
    }

    fn at(&self, key: &str) -> String {
        format!("s3://{}/{}", self.bucket, self.key(key))
    }

    fn put(&self, key: &str, bytes: Bytes) -> PutObjectFluentBuilder {
        self.client
            .put_object()
            .bucket(&self.bucket)
            .key(self.key(key))
            .content_type("application/json")
            .body(ByteStream::from(bytes))
    }

    async fn get(&self, key: &str) -> Result<Option<(Bytes, Version)>> {
        self.limiter.wait().await;
        match self
            .client
            .get_object()
            .bucket(&self.bucket)
            .key(self.key(key))
            .send()
            .await
        {
            Ok(output) => body(output).await.map(Some),
            Err(error) if is_missing(&error) => Ok(None),
            Err(error) => Err(failure(&error)),
        }
    }
}

#[async_trait]
impl CasStore for S3Cas {
    async fn read(&self, key: &str) -> Result<Option<(Bytes, Version)>> {
        self.backoff
            .retry(|| self.get(key))
            .await
            .map_err(|error| self.located(key, error))
    }

    async fn create(&self, key: &str, bytes: Bytes) -> Result<Cas> {
        self.limiter.wait().await;
        let answer = self.put(key, bytes).if_none_match("*").send().await;
        outcome(answer).map_err(|error| self.located(key, error))
    }

    async fn swap(&self, key: &str, bytes: Bytes, version: &Version) -> Result<Cas> {
        self.limiter.wait().await;
        let answer = self.put(key, bytes).if_match(&version.0).send().await;
        outcome(answer).map_err(|error| self.located(key, error))
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>> {
        let own = self.key("");
        let mut pages = self
            .client
            .list_objects_v2()
            .bucket(&self.bucket)
            .prefix(self.key(prefix))
            .into_paginator()
            .send();
        let mut keys = Vec::new();
        self.limiter.wait().await;
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| self.located(prefix, failure(&error)))?;
            let names = page.contents().iter().filter_map(|object| object.key());
            keys.extend(
                names
                    .filter_map(|name| name.strip_prefix(&own))
                    .map(str::to_owned),
            );
            if page.is_truncated() == Some(true) {
                self.limiter.wait().await;
            }
        }
        Ok(keys)
    }

    async fn remove(&self, key: &str) -> Result<()> {
        let request = self
            .client
            .delete_object()
            .bucket(&self.bucket)
            .key(self.key(key));
        self.limiter.wait().await;
        request
            .send()
            .await
            .map(drop)
            .map_err(|error| self.located(key, failure(&error)))
    }

    fn place(&self) -> String {
        self.at("").trim_end_matches('/').to_owned()
    }
}

impl S3Cas {
    fn located(&self, key: &str, mut error: Error) -> Error {
        let server = self.server.as_ref().map(|server| format!(" at {server}"));
        error.message = format!(
            "{}{}: {}",
            self.at(key),
            server.unwrap_or_default(),
            error.message
        );
        error
    }
}

async fn body(output: GetObjectOutput) -> Result<(Bytes, Version)> {
    let etag = output
        .e_tag
        .ok_or_else(|| Error::bug("the server gives no ETag"))?;
    // The time limit of the client ends with the headers.
    let bytes = tokio::time::timeout(ANSWER, output.body.collect())
        .await
        .map_err(|_| Error::transient(format!("the body did not come within {} s", ANSWER.as_secs())))?
        .map_err(|error| Error::transient(format!("the body broke off: {error}")))?;
    Ok((bytes.into_bytes(), Version(etag)))
}

/// What may be shown of an endpoint: the server, and none of what an address can hold beside it.
fn shown(endpoint: &str) -> Option<String> {
    let url = url::Url::parse(endpoint).ok()?;
    let host = url.host_str()?;
    let port = url.port().map(|port| format!(":{port}"));
    Some(format!("{}://{host}{}", url.scheme(), port.unwrap_or_default()))
}

/// The region that is named, or any where an endpoint is: without AWS it has no meaning beyond the signature.
fn region(plan: &S3Plan) -> Option<String> {
    let by_endpoint = || {
        plan.endpoint
            .as_ref()
            .map(|_| std::env::var("AWS_REGION").unwrap_or_else(|_| "us-east-1".to_owned()))
    };
    plan.region.clone().or_else(by_endpoint)
}

fn incomplete(missing: &str, given: &str) -> Error {
    Error::config(format!("the credential `{given}` is given without `{missing}`"))
        .reason("SecretKeyMissing")
        .advice(format!("add `{missing}`, or neither, for the environment's own"))
}

#[cfg(test)]
impl S3Cas {
    /// Makes the bucket where it is not there yet.
    pub(super) async fn make_bucket(&self) {
        let _ = self.client.create_bucket().bucket(&self.bucket).send().await;
    }

    /// The same place with hardly a pause between attempts.
    pub(super) fn impatient(mut self) -> Self {
        self.backoff = Backoff {
            tries: 3,
            first: Duration::from_millis(1),
            most: Duration::from_millis(2),
        };
        self
    }
}
