//! The rate limit of a remote store, held where requests leave: pages of a listing, parts of an upload and repeated
//! requests count like any other.

use async_trait::async_trait;
use object_store::{
    ClientOptions,
    client::{
        HttpClient, HttpConnector, HttpError, HttpRequest, HttpResponse, HttpService, ReqwestConnector,
    },
};

use crate::rate::RateLimiter;

/// Makes clients whose every request waits for its turn.
#[derive(Clone, Debug)]
pub(super) struct Limited(pub(super) RateLimiter);

impl HttpConnector for Limited {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let client = ReqwestConnector::default().connect(options)?;
        let limiter = self.0.clone();
        Ok(HttpClient::new(InTurn { client, limiter }))
    }
}

#[derive(Debug)]
struct InTurn {
    client: HttpClient,
    limiter: RateLimiter,
}

#[async_trait]
impl HttpService for InTurn {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        self.limiter.wait().await;
        self.client.execute(request).await
    }
}
