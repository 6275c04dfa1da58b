//! Templates of paths and table names: `s3://lake/{namespace}/{stream}/{date:%Y}`.
//!
//! In: the text of a manifest. Out: text in which each value stays one harmless segment: two different
//! values never render alike, and none can leave its place in a path.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::str::FromStr;

use jiff::civil::Date;
use jiff::fmt::strtime;

/// A parsed template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Variable(Variable),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Variable {
    Namespace,
    Flow,
    Stream,
    Label(String),
    Date(String),
}

/// What a template can use.
#[derive(Clone, Copy, Debug)]
pub struct Values<'a> {
    /// The Flow's namespace.
    pub namespace: &'a str,
    /// The Flow's name.
    pub flow: &'a str,
    /// The stream's name.
    pub stream: &'a str,
    /// The Flow's labels.
    pub labels: &'a BTreeMap<String, String>,
    /// The day of the run.
    pub date: Date,
}

/// Why a text is no template, or cannot be rendered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// A name that means nothing.
    #[error(
        "{{{0}}} is not a variable; known are {{namespace}}, {{flow}}, {{stream}}, {{label:NAME}}, {{date}} and {{date:FORMAT}}"
    )]
    Unknown(String),
    /// A brace without its other half.
    #[error("a brace stands alone; write {{{{ or }}}} for a brace that is text")]
    Brace,
    /// A date format that is none.
    #[error("{{date:{0}}} has no valid date format; write one such as {{date:%Y-%m-%d}}")]
    DateFormat(String),
    /// A label that the Flow does not have.
    #[error("the Flow has no label {0}; add it under metadata.labels")]
    Label(String),
}

impl FromStr for Template {
    type Err = TemplateError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (mut parts, mut plain, mut rest) = (Vec::new(), String::new(), text);
        while let Some(at) = rest.find(['{', '}']) {
            plain.push_str(&rest[..at]);
            let brace = &rest[at..=at];
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix(brace) {
                plain.push_str(brace);
                rest = after;
                continue;
            }
            let end = rest
                .find('}')
                .filter(|_| brace == "{")
                .ok_or(TemplateError::Brace)?;
            parts.push(Part::Text(std::mem::take(&mut plain)));
            parts.push(Part::Variable(rest[..end].parse()?));
            rest = &rest[end + 1..];
        }
        plain.push_str(rest);
        parts.push(Part::Text(plain));
        parts.retain(|part| *part != Part::Text(String::new()));
        Ok(Self(parts))
    }
}

impl FromStr for Variable {
    type Err = TemplateError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text
            .split_once(':')
            .map_or((text, None), |(name, rest)| (name, Some(rest)))
        {
            ("namespace", None) => Ok(Self::Namespace),
            ("flow", None) => Ok(Self::Flow),
            ("stream", None) => Ok(Self::Stream),
            ("label", Some(name)) if !name.is_empty() => Ok(Self::Label(name.to_owned())),
            ("date", None) => Ok(Self::Date("%Y-%m-%d".to_owned())),
            ("date", Some(format)) => match strtime::format(format, Date::default()) {
                Ok(_) if !format.is_empty() => Ok(Self::Date(format.to_owned())),
                _ => Err(TemplateError::DateFormat(format.to_owned())),
            },
            _ => Err(TemplateError::Unknown(text.to_owned())),
        }
    }
}

impl Template {
    /// The text with each variable's value in its place, made safe.
    ///
    /// # Errors
    ///
    /// When a label that it names is missing or empty.
    pub fn render(&self, values: &Values<'_>) -> Result<String, TemplateError> {
        let mut text = String::new();
        for part in &self.0 {
            match part {
                Part::Text(plain) => text.push_str(plain),
                Part::Variable(variable) => text.push_str(&safe(&variable.value(values)?)),
            }
        }
        Ok(text)
    }

    /// Whether each stream gets a text of its own.
    #[must_use]
    pub fn is_per_stream(&self) -> bool {
        self.0.contains(&Part::Variable(Variable::Stream))
    }
}

impl Variable {
    fn value(&self, values: &Values<'_>) -> Result<String, TemplateError> {
        Ok(match self {
            Self::Namespace => values.namespace.to_owned(),
            Self::Flow => values.flow.to_owned(),
            Self::Stream => values.stream.to_owned(),
            Self::Label(name) => match values.labels.get(name) {
                Some(value) if !value.is_empty() => value.clone(),
                _ => return Err(TemplateError::Label(name.clone())),
            },
            Self::Date(format) => {
                strtime::format(format, values.date).map_err(|_| TemplateError::DateFormat(format.clone()))?
            }
        })
    }
}

/// One harmless segment of a path. `%` is encoded too, so that two values never become one; the result
/// is to be used as it is and not decoded again.
#[must_use]
pub fn safe(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for (at, c) in value.char_indices() {
        let dots = c == '.' && (value == "." || value[..at].ends_with('.'));
        if dots || c.is_control() || matches!(c, '/' | '\\' | '=' | '%' | '?' | '#' | '*') {
            let mut bytes = [0; 4];
            for byte in c.encode_utf8(&mut bytes).bytes() {
                // Writing to a String cannot fail.
                let _ = write!(out, "%{byte:02X}");
            }
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests;
