use std::{os::unix::process::ExitStatusExt, process::ExitStatus};

use super::Ended;

/// The error of a program that ended with 1 and said this.
fn error(said: &str) -> String {
    let ended = Ended {
        name: "tap-x".to_owned(),
        status: Some(ExitStatus::from_raw(1 << 8)),
        said: said.lines().map(str::to_owned).collect(),
    };
    ended.error("it read").to_string()
}

#[test]
fn of_a_traceback_what_was_raised_is_told_and_not_the_way_there() {
    // The first lines that were kept are those of a frame whose head is gone.
    let said = "    ^^^^^^\n  File \"a.py\", line 1, in b\n    c()\nwarned\nTraceback (most recent call last):\n\
        \x20 File \"a.py\", line 2, in <module>\n    raise KeyError\nKeyError: 'path'\n  a note of the error";
    let message = error(said);
    assert!(
        message.contains("its last words: warned | KeyError: 'path' |   a note of the error"),
        "{message}"
    );
}

#[test]
fn without_a_traceback_all_of_it_is_told() {
    let message = error("  indented\nplain");
    assert!(
        message.contains("its last words:   indented | plain"),
        "{message}"
    );
    let message = error("  File \"a.py\", line 1, in b");
    assert!(message.contains("File \"a.py\""), "{message}");
}

#[test]
fn a_module_that_is_missing_is_told_with_what_to_install() {
    let message = error("ModuleNotFoundError: No module named 'pkg_resources'");
    assert!(message.contains("install `setuptools<81` beside it"), "{message}");
    let message = error("ModuleNotFoundError: No module named 'pytz'");
    assert!(message.contains("the package that holds `pytz`"), "{message}");
}
