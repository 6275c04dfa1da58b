//! Names of states and streams as one component of a path, each with a form of its own.
//!
//! Lower-case letters, digits, `-` and inner dots stay; `_` becomes `__`; every other byte becomes `_` and two
//! hexadecimal digits, upper-case letters too, so that no file system takes two names for one. What would be longer
//! than a file system allows is cut, and ends in `_h` and the hash of the whole.

use std::fmt::Write;

use sha2::{Digest, Sha256};

/// The longest component that is not cut; most file systems allow 255 bytes.
const LONGEST: usize = 180;
/// What is left of a longer one.
const KEPT: usize = 100;

/// The component for a name.
pub(crate) fn encode(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    for (place, byte) in name.bytes().enumerate() {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'-' => text.push(char::from(byte)),
            b'.' if place > 0 => text.push('.'),
            b'_' => text.push_str("__"),
            _ => {
                let _ = write!(text, "_{byte:02x}");
            }
        }
    }
    match text.len() {
        0 => "_e".to_owned(),
        1..=LONGEST => text,
        _ => format!("{}_h{:x}", &text[..KEPT], Sha256::digest(name)),
    }
}

/// The name of a component; `None` where it was cut, or was never made here.
pub(super) fn decode(text: &str) -> Option<String> {
    if text == "_e" {
        return Some(String::new());
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let (byte, after) = match (byte, after) {
            (b'_', [b'_', after @ ..]) => (b'_', after),
            (b'_', [high, low, after @ ..]) => ((digit(*high)? << 4) | digit(*low)?, after),
            (b'_', _) => return None,
            plain => plain,
        };
        bytes.push(byte);
        rest = after;
    }
    String::from_utf8(bytes).ok().filter(|name| encode(name) == text)
}

fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::{decode, encode};

    #[test]
    fn every_name_has_a_form_of_its_own_and_comes_back() {
        let names = [
            "",
            "a",
            "A",
            ".",
            "..",
            "a.b",
            ".a",
            "_",
            "__",
            "_5f",
            "a/b",
            "a_2fb",
            "default/shop-to-lake",
            "public.Users",
            "é",
            "e\u{301}",
            "a b",
            "%2f",
            "_e",
            "_h",
            "\0",
            "naïve/日本",
        ];
        let forms: HashSet<String> = names.iter().map(|name| encode(name).to_lowercase()).collect();
        assert_eq!(forms.len(), names.len());
        for name in names {
            assert_eq!(decode(&encode(name)).as_deref(), Some(name), "{name:?}");
        }
    }

    #[test]
    fn forms_are_safe_components() {
        for name in ["../../etc/passwd", "/", "a\nb", "\\", "C:", "..", "x=1"] {
            let form = encode(name);
            assert!(
                form.bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte)),
                "{form}"
            );
            assert!(!form.starts_with('.'));
        }
    }

    #[test]
    fn long_names_are_cut_and_stay_apart() {
        let (one, two) = ("x".repeat(300), "x".repeat(301));
        assert!(encode(&one).len() < 200 && encode(&one) != encode(&two));
        assert_eq!(decode(&encode(&one)), None);
    }

    #[test]
    fn what_was_never_made_here_has_no_name() {
        for text in ["_", "_1", "_zz", "A", "_61", ".a"] {
            assert_eq!(decode(text), None, "{text}");
        }
    }
}
