//! The promises about what is kept.

use k8s_openapi::api::core::v1::ConfigMap;

use super::*;
use crate::cluster::api::fake::{Fake, Fault};

fn ground() -> (Fake, KeptNote) {
    let fake = Fake::default();
    let mut map = ConfigMap::default();
    map.metadata.name = Some(child_of(SOURCE_LABEL, "shop", KEPT_CONFIG));
    fake.put(map);
    let note = KeptNote::of_source(&fake.maps(), "shop");
    (fake, note)
}

#[tokio::test]
async fn the_last_that_was_written_is_there_for_the_next() {
    let (fake, note) = ground();
    assert_eq!(note.read().await.unwrap(), None);
    fake.state().script.extend([Fault::Other, Fault::ApplyThenCut]);
    note.write("one".to_owned()).await.unwrap();
    note.write("two".to_owned()).await.unwrap();
    let next = KeptNote::of_source(&fake.maps(), "shop");
    assert_eq!(next.read().await.unwrap().as_deref(), Some("two"));
    assert_eq!(
        KeptNote::of_source(&fake.maps(), "other").read().await.unwrap(),
        None
    );
}

#[tokio::test]
async fn without_its_place_nothing_is_said_to_be_kept() {
    let note = KeptNote::of_source(&Fake::default().maps(), "shop");
    let error = note.write("one".to_owned()).await.unwrap_err();
    assert!(error.to_string().contains("the operator makes it"), "{error}");
}
