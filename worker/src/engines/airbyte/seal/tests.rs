//! The promises about sealing.

use std::{path::PathBuf, sync::Arc};

use millrace_crds::plan::{Credential, CredentialPlace};

use super::*;
use crate::secrets::LocalSecrets;

fn secrets(values: &[(&str, &str)]) -> Secrets {
    let place = |name: &str| CredentialPlace::Secret {
        name: "shop".to_owned(),
        key: name.to_owned(),
    };
    let places = values.iter().map(|(name, _)| Credential {
        name: (*name).to_owned(),
        from: place(name),
    });
    let local = values
        .iter()
        .map(|(name, value)| (("shop".to_owned(), (*name).to_owned()), (*value).into()));
    let local: LocalSecrets = local.collect();
    Secrets::new(places.collect(), Arc::new(local), PathBuf::new())
}

fn seal(token: &str, of: &str) -> Seal {
    Seal::by(&secrets(&[("token", token)]), of).unwrap().unwrap()
}

#[tokio::test]
async fn only_the_same_credentials_of_the_same_source_open_it() {
    let text = r#"{"token":"the-new-one"}"#;
    let sealed = seal("old", "shop").close(text.to_owned()).await.unwrap();
    let open = async |seal: Seal, sealed: &str| seal.open(sealed.to_owned()).await.unwrap();
    assert_eq!(open(seal("old", "shop"), &sealed).await.as_deref(), Some(text));
    assert_eq!(open(seal("other", "shop"), &sealed).await, None);
    assert_eq!(open(seal("old", "another"), &sealed).await, None);
    let (first, rest) = sealed.split_at(sealed.len() / 2);
    let (changed, rest) = rest.split_at(1);
    let changed = if changed == "A" { "B" } else { "A" };
    assert_eq!(
        open(seal("old", "shop"), &format!("{first}{changed}{rest}")).await,
        None
    );
    for wrong in ["", "AAAA", "no base64!"] {
        assert_eq!(open(seal("old", "shop"), wrong).await, None);
    }
}

#[tokio::test]
async fn the_same_text_is_never_sealed_the_same() {
    let seal = seal("old", "shop");
    let one = seal.close("text".to_owned()).await.unwrap();
    assert_ne!(one, seal.close("text".to_owned()).await.unwrap());
}

#[test]
fn without_credentials_there_is_no_seal() {
    assert!(Seal::by(&secrets(&[]), "shop").unwrap().is_none());
    assert!(Seal::by(&secrets(&[("token", "")]), "shop").unwrap().is_none());
}
