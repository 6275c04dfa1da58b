//! An annotation, written into the text of a manifest: everything else stays as a person wrote it, comments included.
//!
//! In: the text, the line of each field, the annotation. Out: the new text; or nothing where the text is written in a
//! way that this cannot follow. Whoever calls reads the new text and compares: a guess that went wrong is never kept.

use millrace_crds::problem::Place;

/// The text with the annotation, new or changed.
pub(super) fn annotate(text: &str, place: &Place, key: &str, value: &str) -> Option<String> {
    let edit = Edit {
        text,
        value: quoted(value),
        key,
    };
    let line = |field: &str| place.lines.get(field).map(|line| *line as usize);
    let known = format!("metadata.annotations[{key:?}]");
    if let Some(known) = line(&known) {
        return edit.replace(known);
    }
    let (metadata, name) = (line("metadata")?, line("metadata.name"));
    match line("metadata.annotations") {
        Some(annotations) => edit.add(annotations),
        None => edit.begin(metadata, name),
    }
}

struct Edit<'a> {
    text: &'a str,
    key: &'a str,
    value: String,
}

impl Edit<'_> {
    /// Another value for an annotation that is there.
    fn replace(&self, line: usize) -> Option<String> {
        let start = self.after_key(line, self.key)?;
        let rest = &self.text[start..];
        let length = match rest.chars().next()? {
            '"' | '\'' => quoted_length(rest)?,
            '|' | '>' | '&' | '*' | '!' | '\n' | '\r' | '#' => return None,
            _ => plain_length(rest),
        };
        Some(self.put(start, start + length, &self.value))
    }

    /// An annotation beside others.
    fn add(&self, line: usize) -> Option<String> {
        let start = self.after_key(line, "annotations")?;
        match self.text[start..].chars().next() {
            Some('{') => self.braced(start, &format!("{}: {}", quoted(self.key), self.value)),
            None | Some('\n' | '\r' | '#') => {
                let parent = indent(self.line(line)?);
                let child = self.first_child(line, parent);
                let width = child.map_or(parent + 2, |(_, width)| width);
                let at = child.map_or_else(|| self.offset(line + 1), |(line, _)| self.offset(line));
                Some(self.insert(at, &format!("{:width$}{}: {}\n", "", self.key, self.value)))
            }
            Some(_) => None,
        }
    }

    /// The first annotation.
    fn begin(&self, metadata: usize, name: Option<usize>) -> Option<String> {
        let start = self.after_key(metadata, "metadata")?;
        match self.text[start..].chars().next() {
            Some('{') => {
                let pair = format!(
                    "{}: {{ {}: {} }}",
                    self.word("annotations", start),
                    quoted(self.key),
                    self.value
                );
                self.braced(start, &pair)
            }
            None | Some('\n' | '\r' | '#') => {
                let (first, width) = self.first_child(metadata, indent(self.line(metadata)?))?;
                let at = self.offset(name.map_or(first, |name| name + 1));
                let lines = format!(
                    "{:width$}annotations:\n{:width$}  {}: {}\n",
                    "", "", self.key, self.value
                );
                Some(self.insert(at, &lines))
            }
            Some(_) => None,
        }
    }

    /// One more pair at the end of a mapping in braces.
    fn braced(&self, open: usize, pair: &str) -> Option<String> {
        let close = closing(self.text, open)?;
        let inner = self.text[open + 1..close].trim_end();
        let end = open + 1 + inner.len();
        let text = match inner.trim() {
            "" => format!(" {pair} "),
            inner if inner.ends_with(',') => format!(" {pair} "),
            _ => format!(", {pair}{}", if end == close { "" } else { " " }),
        };
        // A comment before the brace would swallow what comes after it.
        let last = inner.lines().last().unwrap_or_default();
        let at_line_end = self.text[end..close].contains('\n');
        match (last.contains('#'), at_line_end) {
            (true, _) => None,
            (false, true) => Some(self.put(end, end, text.trim_end())),
            (false, false) => Some(self.put(end, close, &text)),
        }
    }

    /// A word as the mapping around it writes its words: JSON has quotes.
    fn word(&self, word: &str, open: usize) -> String {
        let json = self.text[open + 1..].trim_start().starts_with('"');
        if json { quoted(word) } else { word.to_owned() }
    }

    /// Where the value of a key begins on its line.
    fn after_key(&self, line: usize, key: &str) -> Option<usize> {
        let (start, text) = (self.offset(line), self.line(line)?);
        text.match_indices(key).find_map(|(place, _)| {
            let rest = text[place + key.len()..].trim_start_matches(['"', '\'']);
            let value = rest.trim_start_matches(' ').strip_prefix(':')?;
            let value = value.trim_start_matches([' ', '\t']);
            Some(start + text.len() - value.len())
        })
    }

    /// The first line below that is deeper, and its indent.
    fn first_child(&self, line: usize, parent: usize) -> Option<(usize, usize)> {
        let lines = self.text.lines().enumerate().skip(line);
        let mut written =
            lines.filter(|(_, text)| !text.trim().is_empty() && !text.trim_start().starts_with('#'));
        let (place, text) = written.next()?;
        (indent(text) > parent).then(|| (place + 1, indent(text)))
    }

    /// A line, counted from 1, with its end.
    fn line(&self, line: usize) -> Option<&str> {
        self.text.split_inclusive('\n').nth(line.checked_sub(1)?)
    }

    /// Where a line begins, or the text ends.
    fn offset(&self, line: usize) -> usize {
        self.text
            .split_inclusive('\n')
            .take(line.saturating_sub(1))
            .map(str::len)
            .sum()
    }

    /// Whole lines.
    fn insert(&self, at: usize, lines: &str) -> String {
        let unfinished = at > 0 && !self.text[..at].ends_with('\n');
        self.put(at, at, &format!("{}{lines}", if unfinished { "\n" } else { "" }))
    }

    fn put(&self, start: usize, end: usize, text: &str) -> String {
        format!("{}{text}{}", &self.text[..start], &self.text[end..])
    }
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start_matches(' ').len()
}

/// The length of a text in quotes, with them.
fn quoted_length(text: &str) -> Option<usize> {
    let quote = text.chars().next()?;
    let mut letters = text.char_indices().skip(1);
    while let Some((place, letter)) = letters.next() {
        let doubled = || letters.clone().next().is_some_and(|(_, next)| next == '\'');
        let escaped = match quote {
            '"' => letter == '\\',
            _ => letter == quote && doubled(),
        };
        if escaped {
            letters.next();
        } else if letter == quote {
            return Some(place + 1);
        }
    }
    None
}

/// The length of a plain value; in braces a comma ends it, and a token holds none.
fn plain_length(text: &str) -> usize {
    let line = text.lines().next().unwrap_or_default();
    let end = line.find(" #").unwrap_or(line.len());
    let end = line[..end].find([',', '}']).unwrap_or(end);
    line[..end].trim_end().len()
}

/// The brace that closes the one at `open`.
fn closing(text: &str, open: usize) -> Option<usize> {
    let (mut depth, mut at) = (0_usize, open);
    while let Some(letter) = text[at..].chars().next() {
        match letter {
            '{' | '[' => depth += 1,
            '}' | ']' => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return Some(at);
                }
            }
            '"' | '\'' if text[..at].ends_with([' ', '{', '[', ',', ':', '\n']) => {
                at += quoted_length(&text[at..])?;
                continue;
            }
            '#' if text[..at].ends_with([' ', '\n']) => {
                at += text[at..].find('\n')?;
                continue;
            }
            _ => {}
        }
        at += letter.len_utf8();
    }
    None
}

#[cfg(test)]
mod tests;
