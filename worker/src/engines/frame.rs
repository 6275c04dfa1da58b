//! Frames: a header in JSON and a body, as `docs/plugins/protocol.md` has them.

use std::io::{self, Read};

use serde::Serialize;
use serde_json::Value;
use tokio::io::{AsyncWrite, AsyncWriteExt};

use super::output::broken;
use crate::error::{Error, Result};

/// The longest header, in bytes.
const HEADER: usize = 16 << 20;
/// The longest body, in bytes.
pub(crate) const BODY: usize = 256 << 20;

/// Bytes of a part for which room is made before they come.
const PROMISED: usize = 8 << 20;

/// One frame.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    /// What it is.
    pub(super) kind: String,
    /// What it says.
    pub(super) header: Value,
    /// What it brings.
    pub(super) body: bytes::Bytes,
}

/// Writes a frame.
///
/// # Errors
/// `transient` where nobody reads any more.
pub(super) async fn write(
    to: &mut (impl AsyncWrite + Unpin),
    header: &impl Serialize,
    body: &[u8],
) -> Result<()> {
    let header =
        serde_json::to_vec(header).map_err(|error| Error::bug(format!("a frame's header: {error}")))?;
    let length = |part: &[u8]| u32::try_from(part.len()).map_err(|_| Error::bug("a frame is too long"));
    let mut start = [0; 8];
    start[..4].copy_from_slice(&length(&header)?.to_le_bytes());
    start[4..].copy_from_slice(&length(body)?.to_le_bytes());
    let gone = |error: io::Error| Error::transient(format!("the pipe is closed: {error}"));
    for part in [&start[..], &header, body] {
        to.write_all(part).await.map_err(gone)?;
    }
    to.flush().await.map_err(gone)
}

/// Reads a frame; `None`: the output ends.
///
/// # Errors
/// `bug` where what comes is none.
pub(super) fn read(from: &mut impl Read) -> Result<Option<Frame>> {
    let mut start = [0; 8];
    match from.read_exact(&mut start) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(broken(&error)),
    }
    let length = |part: &[u8]| {
        part.iter()
            .rev()
            .fold(0_usize, |sum, byte| sum << 8 | usize::from(*byte))
    };
    let (header, body) = (length(&start[..4]), length(&start[4..]));
    if header > HEADER || body > BODY {
        return Err(Error::bug(format!(
            "what it sent is no frame of this protocol: a header of {header} and a body of {body} bytes"
        )));
    }
    let header = exact(from, header)?;
    let header: Value = serde_json::from_slice(&header)
        .map_err(|error| Error::bug(format!("a frame's header is no JSON: {error}")))?;
    let kind = header
        .get("type")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned();
    Ok(Some(Frame {
        kind,
        body: exact(from, body)?.into(),
        header,
    }))
}

/// So many bytes; room is made as they come, not as they are promised.
fn exact(from: &mut impl Read, length: usize) -> Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(length.min(PROMISED));
    match from.take(length as u64).read_to_end(&mut bytes) {
        Ok(read) if read == length => Ok(bytes),
        Ok(read) => Err(Error::bug(format!("a frame ends after {read} of {length} bytes"))),
        Err(error) => Err(broken(&error)),
    }
}
