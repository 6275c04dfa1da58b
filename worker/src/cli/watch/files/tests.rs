use std::fs;

use super::look;

#[test]
fn a_directory_is_seen_by_its_manifests() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    fs::write(at("flow.yaml"), "a").unwrap();
    fs::write(at("orders.csv"), "id").unwrap();
    let paths = [directory.path().to_owned()];
    let before = look(&paths);
    assert_eq!(before.keys().collect::<Vec<_>>(), [&at("flow.yaml")]);
    // What a load writes beside them is no reason to read them again.
    fs::write(at("orders.csv"), "id\n1\n").unwrap();
    assert_eq!(look(&paths), before);
    fs::write(at("flow.yaml"), "ab").unwrap();
    let longer = look(&paths);
    assert_ne!(longer, before);
    fs::write(at("job.yml"), "a").unwrap();
    assert_ne!(look(&paths), longer);
}

#[test]
fn a_file_is_seen_to_go_and_to_come_back() {
    let directory = tempfile::tempdir().unwrap();
    let paths = [directory.path().join("flow")];
    let gone = look(&paths);
    assert_eq!(gone.values().collect::<Vec<_>>(), [&None]);
    fs::write(&paths[0], "a").unwrap();
    assert_ne!(look(&paths), gone);
    fs::remove_file(&paths[0]).unwrap();
    assert_eq!(look(&paths), gone);
}
