//! The chart's copy of the definitions is in step with the types.
//!
//! To write it anew: `MILLRACE_WRITE=1 cargo test -p millrace-crds --test chart`

use std::fs;
use std::path::Path;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;

#[test]
fn the_chart_holds_the_definitions_of_the_types() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/millrace/files/crds.yaml");
    let fresh = millrace_crds::crds_yaml().unwrap();
    if std::env::var_os("MILLRACE_WRITE").is_some() {
        fs::write(&file, &fresh).unwrap();
    }
    assert!(
        fs::read_to_string(&file).unwrap() == fresh,
        "charts/millrace/files/crds.yaml is stale; run MILLRACE_WRITE=1 cargo test -p millrace-crds --test chart"
    );
}

#[test]
fn the_file_says_what_the_types_say() {
    let text = millrace_crds::crds_yaml().unwrap();
    let read: Vec<CustomResourceDefinition> = serde_saphyr::from_multiple(&text).unwrap();
    assert_eq!(read, millrace_crds::crds());
}
