//! One contract for every back-end: what a [`CasStore`] promises, whatever it lies on.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use bytes::Bytes;
use millrace_crds::plan::{Credential, CredentialPlace, S3Plan};

use super::{Cas, CasStore, DirectoryCas, MemoryCas, S3Cas, Version};
use crate::{error::ErrorKind, secrets::Secrets};

/// The S3 server of the tests, under a prefix that nobody else uses; `None` where there is none.
///
/// # Panics
/// Where `MILLRACE_REQUIRE_SERVICES` asks for one.
pub(crate) async fn s3(bucket: &str) -> Option<S3Cas> {
    let variable = |name: &str| std::env::var(format!("MILLRACE_TEST_S3_{name}")).ok();
    let (Some(endpoint), Some(_), Some(_)) = (
        variable("ENDPOINT"),
        variable("ACCESS_KEY"),
        variable("SECRET_KEY"),
    ) else {
        let required = std::env::var("MILLRACE_REQUIRE_SERVICES").is_ok_and(|value| value == "1");
        assert!(
            !required,
            "MILLRACE_TEST_S3_ENDPOINT, _ACCESS_KEY and _SECRET_KEY are not set; `tests/ground up` sets them"
        );
        eprintln!("skipped: no S3 server (MILLRACE_TEST_S3_ENDPOINT)");
        return None;
    };
    let credential = |name: &str, from: &str| Credential {
        name: name.to_owned(),
        from: CredentialPlace::Env(format!("MILLRACE_TEST_S3_{from}")),
    };
    let plan = S3Plan {
        bucket: bucket.to_owned(),
        prefix: format!("t/{}", uuid::Uuid::new_v4().simple()),
        endpoint: Some(endpoint),
        region: variable("REGION"),
        credentials: vec![
            credential("accessKeyId", "ACCESS_KEY"),
            credential("secretAccessKey", "SECRET_KEY"),
        ],
    };
    let secrets = Secrets::new(
        plan.credentials.clone(),
        Arc::default(),
        Path::new(".").to_owned(),
    );
    let store = S3Cas::connect(&plan, &secrets).await.unwrap();
    store.make_bucket().await;
    Some(store)
}

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn done(cas: Cas) -> Version {
    match cas {
        Cas::Done(version) => version,
        other => panic!("not done: {other:?}"),
    }
}

pub(super) async fn contract(store: Arc<dyn CasStore>) {
    one_creates(&*store).await;
    only_the_present_version_is_swapped(&*store).await;
    content_that_comes_back_is_another_version(&*store).await;
    keys_are_apart(&*store).await;
    nothing_is_lost_under_contention(store.clone()).await;
    store.probe().await.unwrap();
    assert!(store.list("millrace-probe").await.unwrap().is_empty());
}

async fn one_creates(store: &dyn CasStore) {
    assert_eq!(store.read("a/b/HEAD.json").await.unwrap(), None);
    let version = done(store.create("a/b/HEAD.json", bytes("one")).await.unwrap());
    assert_eq!(
        store.create("a/b/HEAD.json", bytes("two")).await.unwrap(),
        Cas::Conflict
    );
    assert_eq!(
        store.read("a/b/HEAD.json").await.unwrap(),
        Some((bytes("one"), version))
    );
}

async fn only_the_present_version_is_swapped(store: &dyn CasStore) {
    let (_, first) = store.read("a/b/HEAD.json").await.unwrap().unwrap();
    let second = done(store.swap("a/b/HEAD.json", bytes("two"), &first).await.unwrap());
    assert_eq!(
        store.swap("a/b/HEAD.json", bytes("three"), &first).await.unwrap(),
        Cas::Conflict
    );
    assert_eq!(
        store.read("a/b/HEAD.json").await.unwrap(),
        Some((bytes("two"), second.clone()))
    );
    assert_eq!(
        store
            .swap("a/c/HEAD.json", bytes("three"), &second)
            .await
            .unwrap(),
        Cas::Conflict
    );
    assert_eq!(store.read("a/c/HEAD.json").await.unwrap(), None);
}

/// As the writers do it: equal meaning, and a mark of their own.
async fn content_that_comes_back_is_another_version(store: &dyn CasStore) {
    let first = done(store.create("aba/HEAD.json", bytes("A 1")).await.unwrap());
    let second = done(store.swap("aba/HEAD.json", bytes("B 2"), &first).await.unwrap());
    done(store.swap("aba/HEAD.json", bytes("A 3"), &second).await.unwrap());
    assert_eq!(
        store.swap("aba/HEAD.json", bytes("C 4"), &first).await.unwrap(),
        Cas::Conflict
    );
}

async fn keys_are_apart(store: &dyn CasStore) {
    for key in ["list/x/HEAD.json", "list/x!_-.y/HEAD.json", "list/y/HEAD.json"] {
        done(store.create(key, bytes(key)).await.unwrap());
    }
    assert_eq!(store.list("list/x").await.unwrap().len(), 2);
    assert_eq!(store.list("list/").await.unwrap().len(), 3);
    store.remove("list/x/HEAD.json").await.unwrap();
    store.remove("list/none/HEAD.json").await.unwrap();
    assert_eq!(store.list("list/x").await.unwrap(), ["list/x!_-.y/HEAD.json"]);
    done(store.create("list/x/HEAD.json", bytes("again")).await.unwrap());
}

async fn nothing_is_lost_under_contention(store: Arc<dyn CasStore>) {
    const WRITERS: usize = 4;
    const EACH: usize = 10;
    done(store.create("count/HEAD.json", bytes("")).await.unwrap());
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| tokio::spawn(append(store.clone(), writer, EACH)))
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    let (content, _) = store.read("count/HEAD.json").await.unwrap().unwrap();
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for writer in std::str::from_utf8(&content).unwrap().split_terminator(' ') {
        *counts.entry(writer).or_default() += 1;
    }
    assert_eq!(counts.into_values().collect::<Vec<_>>(), vec![EACH; WRITERS]);
}

async fn append(store: Arc<dyn CasStore>, writer: usize, times: usize) {
    let mut left = times;
    while left > 0 {
        let (content, version) = store.read("count/HEAD.json").await.unwrap().unwrap();
        let longer = format!("{}{writer} ", std::str::from_utf8(&content).unwrap());
        let answer = store
            .swap("count/HEAD.json", bytes(&longer), &version)
            .await
            .unwrap();
        let settled = match answer {
            Cas::Done(_) => true,
            Cas::Conflict => false,
            // The server answered 409: the content grows with each write, so that ours is found by its length.
            Cas::Unknown(_) => {
                let (content, _) = store.read("count/HEAD.json").await.unwrap().unwrap();
                content.starts_with(longer.as_bytes())
            }
        };
        left -= usize::from(settled);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_keeps_the_contract() {
    contract(Arc::new(MemoryCas::default())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_keeps_the_contract() {
    let directory = tempfile::tempdir().unwrap();
    contract(Arc::new(DirectoryCas::new(directory.path().join("deep/er")))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_s3_server_keeps_the_contract() {
    if let Some(store) = s3("millrace-cas").await {
        contract(Arc::new(store)).await;
    }
}

/// A store that takes every write, whatever its condition.
struct Careless(MemoryCas);

#[async_trait::async_trait]
impl CasStore for Careless {
    async fn read(&self, key: &str) -> crate::error::Result<Option<(Bytes, Version)>> {
        self.0.read(key).await
    }
    async fn create(&self, key: &str, bytes: Bytes) -> crate::error::Result<Cas> {
        self.0.remove(key).await?;
        self.0.create(key, bytes).await
    }
    async fn swap(&self, key: &str, bytes: Bytes, _version: &Version) -> crate::error::Result<Cas> {
        self.create(key, bytes).await
    }
    async fn list(&self, prefix: &str) -> crate::error::Result<Vec<String>> {
        self.0.list(prefix).await
    }
    async fn remove(&self, key: &str) -> crate::error::Result<()> {
        self.0.remove(key).await
    }
    fn place(&self) -> String {
        "careless".to_owned()
    }
}

#[tokio::test]
async fn the_probe_finds_a_store_that_ignores_conditions() {
    let error = Careless(MemoryCas::default()).probe().await.unwrap_err();
    assert_eq!(
        (error.kind, error.reason),
        (ErrorKind::Config, "ConditionalWritesIgnored")
    );
    assert!(error.advice.unwrap().contains("configMap"));
}
