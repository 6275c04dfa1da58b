//! Types of columns from a sample of their texts. Conservative: a type is taken only where every text of the sample is
//! written just as that type would write it, so that `007` and a phone number stay text.

use arrow::datatypes::{DataType, TimeUnit};

use super::value;

/// What the texts of one column have in common.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Kind {
    seen: bool,
    boolean: Mark,
    integer: Mark,
    number: Mark,
    date: Mark,
    moment: Mark,
    /// Some moment names a zone, some does not, some is finer than a microsecond.
    zoned: bool,
    naive: bool,
    fine: bool,
}

/// Whether every text so far was of a kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Mark {
    #[default]
    All,
    NotAll,
}

impl Mark {
    fn and(&mut self, is: bool) {
        if !is {
            *self = Self::NotAll;
        }
    }

    fn all(self) -> bool {
        self == Self::All
    }
}

impl Kind {
    /// Takes a text into account.
    pub(crate) fn see(&mut self, text: &str) {
        self.seen = true;
        self.boolean.and(value::boolean(text).is_some());
        self.integer.and(is_integer(text));
        self.number.and(is_number(text));
        self.date.and(text.len() == 10 && value::date(text).is_some());
        let moment = value::moment(text).filter(|moment| moment.timed || text.len() == 10);
        self.moment.and(moment.is_some());
        if let Some(moment) = moment {
            self.zoned |= moment.zone.is_some();
            self.naive |= moment.zone.is_none();
            self.fine |= moment.clock.places > 6;
        }
    }

    /// Whether there was a text to judge by.
    pub(crate) fn seen(self) -> bool {
        self.seen
    }

    /// The type of a column that holds only such texts.
    pub(crate) fn data_type(self) -> DataType {
        if !self.seen {
            DataType::Utf8
        } else if self.boolean.all() {
            DataType::Boolean
        } else if self.integer.all() {
            DataType::Int64
        } else if self.number.all() {
            DataType::Float64
        } else if self.date.all() {
            DataType::Date32
        } else if self.moment.all() && self.zoned != self.naive {
            let unit = if self.fine {
                TimeUnit::Nanosecond
            } else {
                TimeUnit::Microsecond
            };
            DataType::Timestamp(unit, self.zoned.then(|| "UTC".into()))
        } else {
            DataType::Utf8
        }
    }
}

/// Written as a 64-bit integer writes itself.
fn is_integer(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    canonical(digits)
        && text != "-0"
        && digits.bytes().all(|byte| byte.is_ascii_digit())
        && value::integer(text).is_some()
}

/// A number that a 64-bit float gives back as it is written.
fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    canonical(digits)
        && digits
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'-' | b'+'))
        && value::exact_float(text).is_some()
}

/// Begins with a digit, and with 0 only where that is the whole part.
fn canonical(digits: &str) -> bool {
    match digits.as_bytes() {
        [b'0', next, ..] => !next.is_ascii_digit(),
        [first, ..] => first.is_ascii_digit(),
        [] => false,
    }
}
