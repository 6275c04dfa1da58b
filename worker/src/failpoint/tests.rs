use std::{
    os::unix::process::ExitStatusExt,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use super::{Action, Armed, hit, parse};

#[test]
fn a_place_has_a_count_and_an_action() {
    let armed = |name: &str, count, action| Armed {
        name: name.to_owned(),
        count,
        action,
    };
    assert_eq!(
        parse("commit.after").unwrap(),
        armed("commit.after", 1, Action::Kill)
    );
    assert_eq!(
        parse("commit.after:3").unwrap(),
        armed("commit.after", 3, Action::Kill)
    );
    assert_eq!(
        parse("fence.before=stop").unwrap(),
        armed("fence.before", 1, Action::Stop)
    );
    assert_eq!(
        parse("stage.write:7=error").unwrap(),
        armed("stage.write", 7, Action::Error)
    );
}

#[test]
fn what_makes_no_sense_is_told() {
    for text in [
        "comit.after",
        "commit.after:x",
        "commit.after:0",
        "commit.after=die",
    ] {
        assert!(parse(text).unwrap_err().message.contains(text));
    }
}

#[test]
fn nothing_happens_where_nothing_is_asked() {
    hit("commit.before").unwrap();
}

/// The life of the child in the tests below: it passes one place four times.
#[test]
#[ignore = "a part of other tests, which run it in a process of its own"]
fn child() {
    for _ in 0..4 {
        let passed = hit("commit.after");
        println!("passed {}", passed.is_ok());
    }
}

fn spawn(failpoint: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "failpoint::tests::child",
            "--include-ignored",
            "--nocapture",
            "--test-threads=1",
        ])
        .env("MILLRACE_FAILPOINT", failpoint)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn passed(failpoint: &str) -> (usize, usize, std::process::ExitStatus) {
    let output = spawn(failpoint).wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    (
        text.matches("passed true").count(),
        text.matches("passed false").count(),
        output.status,
    )
}

#[test]
fn kill_ends_the_process_at_the_place() {
    let (passes, _, status) = passed("commit.after:3");
    assert_eq!((passes, status.signal()), (2, Some(9)));
}

#[test]
fn an_error_is_one_pass() {
    let (passes, failures, status) = passed("commit.after:2=error");
    assert!(status.success());
    assert_eq!((passes, failures), (3, 1));
}

#[test]
fn another_place_is_passed() {
    assert_eq!(passed("ack.after").0, 4);
}

#[test]
fn stop_holds_the_process_until_it_is_continued() {
    let child = spawn("commit.after:2=stop");
    let pid = child.id();
    let deadline = Instant::now() + Duration::from_secs(30);
    let state = || std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    while !state().contains(") T ") {
        assert!(Instant::now() < deadline, "it does not stop");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(
        Command::new("sh")
            .args(["-c", &format!("kill -CONT {pid}")])
            .status()
            .unwrap()
            .success()
    );
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    assert_eq!(
        String::from_utf8(output.stdout)
            .unwrap()
            .matches("passed true")
            .count(),
        4
    );
}
