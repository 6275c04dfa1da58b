use super::open;

#[test]
fn what_cannot_be_loaded_is_told_with_the_reason_of_the_system() {
    let file = tempfile::Builder::new().suffix(".so").tempfile().unwrap();
    std::fs::write(file.path(), "no library at all, however long this text is").unwrap();
    let path = file.path().to_str().unwrap();

    let error = open(path).unwrap_err();

    assert!(
        error.message.starts_with(&format!("{path} cannot be loaded: ")),
        "{error}"
    );
    assert!(!error.message.contains("dlopen failed"), "{error}");
    assert!(
        error.message.contains("file too short") || error.message.contains("invalid ELF header"),
        "{error}"
    );
}
