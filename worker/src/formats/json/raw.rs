//! The parts of a JSON text, as they were written: each value stays a slice of the text, and is understood by who
//! knows its type. What is passed over is not checked beyond its quotes and brackets.

use std::borrow::Cow;

use serde::de::IgnoredAny;

/// Gives each member of an object to `visit`; `None`: the text is not one object.
pub(crate) fn members<'a>(text: &'a str, mut visit: impl FnMut(Cow<'a, str>, &'a str)) -> Option<()> {
    let mut scan = Scan { text, at: 0 };
    scan.expect(b'{')?;
    if scan.peek()? == b'}' {
        scan.at += 1;
        return scan.end();
    }
    loop {
        let name = super::string(scan.value()?)?;
        scan.expect(b':')?;
        visit(name, scan.value()?);
        match scan.next()? {
            b',' => {}
            b'}' => return scan.end(),
            _ => return None,
        }
    }
}

/// Gives each item of an array to `visit`; `None`: the text is not one array.
pub(crate) fn items<'a>(text: &'a str, mut visit: impl FnMut(&'a str)) -> Option<()> {
    let mut scan = Scan { text, at: 0 };
    scan.expect(b'[')?;
    if scan.peek()? == b']' {
        scan.at += 1;
        return scan.end();
    }
    loop {
        visit(scan.value()?);
        match scan.next()? {
            b',' => {}
            b']' => return scan.end(),
            _ => return None,
        }
    }
}

/// Whether a text is one JSON value, nested at most 128 deep.
pub(crate) fn valid(text: &str) -> bool {
    serde_json::from_str::<IgnoredAny>(text).is_ok()
}

struct Scan<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scan<'a> {
    fn peek(&mut self) -> Option<u8> {
        let rest = &self.text.as_bytes()[self.at..];
        self.at += rest
            .iter()
            .position(|byte| !matches!(byte, b' ' | b'\t' | b'\n' | b'\r'))?;
        self.text.as_bytes().get(self.at).copied()
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        (self.next()? == byte).then_some(())
    }

    /// Nothing but blanks may follow.
    fn end(&mut self) -> Option<()> {
        self.peek().is_none().then_some(())
    }

    /// The next value.
    fn value(&mut self) -> Option<&'a str> {
        let first = self.peek()?;
        let start = self.at;
        match first {
            b'"' => self.string()?,
            b'{' | b'[' => self.nested()?,
            _ => self.literal(),
        }
        (self.at > start).then(|| &self.text[start..self.at])
    }

    fn string(&mut self) -> Option<()> {
        let bytes = self.text.as_bytes();
        let mut at = self.at + 1;
        loop {
            at += memchr::memchr2(b'"', b'\\', bytes.get(at..)?)?;
            if bytes[at] == b'"' {
                self.at = at + 1;
                return Some(());
            }
            at += 2;
        }
    }

    /// Up to the bracket that closes the one here.
    fn nested(&mut self) -> Option<()> {
        let mut depth = 0_usize;
        loop {
            match self.text.as_bytes().get(self.at)? {
                b'"' => {
                    self.string()?;
                    continue;
                }
                b'{' | b'[' => depth += 1,
                b'}' | b']' => depth -= 1,
                _ => {}
            }
            self.at += 1;
            if depth == 0 {
                return Some(());
            }
        }
    }

    fn literal(&mut self) {
        let rest = &self.text.as_bytes()[self.at..];
        let ends = |byte: &u8| {
            matches!(
                byte,
                b',' | b'}' | b']' | b':' | b'"' | b' ' | b'\t' | b'\n' | b'\r'
            )
        };
        self.at += rest.iter().position(ends).unwrap_or(rest.len());
    }
}
