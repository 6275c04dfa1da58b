//! Credentials of S3: named ones, read anew so that a rotated Secret is taken up; else the environment's own.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use async_trait::async_trait;
use aws_config::default_provider::credentials::DefaultCredentialsChain;
use aws_sdk_s3::config::ProvideCredentials;
use object_store::{CredentialProvider, aws::AwsCredential};
use tokio::sync::OnceCell;

use super::connect::Connect;
use crate::{
    error::{Error, Result},
    secrets::Secrets,
};

/// How long a value is used before its place is read again.
const FRESH: Duration = Duration::from_secs(30);

type Provider = Arc<dyn CredentialProvider<Credential = AwsCredential>>;

/// Named credentials where the plan has some, else what the environment offers: variables, profiles, web identity,
/// the metadata service.
pub(super) fn s3(connect: &Connect, secrets: &Secrets) -> Result<Provider> {
    let named = Named {
        secrets: secrets.clone(),
        key_id: connect.access_key_id.clone(),
    };
    match named.read()? {
        Some(_) => Ok(Arc::new(Cached::new(named))),
        None => Ok(Arc::new(Cached::new(Environment::default()))),
    }
}

/// A credential and when to ask for it again.
#[async_trait]
trait Origin: Send + Sync + 'static {
    async fn fetch(&self) -> Result<(AwsCredential, Option<SystemTime>)>;
}

struct Cached<T> {
    origin: T,
    last: Mutex<Option<(Instant, Arc<AwsCredential>)>>,
}

impl<T> Cached<T> {
    fn new(origin: T) -> Self {
        Self {
            origin,
            last: Mutex::new(None),
        }
    }
}

impl<T> fmt::Debug for Cached<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("credentials")
    }
}

#[async_trait]
impl<T: Origin> CredentialProvider for Cached<T> {
    type Credential = AwsCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<AwsCredential>> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((until, credential)) = last
            && Instant::now() < until
        {
            return Ok(credential);
        }
        let (credential, expiry) =
            self.origin
                .fetch()
                .await
                .map_err(|error| object_store::Error::Unauthenticated {
                    path: String::new(),
                    source: Box::new(error),
                })?;
        let credential = Arc::new(credential);
        let life = expiry.and_then(|expiry| expiry.duration_since(SystemTime::now()).ok());
        let until = Instant::now() + life.map_or(FRESH, |life| (life / 2).min(FRESH * 10));
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some((until, credential.clone()));
        Ok(credential)
    }
}

struct Named {
    secrets: Secrets,
    key_id: Option<String>,
}

impl Named {
    /// `None`: the plan names no credentials at all.
    fn read(&self) -> Result<Option<AwsCredential>> {
        let key_id = self.secrets.plain("accessKeyId")?.or_else(|| self.key_id.clone());
        let secret_key = self.secrets.plain("secretAccessKey")?;
        let token = self.secrets.plain("sessionToken")?;
        match (key_id, secret_key) {
            (Some(key_id), Some(secret_key)) => Ok(Some(AwsCredential {
                key_id,
                secret_key,
                token,
            })),
            (None, None) => Ok(None),
            (None, Some(_)) => Err(half("secretAccessKey", "accessKeyId")),
            (Some(_), None) => Err(half("accessKeyId", "secretAccessKey")),
        }
    }
}

fn half(given: &str, missing: &str) -> Error {
    Error::config(format!("`{given}` is given without `{missing}`"))
        .reason("SecretKeyMissing")
        .advice(format!(
            "add `{missing}` to the credentials, or leave out both to use the environment's own"
        ))
}

#[async_trait]
impl Origin for Named {
    async fn fetch(&self) -> Result<(AwsCredential, Option<SystemTime>)> {
        let credential = self
            .read()?
            .ok_or_else(|| Error::bug("the credentials of the plan are gone"))?;
        Ok((credential, None))
    }
}

/// The chain of the AWS SDK, built when it is first asked, since building it reads files.
#[derive(Default)]
struct Environment(OnceCell<DefaultCredentialsChain>);

#[async_trait]
impl Origin for Environment {
    async fn fetch(&self) -> Result<(AwsCredential, Option<SystemTime>)> {
        let chain = self
            .0
            .get_or_init(|| async { DefaultCredentialsChain::builder().build().await })
            .await;
        let found = chain.provide_credentials().await.map_err(|_| {
            Error::config("no S3 credentials were given, and the environment has none")
                .advice("add `accessKeyId` and `secretAccessKey` to `credentials`, or set `anonymous: true` for a public bucket")
        })?;
        let credential = AwsCredential {
            key_id: found.access_key_id().to_owned(),
            secret_key: found.secret_access_key().to_owned(),
            token: found.session_token().map(str::to_owned),
        };
        Ok((credential, found.expiry()))
    }
}
