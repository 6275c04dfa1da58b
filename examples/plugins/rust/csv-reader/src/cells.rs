//! The cells of one line.
//!
//! In: a line without its end. Out: its cells, without their quotes. A quote has a meaning at the beginning of a cell alone, as
//! in RFC 4180; one that is opened is closed in the same line.

use std::{borrow::Cow, fmt};

use memchr::memchr;

/// What is left of a line.
pub(crate) struct Cells<'a>(Option<&'a [u8]>);

/// A quote is opened, and not closed in its line.
pub(crate) struct Unclosed;

impl fmt::Display for Unclosed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a quote that is not closed in its line")
    }
}

impl<'a> Iterator for Cells<'a> {
    type Item = Result<Cow<'a, [u8]>, Unclosed>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.0?;
        if rest.first() == Some(&b'"') {
            return Some(self.quoted(&rest[1..]));
        }
        let (cell, rest) = cut(rest);
        self.0 = rest;
        Some(Ok(Cow::Borrowed(cell)))
    }
}

impl<'a> Cells<'a> {
    pub(crate) fn of(line: &'a [u8]) -> Self {
        Self(Some(line))
    }

    /// A cell whose opening quote was passed. Two quotes are one; what stands behind the closing one belongs to the text.
    fn quoted(&mut self, text: &'a [u8]) -> Result<Cow<'a, [u8]>, Unclosed> {
        let (mut cell, mut rest) = (Cow::Borrowed(&text[..0]), text);
        loop {
            let close = memchr(b'"', rest).ok_or(Unclosed)?;
            join(&mut cell, &rest[..close]);
            rest = &rest[close + 1..];
            if rest.first() != Some(&b'"') {
                break;
            }
            join(&mut cell, &rest[..1]);
            rest = &rest[1..];
        }
        let (tail, rest) = cut(rest);
        join(&mut cell, tail);
        self.0 = rest;
        Ok(cell)
    }
}

/// What stands before the next comma, and behind it if there is one.
#[inline]
fn cut(text: &[u8]) -> (&[u8], Option<&[u8]>) {
    match memchr(b',', text) {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    }
}

fn join<'a>(cell: &mut Cow<'a, [u8]>, more: &'a [u8]) {
    match more.is_empty() {
        true => {}
        false if cell.is_empty() => *cell = Cow::Borrowed(more),
        false => cell.to_mut().extend_from_slice(more),
    }
}

#[cfg(test)]
mod tests {
    use super::Cells;

    fn cells(line: &str) -> Option<Vec<String>> {
        let cells = Cells::of(line.as_bytes()).map(Result::ok);
        cells
            .map(|cell| String::from_utf8(cell?.into_owned()).ok())
            .collect()
    }

    #[test]
    fn quotes_mean_something_at_the_beginning_of_a_cell_alone() {
        for (line, wanted) in [
            ("", vec![""]),
            ("a,b", vec!["a", "b"]),
            (",", vec!["", ""]),
            (r#"1,5" pipe,x"#, vec!["1", r#"5" pipe"#, "x"]),
            (r#""a, ""b""",c"#, vec![r#"a, "b""#, "c"]),
            (r#""","""""#, vec!["", r#"""#]),
            (r#""abc"def,g"#, vec!["abcdef", "g"]),
        ] {
            assert_eq!(cells(line).unwrap(), wanted, "{line}");
        }
        assert_eq!(cells(r#"1,"abc"#), None);
        assert_eq!(cells(r#"1,"abc"""#), None);
    }
}
