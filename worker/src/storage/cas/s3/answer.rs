//! What the answers of an S3 server mean.
//!
//! In: the SDK's results. Out: an outcome of a conditional write, or an error with its kind. Only the code and the
//! sentence of an answer are kept: headers and bodies may name credentials.

use std::fmt::Write;

use aws_sdk_s3::{
    error::{ProvideErrorMetadata, SdkError},
    operation::put_object::PutObjectOutput,
};

use crate::{
    error::{Error, Result},
    failpoint,
    storage::cas::{Cas, Version},
};

type Response = aws_sdk_s3::config::http::HttpResponse;

/// The outcome of a conditional write; an error only where it was surely not applied.
pub(super) fn outcome<E>(answer: Result<PutObjectOutput, SdkError<E, Response>>) -> Result<Cas>
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let error = match answer {
        Ok(output) => {
            return Ok(match output.e_tag {
                Some(etag) => Cas::Done(Version(etag)),
                None => Cas::Unknown("the server gives no ETag".to_owned()),
            });
        }
        Err(error) => error,
    };
    match (status(&error), code(&error)) {
        (Some(412), _) if failpoint::mutated("m3") => Ok(Cas::Done(Version(String::new()))),
        // Refused, or a swap of a key that is not there: a read tells which.
        (Some(412), _) | (Some(404), Some("NoSuchKey") | None) => Ok(Cas::Conflict),
        (Some(501), _) | (_, Some("NotImplemented")) => Err(Error::config(sentence(&error))
            .reason("ConditionalWritesIgnored")
            .advice("this server does not know conditional writes; use another store")),
        // A concurrent write (409), a request that came too slowly, or no settled answer: read back.
        (Some(409 | 408 | 429 | 500..), _) | (_, Some("RequestTimeout")) => {
            Ok(Cas::Unknown(sentence(&error)))
        }
        (Some(400..500), _) => Err(failure(&error)),
        _ if matches!(error, SdkError::ConstructionFailure(_)) => Err(failure(&error)),
        _ => Ok(Cas::Unknown(sentence(&error))),
    }
}

/// The server says that there is no such key. A 404 without that code says nothing of the kind.
pub(super) fn is_missing<E: ProvideErrorMetadata>(error: &SdkError<E, Response>) -> bool {
    status(error) == Some(404) && code(error) == Some("NoSuchKey")
}

/// The error of a plain request.
pub(super) fn failure<E>(error: &SdkError<E, Response>) -> Error
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let message = sentence(error);
    match (status(error), code(error)) {
        (_, Some("RequestTimeout" | "RequestTimeTooSkewed")) | (Some(408 | 409 | 429 | 500..), _) => {
            Error::transient(message)
        }
        (_, Some("NoSuchBucket")) => Error::config(message).advice("make the bucket, or name another"),
        (_, Some("InvalidAccessKeyId" | "SignatureDoesNotMatch" | "ExpiredToken" | "InvalidToken")) => {
            Error::config(message).advice("check `accessKeyId`, `secretAccessKey` and `sessionToken`")
        }
        // Each 404 of an S3 server has a code: this one lost it on its way, or is of another kind of server.
        (Some(404), None) => {
            Error::transient(message).advice("if it stays so, see whether `endpoint` is an S3 server")
        }
        (Some(401 | 403), _) => Error::config(message)
            .advice("the credentials need s3:GetObject, s3:PutObject and s3:ListBucket here"),
        (Some(301 | 307 | 308), _) => Error::config(message).advice("set `region` to the bucket's own"),
        (Some(_), _) => Error::config(message),
        (None, _) if matches!(error, SdkError::ConstructionFailure(_)) => Error::config(message),
        (None, _) => Error::transient(message),
    }
}

fn status<E>(error: &SdkError<E, Response>) -> Option<u16> {
    error.raw_response().map(|response| response.status().as_u16())
}

fn code<E: ProvideErrorMetadata>(error: &SdkError<E, Response>) -> Option<&str> {
    error.as_service_error().and_then(ProvideErrorMetadata::code)
}

/// One sentence: what the server says, or the chain of causes where it said nothing.
fn sentence<E>(error: &SdkError<E, Response>) -> String
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    if let Some(status) = status(error) {
        let service = error.as_service_error();
        let code = service.and_then(ProvideErrorMetadata::code).unwrap_or("no code");
        let message = service
            .and_then(ProvideErrorMetadata::message)
            .unwrap_or_default();
        return format!("the server answers {status} {code} {message}")
            .trim_end()
            .to_owned();
    }
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        let _ = write!(text, ": {error}");
        cause = error.source();
    }
    text
}
