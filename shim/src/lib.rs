//! What a worker and the shim beside it say to each other: one connection for each process.
//!
//! ```text
//! worker --- arguments, and its ends of three pipes ---> shim
//!        <-- how the process ended --------------------
//! ```
//!
//! The pipes are the process's standard streams themselves, so nothing passes through the shim. When the worker closes its
//! half of the connection, or is gone, the process is killed with all that it has started.

use std::{
    ffi::{OsStr, OsString},
    io::{self, ErrorKind, IoSlice, IoSliceMut, Read, Write},
    mem::MaybeUninit,
    os::{
        fd::{BorrowedFd, OwnedFd},
        unix::{ffi::OsStrExt, net::UnixStream},
    },
};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

/// The name of the shim in the directory that it is lent to.
pub const PROGRAM: &str = "shim";
/// The name of its socket there.
pub const SOCKET: &str = "socket";

/// The most bytes that arguments may have.
const LONGEST: u32 = 1 << 20;
/// The most bytes that an answer has.
const ANSWER: usize = 64 << 10;
const ENDED: u8 = b'e';
const FAILED: u8 = b'f';

/// How a process ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It ended with this status, as the system tells it.
    Ended(i32),
    /// It could not be started, and why.
    Failed(String),
}

/// Asks for a process: its program and arguments, and its standard streams. Without a program it is the image's own.
///
/// # Errors
/// Where the connection is broken, or there are too many arguments.
pub fn ask(mut stream: &UnixStream, command: &[OsString], streams: [BorrowedFd<'_>; 3]) -> io::Result<()> {
    let mut text = Vec::new();
    for part in command {
        text.extend_from_slice(part.as_bytes());
        text.push(0);
    }
    let length = u32::try_from(text.len()).ok().filter(|length| *length <= LONGEST);
    let length =
        length.ok_or_else(|| io::Error::new(ErrorKind::InvalidInput, "its arguments are too long"))?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
    let mut rights = SendAncillaryBuffer::new(&mut space);
    rights.push(SendAncillaryMessage::ScmRights(&streams));
    let head = length.to_be_bytes();
    let sent = sendmsg(stream, &[IoSlice::new(&head)], &mut rights, SendFlags::NOSIGNAL)?;
    stream.write_all(&head[sent..])?;
    stream.write_all(&text)
}

/// What is asked for; `None`: nobody asks.
///
/// # Errors
/// Where the connection is broken, or something else is asked.
pub fn asked(mut stream: &UnixStream) -> io::Result<Option<(Vec<OsString>, [OwnedFd; 3])>> {
    let mut head = [0; 4];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
    let mut rights = RecvAncillaryBuffer::new(&mut space);
    let found = recvmsg(
        stream,
        &mut [IoSliceMut::new(&mut head)],
        &mut rights,
        RecvFlags::CMSG_CLOEXEC,
    )?;
    if found.bytes == 0 {
        return Ok(None);
    }
    let streams: Vec<OwnedFd> = rights
        .drain()
        .filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(streams) => Some(streams),
            _ => None,
        })
        .flatten()
        .collect();
    let wrong = || io::Error::new(ErrorKind::InvalidData, "this is no request");
    let streams = streams.try_into().map_err(|_| wrong())?;
    if found.flags.contains(ReturnFlags::CTRUNC) {
        return Err(wrong());
    }
    stream.read_exact(&mut head[found.bytes..])?;
    let length = u32::from_be_bytes(head);
    if length > LONGEST {
        return Err(wrong());
    }
    let mut text = Vec::new();
    stream.take(length.into()).read_to_end(&mut text)?;
    if text.len() != length as usize {
        return Err(wrong());
    }
    let parts = text.split_inclusive(|byte| *byte == 0);
    let command = parts.map(|part| OsStr::from_bytes(&part[..part.len() - 1]).to_owned());
    Ok(Some((command.collect(), streams)))
}

impl Answer {
    /// The answer as it is sent.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Ended(status) => [&[ENDED], status.to_be_bytes().as_slice()].concat(),
            Self::Failed(why) => [&[FAILED], why.as_bytes()].concat(),
        }
    }

    /// What was answered, once the connection is closed; `None`: nothing, or no answer.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        match bytes.split_first()? {
            (&ENDED, status) => Some(Self::Ended(i32::from_be_bytes(status.try_into().ok()?))),
            (&FAILED, why) => Some(Self::Failed(
                String::from_utf8_lossy(&why[..why.len().min(ANSWER)]).into(),
            )),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
