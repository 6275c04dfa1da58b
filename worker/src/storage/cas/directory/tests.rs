use std::{fs, sync::Arc, time::Duration};

use bytes::Bytes;

use super::{super::CasStore, Cas, DirectoryCas, Version};

async fn created(directory: &std::path::Path) -> (DirectoryCas, Version) {
    let store = DirectoryCas::new(directory);
    match store
        .create("HEAD.json", Bytes::from_static(b"old"))
        .await
        .unwrap()
    {
        Cas::Done(version) => (store, version),
        other => panic!("{other:?}"),
    }
}

async fn content(store: &DirectoryCas) -> Bytes {
    store.read("HEAD.json").await.unwrap().unwrap().0
}

#[tokio::test]
async fn equal_bytes_written_twice_have_two_versions() {
    let directory = tempfile::tempdir().unwrap();
    let (store, first) = created(directory.path()).await;
    let Cas::Done(second) = store
        .swap("HEAD.json", Bytes::from_static(b"new"), &first)
        .await
        .unwrap()
    else {
        panic!()
    };
    let Cas::Done(third) = store
        .swap("HEAD.json", Bytes::from_static(b"old"), &second)
        .await
        .unwrap()
    else {
        panic!()
    };
    assert_ne!(first, third);
    assert_eq!(
        store
            .swap("HEAD.json", Bytes::from_static(b"x"), &first)
            .await
            .unwrap(),
        Cas::Conflict
    );
}

#[tokio::test]
async fn a_write_that_fails_takes_no_version_away() {
    let directory = tempfile::tempdir().unwrap();
    let (store, version) = created(directory.path()).await;
    // What cannot be written stands for a disk that is full.
    let obstacle = directory.path().join(".HEAD.json.tmp");
    fs::create_dir(&obstacle).unwrap();
    let failed = store
        .swap("HEAD.json", Bytes::from_static(b"new"), &version)
        .await;
    assert!(failed.unwrap_err().message.contains("HEAD.json"));
    assert_eq!(store.read("HEAD.json").await.unwrap().unwrap().1, version);
    fs::remove_dir(&obstacle).unwrap();
    assert!(matches!(
        store
            .swap("HEAD.json", Bytes::from_static(b"new"), &version)
            .await
            .unwrap(),
        Cas::Done(_)
    ));
}

/// Each state that a killed writer can leave: the object is whole, and the next writer goes on.
#[tokio::test]
async fn a_writer_killed_at_any_step_leaves_the_old_bytes_or_the_new_ones() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _) = created(directory.path()).await;
    let beside = |name: &str| directory.path().join(name);
    // After the new mark, before the bytes.
    fs::write(beside(".HEAD.json.lock"), "0123456789abcdef0123456789abcdef").unwrap();
    assert_eq!(content(&store).await, "old");
    // In the middle of the temporary file.
    fs::write(beside(".HEAD.json.tmp"), "ne").unwrap();
    let (bytes, version) = store.read("HEAD.json").await.unwrap().unwrap();
    assert_eq!(bytes, "old");
    assert!(matches!(
        store
            .swap("HEAD.json", Bytes::from_static(b"new"), &version)
            .await
            .unwrap(),
        Cas::Done(_)
    ));
    assert_eq!(content(&store).await, "new");
    assert!(!beside(".HEAD.json.tmp").exists());
    // In the middle of the first mark.
    fs::write(beside(".HEAD.json.lock"), "01").unwrap();
    let (_, version) = store.read("HEAD.json").await.unwrap().unwrap();
    assert!(matches!(
        store
            .swap("HEAD.json", Bytes::from_static(b"last"), &version)
            .await
            .unwrap(),
        Cas::Done(_)
    ));
}

#[tokio::test]
async fn a_hand_edit_changes_the_version() {
    let directory = tempfile::tempdir().unwrap();
    let (store, version) = created(directory.path()).await;
    fs::write(directory.path().join("HEAD.json"), "edited").unwrap();
    assert_eq!(
        store
            .swap("HEAD.json", Bytes::from_static(b"new"), &version)
            .await
            .unwrap(),
        Cas::Conflict
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_never_sees_a_part_and_never_waits_for_the_lock() {
    let directory = tempfile::tempdir().unwrap();
    let (store, mut version) = created(directory.path()).await;
    let store = Arc::new(store);
    let reader = tokio::spawn({
        let store = store.clone();
        async move {
            for _ in 0..300 {
                let bytes = content(&store).await;
                assert!(
                    bytes == "old" || (bytes.len() == 100_000 && bytes.iter().all(|byte| *byte == bytes[0]))
                );
            }
        }
    });
    for round in 0..40_u8 {
        let bytes = Bytes::from(vec![b'a' + round % 26; 100_000]);
        let Cas::Done(next) = store.swap("HEAD.json", bytes, &version).await.unwrap() else {
            panic!()
        };
        version = next;
    }
    tokio::time::timeout(Duration::from_mins(1), reader)
        .await
        .unwrap()
        .unwrap();
    let held = fs::File::open(directory.path().join(".HEAD.json.lock")).unwrap();
    held.lock().unwrap();
    assert_eq!(content(&store).await.len(), 100_000);
}

#[tokio::test]
async fn keys_that_leave_the_directory_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let store = DirectoryCas::new(directory.path());
    for key in ["../x", "a/../x", "/etc/passwd", "", "a//b", ".hidden"] {
        assert!(store.read(key).await.is_err(), "{key}");
    }
}

/// The life of the child in the test below: numbered lines of one length, each swapped for the next, without end.
#[tokio::test]
#[ignore = "a part of another test, which runs it in a process of its own and kills it"]
async fn child() {
    let Ok(place) = std::env::var("MILLRACE_TEST_PLACE") else {
        return;
    };
    let store = DirectoryCas::new(place);
    loop {
        let (bytes, version) = store.read("HEAD.json").await.unwrap().unwrap();
        store
            .swap("HEAD.json", numbered(number(&bytes) + 1), &version)
            .await
            .unwrap();
    }
}

fn numbered(number: u64) -> Bytes {
    Bytes::from(format!("{number:>20}").repeat(2_000))
}

/// The number, where every part of the bytes has it.
fn number(bytes: &Bytes) -> u64 {
    let number = std::str::from_utf8(&bytes[..20]).unwrap().trim().parse().unwrap();
    assert_eq!(*bytes, numbered(number), "a mix of two versions");
    number
}

#[tokio::test]
async fn writers_killed_at_any_moment_leave_one_whole_version() {
    let directory = tempfile::tempdir().unwrap();
    let store = DirectoryCas::new(directory.path());
    store.create("HEAD.json", numbered(0)).await.unwrap();
    let mut seen = 0;
    for kill in 0..25 {
        let mut writers: Vec<_> = (0..2)
            .map(|_| {
                std::process::Command::new(std::env::current_exe().unwrap())
                    .args([
                        "--exact",
                        "storage::cas::directory::tests::child",
                        "--include-ignored",
                    ])
                    .env("MILLRACE_TEST_PLACE", directory.path())
                    .stdout(std::process::Stdio::null())
                    .spawn()
                    .unwrap()
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(40 + kill * 7 % 23)).await;
        for writer in &mut writers {
            writer.kill().unwrap();
            writer.wait().unwrap();
        }
        let (bytes, version) = store.read("HEAD.json").await.unwrap().unwrap();
        assert!(number(&bytes) >= seen, "it went back");
        seen = number(&bytes) + 1;
        assert!(matches!(
            store.swap("HEAD.json", numbered(seen), &version).await.unwrap(),
            Cas::Done(_)
        ));
    }
    assert!(seen > 50, "the writers did nothing: {seen}");
}
