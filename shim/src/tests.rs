//! What is asked is heard, with the streams; what is no request is refused.

use std::{
    ffi::OsString,
    io::{Read, Write, pipe},
    os::{fd::AsFd, unix::net::UnixStream},
};

use super::{Answer, ask, asked};

fn command(parts: &[&str]) -> Vec<OsString> {
    parts.iter().map(OsString::from).collect()
}

#[test]
fn arguments_and_streams_arrive() {
    let (worker, shim) = UnixStream::pair().unwrap();
    let (mut reader, writer) = pipe().unwrap();
    let wanted = command(&["/bin/tap", "--config", "", "a b"]);
    ask(&worker, &wanted, [writer.as_fd(), writer.as_fd(), writer.as_fd()]).unwrap();
    drop(writer);

    let (found, [_, output, _]) = asked(&shim).unwrap().unwrap();

    assert_eq!(found, wanted);
    std::fs::File::from(output).write_all(b"rows").unwrap();
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    assert_eq!(text, "rows");
}

#[test]
fn no_program_is_the_images_own() {
    let (worker, shim) = UnixStream::pair().unwrap();
    let (reader, _writer) = pipe().unwrap();
    ask(&worker, &[], [reader.as_fd(); 3]).unwrap();
    assert!(asked(&shim).unwrap().unwrap().0.is_empty());
}

#[test]
fn whoever_asks_nothing_is_no_fault_and_whoever_asks_something_else_is() {
    let (worker, shim) = UnixStream::pair().unwrap();
    drop(worker);
    assert!(asked(&shim).unwrap().is_none());

    let (mut worker, shim) = UnixStream::pair().unwrap();
    worker.write_all(b"GET / HTTP/1.1\r\n").unwrap();
    assert!(asked(&shim).is_err(), "without streams");

    let (worker, shim) = UnixStream::pair().unwrap();
    let (reader, _writer) = pipe().unwrap();
    ask(&worker, &command(&["tap"]), [reader.as_fd(); 3]).unwrap();
    drop(worker);
    assert!(asked(&shim).unwrap().is_some());
}

#[test]
fn arguments_have_a_limit() {
    let (worker, _shim) = UnixStream::pair().unwrap();
    let (reader, _writer) = pipe().unwrap();
    let long = "x".repeat(2 << 20);
    assert!(ask(&worker, &command(&[&long]), [reader.as_fd(); 3]).is_err());
}

#[test]
fn answers_are_read_as_they_were_written() {
    for answer in [
        Answer::Ended(0),
        Answer::Ended(256),
        Answer::Ended(9),
        Answer::Failed("no file".into()),
    ] {
        assert_eq!(Answer::from_bytes(&answer.to_bytes()), Some(answer));
    }
    for wrong in [&b""[..], b"e", b"e\0\0\0", b"?", b"e\0\0\0\0\0"] {
        assert_eq!(Answer::from_bytes(wrong), None);
    }
}
