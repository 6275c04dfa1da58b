//! Compressed objects, undone as they are read: memory stays bounded however far a stream expands.

use flate2::write::MultiGzDecoder;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use zstd::stream::raw::{Decoder as Zstd, InBuffer, Operation, OutBuffer};

use crate::{
    error::{Error, Result},
    storage::Input,
};

/// How a file is compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// As the name (`.gz`, `.zst`) or the first bytes say.
    #[default]
    Auto,
    /// Not compressed.
    None,
    /// Gzip.
    Gzip,
    /// Zstandard.
    Zstd,
}

impl Compression {
    /// What a file of this name, whose first bytes are these, is compressed with; never `Auto`.
    #[must_use]
    pub fn detect(self, name: &str, head: &[u8]) -> Self {
        match (self, head) {
            (Self::Auto, [0x1f, 0x8b, ..]) => Self::Gzip,
            (Self::Auto, [0x28, 0xb5, 0x2f, 0xfd, ..]) => Self::Zstd,
            // An empty file decompresses to nothing, whatever its name.
            (Self::Auto, []) => Self::None,
            (Self::Auto, _) => Self::of_name(name),
            (chosen, _) => chosen,
        }
    }

    /// What the suffix of a name says.
    #[must_use]
    pub fn of_name(name: &str) -> Self {
        match name.rsplit_once('.').map(|(_, suffix)| suffix) {
            Some("gz" | "gzip") => Self::Gzip,
            Some("zst" | "zstd") => Self::Zstd,
            _ => Self::None,
        }
    }

    /// A name without the suffix of its compression.
    #[must_use]
    pub fn strip(name: &str) -> &str {
        match (Self::of_name(name), name.rsplit_once('.')) {
            (Self::Gzip | Self::Zstd, Some((stem, _))) => stem,
            _ => name,
        }
    }
}

/// Compressed bytes fed in at once. Gzip expands at most 1,032 times, so that one piece yields at most 8 MiB.
const PIECE: usize = 8 << 10;

/// The bytes of an object with its compression undone.
pub(crate) struct Decoded {
    input: Input,
    way: Way,
}

enum Way {
    Plain,
    Gzip(Box<Gzip>),
    Zstd(Box<ZstdStream>),
}

impl Decoded {
    pub(crate) fn new(input: Input, compression: Compression) -> Result<Self> {
        let way = match compression {
            Compression::Auto | Compression::None => Way::Plain,
            Compression::Gzip => Way::Gzip(Box::default()),
            Compression::Zstd => Way::Zstd(Box::new(ZstdStream::new()?)),
        };
        Ok(Self { input, way })
    }

    /// Where the next byte is read from the object.
    pub(crate) fn position(&self) -> u64 {
        self.input.position()
    }

    /// Some of the next bytes; 0: the end (or `out` is empty).
    pub(crate) async fn read(&mut self, out: &mut [u8]) -> Result<usize> {
        match &mut self.way {
            Way::Plain => self.input.read(out).await,
            Way::Gzip(gzip) => gzip.read(&mut self.input, out).await,
            Way::Zstd(zstd) => zstd.read(&mut self.input, out).await,
        }
    }
}

fn damaged(what: &str, error: impl std::fmt::Display) -> Error {
    Error::data(format!("the {what} stream is damaged or cut short: {error}"))
        .advice("compress the file again, or write it whole")
}

struct Gzip {
    decoder: MultiGzDecoder<Vec<u8>>,
    piece: Vec<u8>,
    /// Bytes of the decoder's output that were handed out.
    taken: usize,
    ended: bool,
}

impl Default for Gzip {
    fn default() -> Self {
        Self {
            decoder: MultiGzDecoder::new(Vec::new()),
            piece: vec![0; PIECE],
            taken: 0,
            ended: false,
        }
    }
}

impl Gzip {
    async fn read(&mut self, input: &mut Input, out: &mut [u8]) -> Result<usize> {
        use std::io::Write;
        while self.taken == self.decoder.get_ref().len() && !self.ended {
            self.decoder.get_mut().clear();
            self.taken = 0;
            match input.read(&mut self.piece).await? {
                0 => {
                    self.ended = true;
                    self.decoder
                        .try_finish()
                        .map_err(|error| damaged("gzip", error))?;
                }
                count => self
                    .decoder
                    .write_all(&self.piece[..count])
                    .map_err(|error| damaged("gzip", error))?,
            }
        }
        let ready = &self.decoder.get_ref()[self.taken..];
        let count = ready.len().min(out.len());
        out[..count].copy_from_slice(&ready[..count]);
        self.taken += count;
        Ok(count)
    }
}

struct ZstdStream {
    decoder: Zstd<'static>,
    piece: Vec<u8>,
    ready: std::ops::Range<usize>,
    /// A frame has begun and not ended.
    within: bool,
}

impl ZstdStream {
    fn new() -> Result<Self> {
        let decoder = Zstd::new().map_err(Error::bug)?;
        Ok(Self {
            decoder,
            piece: vec![0; 16 * PIECE],
            ready: 0..0,
            within: false,
        })
    }

    async fn read(&mut self, input: &mut Input, out: &mut [u8]) -> Result<usize> {
        loop {
            // Output may be left inside of the decoder when the input is used up, so it runs before more is read.
            let mut from = InBuffer::around(&self.piece[self.ready.clone()]);
            let mut to = OutBuffer::around(&mut *out);
            let hint = self
                .decoder
                .run(&mut from, &mut to)
                .map_err(|error| damaged("zstd", error))?;
            let (used, made) = (from.pos(), to.pos());
            self.within = hint != 0 && (self.within || used > 0 || made > 0);
            self.ready.start += used;
            if made > 0 || out.is_empty() {
                return Ok(made);
            }
            if self.ready.is_empty() {
                match input.read(&mut self.piece).await? {
                    0 if self.within => return Err(damaged("zstd", "it ends within a frame")),
                    0 => return Ok(0),
                    count => self.ready = 0..count,
                }
            }
        }
    }
}
