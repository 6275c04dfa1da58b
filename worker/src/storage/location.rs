//! Where a URL leads, and which part of it is a pattern.

use std::path::{Path, PathBuf};

use url::Url;

use crate::error::{Error, Result};

/// A URL, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// A file or directory of this machine.
    Local(PathBuf),
    /// A bucket and a prefix without slashes at its ends.
    S3 {
        /// The bucket.
        bucket: String,
        /// The prefix; may be empty.
        prefix: String,
    },
    /// The same at Google Cloud Storage.
    Gs {
        /// The bucket.
        bucket: String,
        /// The prefix; may be empty.
        prefix: String,
    },
    /// A web server: the server with its query, and the decoded path.
    Http {
        /// Scheme, host, port, user and query; the path is empty.
        server: Url,
        /// The path without slashes at its ends.
        path: String,
    },
}

impl Location {
    /// Understands a URL, or a path relative to `base_dir`.
    ///
    /// # Errors
    /// `config` for another scheme, a missing bucket, or a URL that cannot be read. The message holds neither
    /// user nor query.
    pub fn parse(url: &str, base_dir: Option<&Path>) -> Result<Self> {
        let Some((scheme, rest)) = url.split_once("://") else {
            return local(url, base_dir);
        };
        match scheme {
            "file" => file(rest),
            "s3" | "s3a" => bucket(scheme, rest).map(|(bucket, prefix)| Self::S3 { bucket, prefix }),
            "gs" | "gcs" => bucket(scheme, rest).map(|(bucket, prefix)| Self::Gs { bucket, prefix }),
            "http" | "https" => http(url),
            _ => Err(Error::config(format!(
                "`{scheme}://` is not a place that can be read or written"
            ))
            .advice("use a path, `file://`, `s3://`, `gs://`, `http://` or `https://`")),
        }
    }
}

fn local(path: &str, base_dir: Option<&Path>) -> Result<Location> {
    if path.is_empty() {
        return Err(
            Error::config("the URL is empty").advice("name a path, or a URL such as `s3://bucket/prefix`")
        );
    }
    let path = base_dir.unwrap_or(Path::new("")).join(path);
    // Whole, since logs and dead letters that name a file below it are read elsewhere, too.
    Ok(Location::Local(std::path::absolute(&path).unwrap_or(path)))
}

fn file(rest: &str) -> Result<Location> {
    let path = rest.strip_prefix("localhost").unwrap_or(rest);
    if !path.starts_with('/') {
        return Err(Error::config(format!("`file://{rest}` names no absolute path"))
            .advice("write `file:///path`, or a relative path without `file://`"));
    }
    Ok(Location::Local(PathBuf::from(decoded(path))))
}

fn bucket(scheme: &str, rest: &str) -> Result<(String, String)> {
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    if bucket.is_empty() {
        return Err(Error::config(format!("`{scheme}://{rest}` names no bucket"))
            .advice("write `s3://bucket/prefix`"));
    }
    Ok((bucket.to_owned(), prefix.trim_matches('/').to_owned()))
}

fn http(url: &str) -> Result<Location> {
    let mut server = Url::parse(url).map_err(|error| {
        let shown = url
            .split(['?', '#'])
            .next()
            .unwrap_or_default()
            .rsplit('@')
            .next()
            .unwrap_or_default();
        Error::config(format!("`{shown}` is not a URL: {error}"))
    })?;
    let path = decoded(server.path()).trim_matches('/').to_owned();
    server.set_path("");
    server.set_fragment(None);
    Ok(Location::Http { server, path })
}

/// Percent signs undone; what is no UTF-8 then stays as it was written.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        let code = (byte == b'%')
            .then(|| tail.get(..2).and_then(|two| std::str::from_utf8(two).ok()))
            .flatten()
            .and_then(|two| u8::from_str_radix(two, 16).ok());
        bytes.push(code.unwrap_or(byte));
        rest = if code.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
}

/// Splits a URL into the place before the first part that is a pattern (`*`, `?`, `[`, `{`) and that part with all
/// that follows; no pattern: the last part is the second half.
///
/// ```
/// # use millrace::storage::split_pattern;
/// assert_eq!(split_pattern("s3://lake/in/*/{stream}.csv"), ("s3://lake/in", "*/{stream}.csv"));
/// assert_eq!(split_pattern("data/flights.csv"), ("data", "flights.csv"));
/// assert_eq!(split_pattern("flights.csv"), (".", "flights.csv"));
/// ```
#[must_use]
pub fn split_pattern(url: &str) -> (&str, &str) {
    let url = if url.len() > 1 {
        url.trim_end_matches('/')
    } else {
        url
    };
    let path = url.find("://").map_or(0, |at| at + 3);
    let literal = url[path..]
        .find(['*', '?', '[', '{'])
        .map_or(url.len(), |at| path + at);
    match url[path..literal].rfind('/').map(|slash| path + slash) {
        Some(slash) if slash == path => (&url[..=slash], &url[slash + 1..]),
        Some(slash) => (&url[..slash], &url[slash + 1..]),
        None if path == 0 => (".", url),
        None => (url, ""),
    }
}
