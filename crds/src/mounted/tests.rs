//! Names that lead out of a volume are none.

use super::{Mounted, Volume};

#[test]
fn a_file_in_a_volume_is_told_from_other_places() {
    let found = Mounted::parse("configmap:readers/reader.py").unwrap();
    assert_eq!(
        (found.volume, found.name, found.path),
        (Volume::ConfigMap, "readers", "reader.py")
    );
    assert_eq!(found.below(), "configmap/readers/reader.py");
    let found = Mounted::parse("volume:plugins/shop/lib.so").unwrap();
    assert_eq!(
        (found.volume, found.name, found.path),
        (Volume::Claim, "plugins", "shop/lib.so")
    );
    for other in [
        "reader.py",
        "s3://bucket/reader.py",
        "./configmap/reader.py",
        "/x:y/z",
    ] {
        assert_eq!(Mounted::parse(other), None, "{other}");
    }
}

#[test]
fn no_name_leads_out_of_its_volume() {
    for wrong in [
        "configmap:reader.py",
        "configmap:../reader.py",
        "configmap:a/../../reader.py",
        "configmap:A/reader.py",
        "configmap:/reader.py",
        "volume:a//reader.py",
        "volume:a/",
        "volume:.a/b",
    ] {
        assert_eq!(Mounted::parse(wrong), None, "{wrong}");
    }
}
