//! Secrets that the kubelet has mounted into this pod: a directory for each, a file for each key.
//!
//! In: `MILLRACE_SECRETS_DIR`, or the usual place. Out: the value as it is now. A Secret that is missing is mounted as an
//! empty directory, so that it is told by name as soon as a connection needs it, and found as soon as it is there.

use std::{
    io::ErrorKind as Io,
    path::{Path, PathBuf},
};

use millrace_crds::channel::{SECRETS_DIR, SECRETS_PLACE};
use secrecy::SecretString;

use super::line;
use crate::error::{Error, Result};

/// Where they are mounted; `None`: this is no pod.
pub(super) fn directory() -> Option<PathBuf> {
    match std::env::var_os(SECRETS_DIR) {
        Some(path) if !path.is_empty() => Some(PathBuf::from(path)),
        _ => Some(PathBuf::from(SECRETS_PLACE)).filter(|place| place.is_dir()),
    }
}

/// The value of a key.
///
/// # Errors
/// `config` with reason `SecretKeyMissing` where it is not there, or is no text.
pub(super) fn read(directory: &Path, secret: &str, key: &str) -> Result<SecretString> {
    if ![secret, key].into_iter().all(is_name) {
        return Err(Error::config(format!(
            "`{secret}` and `{key}` are no names of a Secret and a key"
        ))
        .reason("InvalidCredential"));
    }
    let missing = |what: String| {
        Error::config(what)
            .reason("SecretKeyMissing")
            .advice(format!(
                "make it in the namespace of the Flow: kubectl create secret generic {secret} --from-file={key}=FILE; \
                 it is seen within a minute or so"
            ))
    };
    match std::fs::read(directory.join(secret).join(key)) {
        Ok(bytes) => match String::from_utf8(bytes) {
            Ok(text) => Ok(line(&text)),
            Err(_) => Err(missing(format!("key `{key}` of Secret `{secret}` is no text"))),
        },
        Err(error) if error.kind() == Io::NotFound => Err(missing(format!(
            "Secret `{secret}` has no key `{key}`, or is not there"
        ))),
        Err(error) => Err(Error::config(format!(
            "key `{key}` of Secret `{secret}` cannot be read: {error}"
        ))
        .reason("SecretKeyMissing")
        .advice("look at the mount of the pod")),
    }
}

/// One component of a path: whoever writes a manifest does not choose files of this pod.
fn is_name(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    !text.is_empty() && text != "." && text != ".." && text.chars().all(plain)
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::read;

    #[test]
    fn a_mounted_secret_is_read_each_time() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path();
        let missing = read(place, "shop-db", "password").unwrap_err();
        assert_eq!(missing.reason, "SecretKeyMissing");
        assert!(missing.message.contains("shop-db"), "{missing}");
        std::fs::create_dir(place.join("shop-db")).unwrap();
        for value in ["first", "second"] {
            std::fs::write(place.join("shop-db/password"), format!("{value}\n")).unwrap();
            let found = read(place, "shop-db", "password").unwrap();
            assert_eq!(found.expose_secret(), value);
        }
        std::fs::write(place.join("shop-db/password"), [0xff, 0xfe]).unwrap();
        assert_eq!(
            read(place, "shop-db", "password").unwrap_err().reason,
            "SecretKeyMissing"
        );
    }

    #[test]
    fn a_name_cannot_leave_the_mount() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("outside"), "x").unwrap();
        let mounts = directory.path().join("mounts");
        std::fs::create_dir_all(mounts.join("a")).unwrap();
        for (secret, key) in [
            ("..", "outside"),
            ("a", "../../outside"),
            ("", "a"),
            ("a/..", "x"),
        ] {
            assert_eq!(
                read(&mounts, secret, key).unwrap_err().reason,
                "InvalidCredential"
            );
        }
    }
}
