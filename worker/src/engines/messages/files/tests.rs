use std::{fs, io::Write, path::PathBuf};

use flate2::{Compression, write::GzEncoder};

use super::Files;
use crate::error::ErrorKind;

fn packed(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn lines_of_all_files_come_in_order_and_the_files_are_gone() {
    let directory = tempfile::tempdir().unwrap();
    let contents: [Vec<u8>; 4] = [b"1\n\n2".to_vec(), packed("3\n4\n"), Vec::new(), packed("5")];
    let paths: Vec<PathBuf> = (0..4)
        .map(|number| directory.path().join(number.to_string()))
        .collect();
    for (path, content) in paths.iter().zip(&contents) {
        fs::write(path, content).unwrap();
    }
    let (mut files, mut rows) = (Files::default(), Vec::new());
    files.add(paths);

    assert_eq!(files.take(&mut rows, 1 << 20).await.unwrap(), 5);

    assert_eq!(rows, b"1\n2\n3\n4\n5\n");
    assert!(files.done());
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_large_file_is_taken_in_pieces() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("rows");
    fs::write(&path, packed(&"0123456789\n".repeat(10_000))).unwrap();
    let mut files = Files::default();
    files.add(vec![path]);
    let (mut most, mut all) = (0, 0);
    while !files.done() {
        let mut rows = Vec::new();
        all += files.take(&mut rows, 1000).await.unwrap();
        most = most.max(rows.len());
    }
    assert_eq!(all, 10_000);
    assert!((1000..1100).contains(&most), "{most}");
}

#[tokio::test]
async fn a_file_that_is_missing_or_cut_short_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let whole = packed(&"0123456789\n".repeat(1000));
    let cut = directory.path().join("cut");
    fs::write(&cut, &whole[..whole.len() / 2]).unwrap();
    for path in [cut, directory.path().join("missing")] {
        let mut files = Files::default();
        files.add(vec![path.clone()]);
        let error = files.take(&mut Vec::new(), 1 << 20).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Data);
        assert!(error.message.contains(path.to_str().unwrap()), "{error}");
    }
}

#[tokio::test]
async fn what_lies_outside_of_the_shared_directory_is_neither_read_nor_removed() {
    let (shared, own) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let secret = own.path().join("token");
    fs::write(&secret, "1\n").unwrap();
    let link = shared.path().join("link");
    std::os::unix::fs::symlink(&secret, &link).unwrap();
    for path in [
        secret.clone(),
        link,
        shared.path().join("../").join(own.path()).join("token"),
    ] {
        let (mut files, mut rows) = (Files::within(Some(shared.path())), Vec::new());
        files.add(vec![path]);
        let error = files.take(&mut rows, 1 << 20).await.unwrap_err();
        assert!(error.message.contains("container of its own"), "{error}");
        assert!(rows.is_empty());
    }
    assert!(secret.exists());

    let inside = shared.path().join("rows");
    fs::write(&inside, "1\n").unwrap();
    let (mut files, mut rows) = (Files::within(Some(shared.path())), Vec::new());
    files.add(vec![inside.clone()]);
    assert_eq!(files.take(&mut rows, 1 << 20).await.unwrap(), 1);
    assert!(!inside.exists());
}
