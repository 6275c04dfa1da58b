//! One entry of a `ConfigMap`: its name, and its content.
//!
//! In: a key of a [`super::CasStore`] and bytes. Out: a name that the API server takes (letters, digits, `-_.`, at most 253),
//! from which the key can be told; and the bytes as a zstd frame. Where the key is too long for a name, it stands in a frame
//! of its own before them, which every reader of zstd passes over.

use std::io::Read;

use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};

/// The longest name of an entry.
const LONGEST: usize = 253;
/// What is kept of a longer one, before its hash.
const KEPT: usize = 180;
/// What stands between the two; no name that is not cut holds it.
const CUT: &str = "-h";
/// The magic number of a frame that is passed over.
const ASIDE: [u8; 4] = 0x184D_2A50_u32.to_le_bytes();
/// The most that an entry may unpack to: far above what a record may have.
const UNPACKED: u64 = 64 << 20;

/// The name of a key: `/` and `!` become `-.` and `-_`, and `-` becomes `--`.
pub(super) fn name(key: &str) -> String {
    let mut name = String::with_capacity(key.len());
    for letter in key.chars() {
        match letter {
            '-' => name.push_str("--"),
            '/' => name.push_str("-."),
            '!' => name.push_str("-_"),
            other => name.push(other),
        }
    }
    match name.len() > LONGEST {
        true => format!(
            "{}{CUT}{:x}",
            name.get(..KEPT).unwrap_or_default(),
            Sha256::digest(key)
        ),
        false => name,
    }
}

/// The key of a name; of one that was cut, from the content. `None`: it is none of ours.
pub(super) fn key(of: &str, packed: &[u8]) -> Option<String> {
    let found = match aside(packed) {
        Some(key) => key.to_owned(),
        None => plain(of)?,
    };
    (name(&found) == of).then_some(found)
}

fn plain(name: &str) -> Option<String> {
    let mut key = String::with_capacity(name.len());
    let mut letters = name.chars();
    while let Some(letter) = letters.next() {
        key.push(match letter {
            '-' => match letters.next()? {
                '-' => '-',
                '.' => '/',
                '_' => '!',
                _ => return None,
            },
            other => other,
        });
    }
    Some(key)
}

/// The bytes, packed.
///
/// # Errors
/// `bug` where zstd does not take them.
pub(super) fn pack(key: &str, bytes: &[u8]) -> Result<Vec<u8>> {
    let frame = zstd::bulk::compress(bytes, 0).map_err(Error::bug)?;
    if plain(&name(key)).as_deref() == Some(key) {
        return Ok(frame);
    }
    let length = u32::try_from(key.len()).map_err(Error::bug)?;
    Ok([&ASIDE[..], &length.to_le_bytes(), key.as_bytes(), &frame].concat())
}

/// The bytes of an entry.
///
/// # Errors
/// `StateCorrupt` where they cannot be unpacked.
pub(super) fn unpack(key: &str, packed: &[u8]) -> Result<Bytes> {
    let mut bytes = Vec::new();
    zstd::stream::Decoder::new(packed)
        .and_then(|frames| frames.take(UNPACKED).read_to_end(&mut bytes))
        .map(|_| Bytes::from(bytes))
        .map_err(|error| {
            Error::state(
                "StateCorrupt",
                format!("the entry of {key} cannot be unpacked: {error}"),
            )
            .advice("it was edited by hand; bring the ConfigMap back from a backup")
        })
}

/// The key that stands before the content.
fn aside(packed: &[u8]) -> Option<&str> {
    let rest = packed.strip_prefix(&ASIDE)?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let key = rest.get(..u32::from_le_bytes(*length) as usize)?;
    std::str::from_utf8(key).ok()
}

#[cfg(test)]
mod tests {
    use super::{LONGEST, key, name, pack, unpack};

    #[test]
    fn every_key_has_a_name_that_tells_it() {
        let long = format!("{}/{}/HEAD.json", "s".repeat(180), "t".repeat(180));
        let longer = format!("{}/{}/HEAD.json", "s".repeat(180), "t".repeat(181));
        let keys = [
            "a/b/HEAD.json",
            "a!_-.y/x",
            "A-/-a",
            "a--b",
            "_e/_2f",
            &long,
            &longer,
        ];
        let mut seen = std::collections::HashSet::new();
        for known in keys {
            let name = name(known);
            assert!(name.len() <= LONGEST && seen.insert(name.clone()), "{name}");
            assert!(
                name.chars()
                    .all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
            );
            let packed = pack(known, b"bytes").unwrap();
            assert_eq!(key(&name, &packed).as_deref(), Some(known));
            assert_eq!(unpack(known, &packed).unwrap(), "bytes");
            let streamed = zstd::stream::decode_all(packed.as_slice()).unwrap();
            assert_eq!(streamed, b"bytes", "other readers of zstd read it too");
        }
        assert_eq!(key("-x", b""), None);
    }

    #[test]
    fn damage_is_told() {
        let mut packed = pack("a", b"some bytes that are packed").unwrap();
        packed.truncate(packed.len() - 1);
        assert_eq!(unpack("a", &packed).unwrap_err().reason, "StateCorrupt");
    }
}
