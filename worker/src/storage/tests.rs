use std::{
    io::{Read, Write},
    net::TcpListener,
    sync::{Arc, Mutex},
};

use super::*;
use crate::error::ErrorKind;

fn no_secrets() -> Secrets {
    Secrets::new(Vec::new(), Arc::default(), PathBuf::new())
}

fn settings(pairs: &[(&str, Value)]) -> Map<String, Value> {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), value.clone()))
        .collect()
}

async fn read_all(storage: &Storage, object: &Object, range: Range<u64>) -> Result<Vec<u8>> {
    let mut input = storage.read(object, range)?;
    let (mut all, mut some) = (Vec::new(), vec![0; 1000]);
    loop {
        match input.read(&mut some).await? {
            0 => return Ok(all),
            count => all.extend_from_slice(&some[..count]),
        }
    }
}

/// The behaviour that every place shares.
async fn behaves(storage: &Storage) {
    let content: Vec<u8> = (0..300_000_u32).flat_map(u32::to_le_bytes).collect();
    assert_eq!(storage.head("a/b.bin").await.unwrap(), None);
    assert_eq!(storage.get("a/b.bin").await.unwrap(), None);
    let written = storage.put("a/b.bin", content.clone().into()).await.unwrap();
    assert_eq!(written.size, content.len() as u64);
    storage.put("a/c d.bin", Bytes::from_static(b"x")).await.unwrap();
    storage.put("a-z", Bytes::new()).await.unwrap();

    let keys = |objects: Vec<Object>| objects.into_iter().map(|object| object.key).collect::<Vec<_>>();
    assert_eq!(
        keys(storage.list("").await.unwrap()),
        ["a-z", "a/b.bin", "a/c d.bin"]
    );
    assert_eq!(keys(storage.list("a").await.unwrap()), ["a/b.bin", "a/c d.bin"]);
    assert_eq!(keys(storage.list("none").await.unwrap()), [""; 0]);

    let head = storage.head("a/b.bin").await.unwrap().unwrap();
    assert_eq!((head.key.as_str(), head.size), ("a/b.bin", content.len() as u64));
    assert_eq!(storage.get("a/b.bin").await.unwrap().unwrap(), content);
    assert_eq!(
        storage.get_range("a/b.bin", 7..4001).await.unwrap(),
        content[7..4001]
    );
    assert_eq!(
        read_all(storage, &head, 3..700_001).await.unwrap(),
        content[3..700_001]
    );
    assert_eq!(read_all(storage, &head, 5..5).await.unwrap(), [0; 0]);
    let missing = storage.get_range("a/none", 0..1).await.unwrap_err();
    assert_eq!(missing.kind, ErrorKind::Config, "{missing}");
    assert!(missing.message.contains("a/none"), "{missing}");

    let mut writer = storage.writer("long.bin").unwrap();
    for piece in content.chunks(100_000) {
        writer.write(Bytes::copy_from_slice(piece)).await.unwrap();
        assert_eq!(
            storage.head("long.bin").await.unwrap(),
            None,
            "visible before it is finished"
        );
    }
    assert_eq!(writer.written(), content.len() as u64);
    assert_eq!(writer.finish().await.unwrap().size, content.len() as u64);
    assert_eq!(storage.get("long.bin").await.unwrap().unwrap(), content);
    let mut dropped = storage.writer("dropped").unwrap();
    dropped.write(Bytes::from_static(b"half")).await.unwrap();
    dropped.abort().await.unwrap();

    for key in ["a/b.bin", "a/c d.bin", "a-z", "long.bin", "long.bin"] {
        storage.delete(key).await.unwrap();
    }
    assert_eq!(keys(storage.list("").await.unwrap()), [""; 0]);
}

#[tokio::test]
async fn a_directory_behaves() {
    let directory = tempfile::tempdir().unwrap();
    let url = format!("file://{}/below/it", directory.path().display());
    let storage = Storage::open(&url, &Map::new(), &no_secrets(), &RateLimiter::default(), None).unwrap();
    behaves(&storage).await;
    assert!(
        storage
            .local_path("a/b")
            .unwrap()
            .unwrap()
            .ends_with("below/it/a/b")
    );
    assert_eq!(storage.local_path("../x").unwrap_err().kind, ErrorKind::Config);
    assert_eq!(
        storage.head("a/../../x").await.unwrap_err().kind,
        ErrorKind::Config
    );
}

#[tokio::test]
async fn s3_behaves() {
    let Some(storage) = s3_for_tests().await else {
        return;
    };
    behaves(&storage).await;
}

/// A place of its own on the S3 server of the tests; `None` where there is none.
///
/// # Panics
/// Where `MILLRACE_REQUIRE_SERVICES` asks for one.
pub(crate) async fn s3_for_tests() -> Option<Storage> {
    // Makes the bucket.
    cas::tests::s3("storage").await?;
    let variable = |name: &str| std::env::var(format!("MILLRACE_TEST_S3_{name}")).ok();
    let url = format!("s3://storage/{}", uuid::Uuid::new_v4());
    let region = variable("REGION").unwrap_or_else(|| "us-east-1".to_owned());
    let connection = settings(&[
        ("endpoint", variable("ENDPOINT")?.into()),
        ("region", region.into()),
    ]);
    Some(Storage::open(&url, &connection, &s3_secrets(), &RateLimiter::default(), None).unwrap())
}

/// The key pair of that server.
pub(crate) fn s3_secrets() -> Secrets {
    let place = |name: &str, variable: &str| millrace_crds::plan::Credential {
        name: name.to_owned(),
        from: millrace_crds::plan::CredentialPlace::Env(format!("MILLRACE_TEST_S3_{variable}")),
    };
    let places = vec![
        place("accessKeyId", "ACCESS_KEY"),
        place("secretAccessKey", "SECRET_KEY"),
    ];
    Secrets::new(places, Arc::default(), PathBuf::new())
}

/// A web server that answers every request with what `answer` makes of its first line.
pub(crate) fn serve(answer: impl Fn(&str) -> Vec<u8> + Send + 'static) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let seen: Arc<Mutex<Vec<String>>> = Arc::default();
    let log = seen.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let (mut request, mut byte) = (Vec::new(), [0]);
            while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|count| count == 1) {
                request.push(byte[0]);
            }
            let request = String::from_utf8_lossy(&request)
                .lines()
                .next()
                .unwrap_or_default()
                .to_owned();
            let reply = answer(&request);
            log.lock().unwrap().push(request);
            let _ = stream.write_all(&reply);
        }
    });
    (url, seen)
}

/// A reply with a status line and a body, the body left out for `HEAD`.
pub(crate) fn reply(request: &str, status: &str, body: &[u8]) -> Vec<u8> {
    let mut reply = format!(
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\nLast-Modified: Mon, 02 Nov 2026 10:00:00 GMT\r\nConnection: close\r\n\r\n",
        body.len()
    )
    .into_bytes();
    if !request.starts_with("HEAD") {
        reply.extend_from_slice(body);
    }
    reply
}

#[tokio::test]
async fn a_web_file_is_read_and_its_query_is_kept_and_not_shown() {
    let body: Vec<u8> = (0..200_000).map(|n: u32| n.to_le_bytes()[0]).collect();
    let sent = body.clone();
    let (url, seen) = serve(
        move |request| match request.contains("/in%20it/a.csv?token=hush") {
            true => reply(request, "200 OK", &sent),
            false => reply(request, "404 Not Found", b""),
        },
    );
    let open = |path: &str| {
        Storage::open_at(
            &format!("{url}/{path}"),
            &Map::new(),
            &no_secrets(),
            &RateLimiter::default(),
            None,
        )
        .unwrap()
    };
    let (storage, key) = open("in%20it/a.csv?token=hush");
    assert_eq!(key, "in it/a.csv");
    let object = storage.head(&key).await.unwrap().unwrap();
    assert_eq!(object.size, body.len() as u64);
    assert_eq!(read_all(&storage, &object, 0..object.size).await.unwrap(), body);
    assert_eq!(
        read_all(&storage, &object, 70_000..70_010).await.unwrap(),
        body[70_000..70_010]
    );
    assert!(!storage.url_of(&key).contains("hush"), "{}", storage.url_of(&key));
    assert!(
        seen.lock()
            .unwrap()
            .iter()
            .all(|line| line.contains("token=hush"))
    );

    let (storage, key) = open("other?token=hush");
    assert_eq!(storage.head(&key).await.unwrap(), None);
    let listing = storage.list("").await.unwrap_err();
    assert_eq!(listing.kind, ErrorKind::Config);
    assert!(!format!("{listing} {listing:?}").contains("hush"));
}

#[tokio::test]
async fn refusals_are_for_a_person_and_trouble_is_tried_again() {
    let (url, seen) = serve(|request| match request {
        line if line.contains("forbidden") => reply(request, "403 Forbidden", b"<Code>AccessDenied</Code>"),
        _ => reply(request, "503 Slow Down", b"<Code>SlowDown</Code>"),
    });
    let connection = settings(&[("endpoint", url.into()), ("accessKeyId", "AKIDCANARY".into())]);
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("key"), "sesame-canary\n").unwrap();
    let place = millrace_crds::plan::Credential {
        name: "secretAccessKey".into(),
        from: millrace_crds::plan::CredentialPlace::File("key".into()),
    };
    let secrets = Secrets::new(vec![place], Arc::default(), directory.path().to_owned());
    let storage = Storage::open(
        "s3://bucket",
        &connection,
        &secrets,
        &RateLimiter::default(),
        None,
    )
    .unwrap();

    let refused = storage.get("forbidden").await.unwrap_err();
    assert_eq!(
        (refused.kind, refused.reason),
        (ErrorKind::Config, "PermissionDenied"),
        "{refused}"
    );
    let busy = storage.get("busy").await.unwrap_err();
    assert_eq!(busy.kind, ErrorKind::Transient, "{busy}");
    assert!(busy.message.contains("SlowDown"), "{busy}");
    assert!(
        seen.lock()
            .unwrap()
            .iter()
            .filter(|line| line.contains("busy"))
            .count()
            > 3,
        "it was not tried again"
    );
    for error in [refused, busy] {
        let text = format!("{error} {error:?}");
        assert!(
            !text.contains("canary") && !text.contains("CANARY") && !text.contains("Signature"),
            "{text}"
        );
    }
}

#[test]
fn wrong_places_are_refused_with_what_to_write() {
    let open = |url: &str| {
        Storage::open(url, &Map::new(), &no_secrets(), &RateLimiter::default(), None).unwrap_err()
    };
    for url in [
        "ftp://host/x",
        "s3://",
        "file://relative",
        "",
        "http://user:hush@:0/",
    ] {
        let error = open(url);
        assert_eq!(error.kind, ErrorKind::Config, "{url}: {error}");
        assert!(!error.to_string().contains("hush"), "{error}");
    }
    let connection = settings(&[("pathStyle", "yes".into())]);
    let error = Storage::open(
        "s3://b",
        &connection,
        &no_secrets(),
        &RateLimiter::default(),
        None,
    )
    .unwrap_err();
    assert!(error.message.contains("connection.pathStyle"), "{error}");
}

#[test]
fn a_pattern_begins_at_the_first_part_that_is_one() {
    assert_eq!(split_pattern("s3://b/*.csv"), ("s3://b", "*.csv"));
    assert_eq!(split_pattern("s3://b/a/b?/*.csv"), ("s3://b/a", "b?/*.csv"));
    assert_eq!(split_pattern("s3://b"), ("s3://b", ""));
    assert_eq!(split_pattern("s3://b/a/"), ("s3://b", "a"));
    assert_eq!(split_pattern("/data/"), ("/", "data"));
    assert_eq!(split_pattern("file:///data/x.csv"), ("file:///data", "x.csv"));
    assert_eq!(split_pattern("{stream}.csv"), (".", "{stream}.csv"));
    assert_eq!(split_pattern("../up/x"), ("../up", "x"));
}

#[tokio::test]
async fn a_rate_limit_holds_for_every_request_of_all_clones() {
    let (url, seen) = serve(|request| reply(request, "200 OK", b"abc"));
    let limiter = RateLimiter::new(Some(millrace_crds::plan::RateLimit {
        requests_per_second: 20.0,
        burst: 1,
    }));
    let storage = Storage::open(&url, &Map::new(), &no_secrets(), &limiter, None).unwrap();
    let began = std::time::Instant::now();
    let reads = ["a", "b", "c", "d", "e"].map(|key| {
        let storage = storage.clone();
        async move {
            let object = storage.head(key).await.unwrap().unwrap();
            read_all(&storage, &object, 0..object.size).await.unwrap()
        }
    });
    assert_eq!(futures::future::join_all(reads).await, vec![b"abc"; 5]);
    let sent = seen.lock().unwrap().len();
    assert_eq!(sent, 10);
    assert!(
        began.elapsed().as_millis() >= 9 * 50,
        "{sent} in {:?}",
        began.elapsed()
    );
}
