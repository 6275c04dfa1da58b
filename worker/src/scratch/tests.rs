//! What is swept, and what is not.

use std::{fs::FileTimes, time::SystemTime};

use super::*;

/// Makes it look as if it had been there for long.
fn age(path: &Path) {
    let long_ago = SystemTime::now() - YOUNG * 2;
    File::open(path)
        .unwrap()
        .set_times(FileTimes::new().set_modified(long_ago))
        .unwrap();
}

#[test]
fn it_goes_with_its_content() {
    let place = tempfile::tempdir().unwrap();
    let scratch = Scratch::within(place.path()).unwrap();
    std::fs::write(scratch.path().join("rows"), "1").unwrap();
    let path = scratch.path().to_owned();
    drop(scratch);
    assert!(!path.exists());
}

#[test]
fn what_nobody_holds_is_swept_once_it_is_old() {
    let place = tempfile::tempdir().unwrap();
    let [left, young, other] =
        ["millrace-scratch-left", "millrace-scratch-young", "other"].map(|name| place.path().join(name));
    for directory in [&left, &young, &other] {
        std::fs::create_dir(directory).unwrap();
        std::fs::write(directory.join("rows"), "1").unwrap();
    }
    let held = Scratch::within(place.path()).unwrap();
    for directory in [&left, &other, held.path()] {
        age(directory);
    }

    sweep(place.path(), PREFIX, YOUNG);

    let there = [left.as_path(), &young, &other, held.path()].map(Path::exists);
    assert_eq!(there, [false, true, true, true]);
}
