//! A server that speaks just enough S3 for conditional writes, and misbehaves on request.
//!
//! It stands where the real one cannot be told to fail: each PUT takes the next [`Fault`] of the script.

use std::{
    collections::{HashMap, VecDeque},
    path::Path,
    sync::{Arc, Mutex},
};

use millrace_crds::plan::{Credential, CredentialPlace, S3Plan};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
};

use super::S3Cas;
use crate::secrets::Secrets;

/// What becomes of one PUT.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Fault {
    /// Nothing special.
    None,
    /// Applied; the connection closes without an answer.
    ApplyThenCut,
    /// Applied; the answer is 500.
    ApplyThen500,
    /// Not applied; the answer is 503.
    SlowDown,
    /// Not applied; the answer is 409.
    ConcurrentRequest,
    /// Applied twice, as by a proxy that repeats requests; the second answer counts.
    Twice,
    /// The condition is not looked at.
    IgnoreCondition,
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) objects: HashMap<String, (Vec<u8>, u64)>,
    pub(crate) script: VecDeque<Fault>,
    /// Every fault after the script.
    pub(crate) always: Option<Fault>,
    /// GETs that are answered with 503 before one is served.
    pub(crate) failing_gets: usize,
    pub(crate) requests: Vec<String>,
    writes: u64,
}

/// The server's memory, to look into and to prepare.
pub(crate) type Shared = Arc<Mutex<State>>;

/// Starts a server and a client for it.
pub(crate) async fn start() -> (S3Cas, Shared) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let shared = Shared::default();
    tokio::spawn({
        let shared = shared.clone();
        async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, shared.clone()));
            }
        }
    });
    (client(&format!("http://127.0.0.1:{port}")).await, shared)
}

/// A client with keys of no value.
pub(crate) async fn client(endpoint: &str) -> S3Cas {
    let directory = tempfile::tempdir().unwrap();
    let credential = |name: &str| {
        std::fs::write(directory.path().join(name), "not-a-real-key").unwrap();
        Credential {
            name: name.to_owned(),
            from: CredentialPlace::File(name.to_owned()),
        }
    };
    let plan = S3Plan {
        bucket: "bucket".to_owned(),
        prefix: "state".to_owned(),
        endpoint: Some(endpoint.to_owned()),
        region: Some("us-east-1".to_owned()),
        credentials: vec![credential("accessKeyId"), credential("secretAccessKey")],
    };
    let secrets = Secrets::new(
        plan.credentials.clone(),
        Arc::default(),
        Path::new(directory.path()).to_owned(),
    );
    S3Cas::connect(&plan, &secrets).await.unwrap().impatient()
}

struct Request {
    method: String,
    key: String,
    headers: HashMap<String, String>,
    body: Vec<u8>,
}

async fn serve(stream: TcpStream, shared: Shared) {
    let (read, mut write) = stream.into_split();
    let mut read = BufReader::new(read);
    while let Some(request) = receive(&mut read).await {
        let Some(answer) = answer(&request, &mut shared.lock().unwrap()) else {
            return;
        };
        if write.write_all(&answer).await.is_err() {
            return;
        }
    }
}

async fn receive(read: &mut BufReader<tokio::net::tcp::OwnedReadHalf>) -> Option<Request> {
    let mut line = String::new();
    read.read_line(&mut line).await.ok().filter(|bytes| *bytes > 0)?;
    let mut words = line.split_whitespace();
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        read.read_line(&mut line).await.ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else {
            break;
        };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let length = headers
        .get("content-length")
        .map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    read.read_exact(&mut body).await.ok()?;
    Some(Request {
        method,
        key: path.split('?').next()?.to_owned(),
        headers,
        body,
    })
}

fn answer(request: &Request, state: &mut State) -> Option<Vec<u8>> {
    state.requests.push(format!("{} {}", request.method, request.key));
    match request.method.as_str() {
        "PUT" => put(request, state),
        "DELETE" => {
            state.objects.remove(&request.key);
            Some(reply(204, "", ""))
        }
        _ => Some(get(request, state)),
    }
}

fn get(request: &Request, state: &mut State) -> Vec<u8> {
    if state.failing_gets > 0 {
        state.failing_gets -= 1;
        return refuse(503, "SlowDown");
    }
    match state.objects.get(&request.key) {
        Some((body, etag)) => reply(
            200,
            &format!("ETag: \"{etag}\"\r\n"),
            std::str::from_utf8(body).unwrap(),
        ),
        None => refuse(404, "NoSuchKey"),
    }
}

fn put(request: &Request, state: &mut State) -> Option<Vec<u8>> {
    let fault = state.script.pop_front().or(state.always).unwrap_or(Fault::None);
    match fault {
        Fault::SlowDown => return Some(refuse(503, "SlowDown")),
        Fault::ConcurrentRequest => return Some(refuse(409, "ConditionalRequestConflict")),
        _ => {}
    }
    let first = apply(request, state, fault == Fault::IgnoreCondition);
    match fault {
        Fault::ApplyThenCut => None,
        Fault::ApplyThen500 => Some(refuse(500, "InternalError")),
        Fault::Twice => Some(apply(request, state, false)),
        _ => Some(first),
    }
}

fn apply(request: &Request, state: &mut State, careless: bool) -> Vec<u8> {
    let there = state
        .objects
        .get(&request.key)
        .map(|(_, etag)| format!("\"{etag}\""));
    match (
        request.headers.get("if-match"),
        request.headers.contains_key("if-none-match"),
        &there,
    ) {
        _ if careless => {}
        (Some(_), _, None) => return refuse(404, "NoSuchKey"),
        (Some(expected), _, Some(there)) if expected != there => return refuse(412, "PreconditionFailed"),
        (None, true, Some(_)) => return refuse(412, "PreconditionFailed"),
        _ => {}
    }
    state.writes += 1;
    let etag = state.writes;
    state
        .objects
        .insert(request.key.clone(), (request.body.clone(), etag));
    reply(200, &format!("ETag: \"{etag}\"\r\n"), "")
}

fn refuse(status: u16, code: &str) -> Vec<u8> {
    reply(
        status,
        "",
        &format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>told so</Message></Error>"),
    )
}

fn reply(status: u16, headers: &str, body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 {status} Told\r\n{headers}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}
