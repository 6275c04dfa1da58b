use std::path::PathBuf;

use super::*;

#[test]
fn a_line_end_at_the_end_of_a_secret_or_a_file_is_no_part_of_the_value() {
    let directory = tempfile::tempdir().unwrap();
    for text in ["open sesame", "open sesame\n", "open sesame\r\n"] {
        std::fs::write(directory.path().join("key"), text).unwrap();
        let local = LocalSecrets::from([(("db".to_owned(), "password".to_owned()), text.into())]);
        let secret = CredentialPlace::Secret {
            name: "db".to_owned(),
            key: "password".to_owned(),
        };
        for from in [secret, CredentialPlace::File("key".to_owned())] {
            let credential = Credential {
                name: "password".to_owned(),
                from,
            };
            let base = PathBuf::from(directory.path());
            let secrets = Secrets::new(vec![credential], Arc::new(local.clone()), base);
            assert_eq!(secrets.plain("password").unwrap().unwrap(), "open sesame");
        }
    }
}
