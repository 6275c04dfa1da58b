//! Text into values, and never into a value that means something else: what does not fit exactly is `None`.

use arrow::{
    compute::kernels::cast_utils::Parser,
    datatypes::{Float32Type, Float64Type, TimeUnit, i256},
};

/// `true` and `false` in any case; nothing else is a truth.
pub(crate) fn boolean(text: &str) -> Option<bool> {
    if text.eq_ignore_ascii_case("true") {
        Some(true)
    } else if text.eq_ignore_ascii_case("false") {
        Some(false)
    } else {
        None
    }
}

/// A whole number of up to 64 bits, with a sign or without.
pub(crate) fn integer(text: &str) -> Option<i64> {
    let (negative, digits) = sign(text.as_bytes());
    // 18 digits always fit, and nearly all numbers are shorter.
    if digits.len() > 18 {
        return text.parse().ok();
    }
    let value = digits_value(digits)?;
    let value = i64::try_from(value).ok()?;
    Some(if negative { -value } else { value })
}

/// A whole number without a negative sign.
pub(crate) fn unsigned(text: &str) -> Option<u64> {
    text.parse().ok()
}

/// A floating-point number. What is finite as text stays finite.
pub(crate) fn float(text: &str) -> Option<f64> {
    if let Some(value) = short_float(text.as_bytes()) {
        return Some(value);
    }
    let value = Float64Type::parse(text)?;
    let finite = value.is_finite() || !text.bytes().any(|byte| byte.is_ascii_digit());
    finite.then_some(value)
}

/// A float that is written again with the digits of the text: nothing of it was rounded away.
pub(crate) fn exact_float(text: &str) -> Option<f64> {
    if let Some(value) = short_float(text.as_bytes()) {
        return Some(value);
    }
    let value = float(text).filter(|value| value.is_finite())?;
    (significant(text) == significant(&format!("{value:e}"))).then_some(value)
}

/// The digits of a number, without zeros at either end.
fn significant(text: &str) -> String {
    let number = text.split(['e', 'E']).next().unwrap_or_default();
    let digits: String = number.chars().filter(char::is_ascii_digit).collect();
    digits.trim_matches('0').to_owned()
}

/// Numbers of at most 15 digits, with a point or without: digits and power of ten are exact as floats, so that their
/// quotient is the float nearest to the text.
fn short_float(text: &[u8]) -> Option<f64> {
    let plain = plain_number(text)?;
    if plain.digits > 15 {
        return None;
    }
    #[expect(clippy::cast_precision_loss, reason = "below 10^15, which is exact")]
    let value = plain.value as f64 / POWERS[plain.places];
    Some(if plain.negative { -value } else { value })
}

const POWERS: [f64; 16] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
];

/// The unscaled value of a decimal; `None` where a digit other than 0 would be lost.
pub(crate) fn decimal128(text: &str, precision: u8, scale: i8) -> Option<i128> {
    if let Some(value) = short_decimal(text.as_bytes(), precision, scale) {
        return Some(value);
    }
    let (negative, digits) = unscaled(text, precision, scale)?;
    let value = digits.parse::<i128>().ok()?;
    Some(if negative { -value } else { value })
}

/// The common case in 64 bits and without an allocation; `None`: look closer.
fn short_decimal(text: &[u8], precision: u8, scale: i8) -> Option<i128> {
    let plain = plain_number(text)?;
    let zeros = usize::try_from(scale).ok()?.checked_sub(plain.places)?;
    if plain.digits + zeros > 18 {
        return None;
    }
    let value = plain.value * ten_to(zeros);
    let fits = precision > 18 || value < ten_to(precision.into());
    let value = i128::from(value);
    fits.then_some(if plain.negative { -value } else { value })
}

/// Digits with at most one point among or before them.
struct Plain {
    negative: bool,
    value: u64,
    digits: usize,
    /// Digits behind the point.
    places: usize,
}

/// A number of at most 18 digits that is nothing but that.
#[inline]
fn plain_number(text: &[u8]) -> Option<Plain> {
    let (negative, number) = sign(text);
    if number.len() > 18 {
        return None;
    }
    let (mut value, mut digits, mut places, mut point) = (0_u64, 0, 0, false);
    for byte in number {
        match byte {
            b'0'..=b'9' => {
                value = value * 10 + u64::from(byte - b'0');
                digits += 1;
                places += usize::from(point);
            }
            b'.' if !point => point = true,
            _ => return None,
        }
    }
    (digits > 0).then_some(Plain {
        negative,
        value,
        digits,
        places,
    })
}

/// As [`decimal128`], with up to 76 digits.
pub(crate) fn decimal256(text: &str, precision: u8, scale: i8) -> Option<i256> {
    let (negative, digits) = unscaled(text, precision, scale)?;
    let value = i256::from_string(&digits)?;
    Some(if negative { value.wrapping_neg() } else { value })
}

/// Digits, or nothing at all, as a number.
fn run(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        Some(0)
    } else {
        digits_value(digits)
    }
}

/// 10 to a power of at most 18.
fn ten_to(power: usize) -> u64 {
    10_u64.pow(u32::try_from(power).unwrap_or_default())
}

/// The digits of a decimal as a whole number at `scale`, without leading zeros.
fn unscaled(text: &str, precision: u8, scale: i8) -> Option<(bool, String)> {
    let (negative, number) = sign(text.as_bytes());
    let number = std::str::from_utf8(number).ok()?;
    let (number, exponent) = match number.find(['e', 'E']) {
        Some(at) => (&number[..at], number[at + 1..].parse::<i32>().ok()?),
        None => (number, 0),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let all_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() && fraction.is_empty() || !all_digits(whole) || !all_digits(fraction) {
        return None;
    }
    let mut digits = format!("{whole}{fraction}");
    let shift = i64::from(scale) + i64::from(exponent) - i64::try_from(fraction.len()).ok()?;
    let significant = digits.trim_start_matches('0').len();
    if shift >= 0 {
        let zeros = usize::try_from(shift).ok()?;
        // Checked before the zeros are made: an exponent can ask for any number of them.
        if significant > 0 && significant + zeros > precision.into() {
            return None;
        }
        digits.extend(std::iter::repeat_n('0', if significant > 0 { zeros } else { 0 }));
    } else {
        let lost = usize::try_from(-shift).ok()?;
        let kept = digits.len().saturating_sub(lost);
        if digits.bytes().skip(kept).any(|byte| byte != b'0') {
            return None;
        }
        digits.truncate(kept);
    }
    let digits = digits.trim_start_matches('0');
    if digits.len() > precision.into() {
        return None;
    }
    Some((
        negative,
        if digits.is_empty() {
            "0".to_owned()
        } else {
            digits.to_owned()
        },
    ))
}

fn sign(text: &[u8]) -> (bool, &[u8]) {
    match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    }
}

/// At most 19 digits and at least one.
fn digits_value(digits: &[u8]) -> Option<u64> {
    let mut value: u64 = 0;
    let mut wrong = digits.is_empty();
    for byte in digits {
        let digit = byte.wrapping_sub(b'0');
        wrong |= digit > 9;
        value = value.wrapping_mul(10).wrapping_add(u64::from(digit));
    }
    (!wrong).then_some(value)
}

/// Days since 1970 of `YYYY-MM-DD`, or of an expanded year (`-0044-03-15`, `+12026-01-01`).
pub(crate) fn date(text: &str) -> Option<i32> {
    match text.as_bytes().as_array::<10>() {
        Some(text) if text[0].is_ascii_digit() => plain_date(text),
        _ => i32::try_from(date_part(text.as_bytes())?).ok(),
    }
}

/// `YYYY-MM-DD`, by far the most common form.
fn plain_date(text: &[u8; 10]) -> Option<i32> {
    let digit = |at: usize| i32::from(text[at].wrapping_sub(b'0'));
    let numeric = [0, 1, 2, 3, 5, 6, 8, 9].into_iter().all(|at| digit(at) <= 9);
    if !numeric || text[4] != b'-' || text[7] != b'-' {
        return None;
    }
    let year = digit(0) * 1000 + digit(1) * 100 + digit(2) * 10 + digit(3);
    let (month, day) = (digit(5) * 10 + digit(6), digit(8) * 10 + digit(9));
    if day < 1 || day > days_in_month(year, month)? {
        return None;
    }
    // As `days_from_civil`, a cycle of 400 years later so that nothing is negative.
    let year = year + 400 - i32::from(month <= 2);
    let (era, of_era) = (year / 400, year % 400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    Some(era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468 - 146_097)
}

fn days_in_month(year: i32, month: i32) -> Option<i32> {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    Some(match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 => 28 + i32::from(leap),
        _ => return None,
    })
}

fn date_part(text: &[u8]) -> Option<i64> {
    let (negative, rest) = sign(text);
    let signed = rest.len() < text.len();
    let (year, month, day) = match rest {
        [y0, y1, y2, y3, b'-', m0, m1, b'-', d0, d1] if !signed => (
            digits_value(&[*y0, *y1, *y2, *y3])?,
            two([*m0, *m1])?,
            two([*d0, *d1])?,
        ),
        [year @ .., b'-', m0, m1, b'-', d0, d1] if signed && (4..=7).contains(&year.len()) => {
            (digits_value(year)?, two([*m0, *m1])?, two([*d0, *d1])?)
        }
        _ => return None,
    };
    let year = i64::try_from(year).ok()?;
    days_from_civil(if negative { -year } else { year }, month, day)
}

fn two(digits: [u8; 2]) -> Option<i64> {
    i64::try_from(digits_value(&digits)?).ok()
}

/// Days since 1970 in the Gregorian calendar; `None` for a day that no month has.
fn days_from_civil(year: i64, month: i64, day: i64) -> Option<i64> {
    // The calendar repeats every 400 years.
    let of_cycle = i32::try_from(year.rem_euclid(400)).ok()?;
    if day < 1 || day > days_in_month(of_cycle, i32::try_from(month).ok()?)?.into() {
        return None;
    }
    // Years begin in March here, so that the leap day is the last day of one.
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    Some(era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468)
}

/// A time of day: seconds, and nanoseconds within the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Clock {
    pub(crate) seconds: i64,
    pub(crate) nanos: i64,
    /// Digits after the second that are not 0 at the end.
    pub(crate) places: u8,
}

impl Clock {
    /// The time in a unit; `None` where digits would be lost.
    pub(crate) fn exact(self, unit: TimeUnit) -> Option<i64> {
        scale(self.seconds, self.nanos, unit)
    }
}

/// `HH:MM`, `HH:MM:SS` or `HH:MM:SS.fraction`.
pub(crate) fn clock(text: &[u8]) -> Option<Clock> {
    let [h0, h1, b':', m0, m1, rest @ ..] = text else {
        return None;
    };
    let (hour, minute) = (two([*h0, *h1])?, two([*m0, *m1])?);
    let (second, fraction) = match rest {
        [] => (0, &[][..]),
        [b':', s0, s1] => (two([*s0, *s1])?, &[][..]),
        [b':', s0, s1, b'.', fraction @ ..] if !fraction.is_empty() => (two([*s0, *s1])?, fraction),
        _ => return None,
    };
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let (nanos, places) = nanos(fraction)?;
    Some(Clock {
        seconds: hour * 3600 + minute * 60 + second,
        nanos,
        places,
    })
}

/// Nanoseconds of the digits after a point; `None` where they are finer.
fn nanos(fraction: &[u8]) -> Option<(i64, u8)> {
    let kept = fraction
        .iter()
        .rposition(|byte| *byte != b'0')
        .map_or(0, |at| at + 1);
    if kept > 9 || !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let value = run(&fraction[..kept])? * ten_to(9 - kept);
    Some((i64::try_from(value).ok()?, u8::try_from(kept).ok()?))
}

/// A moment as it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moment {
    /// Days since 1970.
    pub(crate) days: i64,
    pub(crate) clock: Clock,
    /// Seconds east of Greenwich; `None`: the text does not say.
    pub(crate) zone: Option<i64>,
    /// There is a time of day, not a date alone.
    pub(crate) timed: bool,
}

impl Moment {
    /// The moment in a unit since 1970, in UTC where the text names a zone; `None` where it does not fit exactly.
    pub(crate) fn exact(self, unit: TimeUnit) -> Option<i64> {
        let seconds =
            self.days.checked_mul(86_400)?.checked_add(self.clock.seconds)? - self.zone.unwrap_or(0);
        scale(seconds, self.clock.nanos, unit)
    }
}

fn scale(seconds: i64, nanos: i64, unit: TimeUnit) -> Option<i64> {
    let per_second: i64 = match unit {
        TimeUnit::Second => 1,
        TimeUnit::Millisecond => 1_000,
        TimeUnit::Microsecond => 1_000_000,
        TimeUnit::Nanosecond => 1_000_000_000,
    };
    let finer = 1_000_000_000 / per_second;
    if nanos % finer != 0 {
        return None;
    }
    // In 128 bits, since the seconds alone may overflow where the sum does not.
    let value = i128::from(seconds) * i128::from(per_second) + i128::from(nanos / finer);
    i64::try_from(value).ok()
}

/// A date, or a date and a time with `T` or a blank between them, and perhaps a zone (`Z`, `+02`, `+02:00`, `+0200`).
pub(crate) fn moment(text: &str) -> Option<Moment> {
    let bytes = text.as_bytes();
    let midnight = Clock {
        seconds: 0,
        nanos: 0,
        places: 0,
    };
    let Some(split) = bytes.iter().position(|byte| matches!(byte, b'T' | b't' | b' ')) else {
        return Some(Moment {
            days: date_part(bytes)?,
            clock: midnight,
            zone: None,
            timed: false,
        });
    };
    let days = date_part(&bytes[..split])?;
    let rest = &bytes[split + 1..];
    let at = rest
        .iter()
        .position(|byte| matches!(byte, b'Z' | b'z' | b'+' | b'-' | b' '))
        .unwrap_or(rest.len());
    let zone = match &rest[at..] {
        [] => None,
        [b' ', zone @ ..] | zone => Some(offset(zone)?),
    };
    Some(Moment {
        days,
        clock: clock(&rest[..at])?,
        zone,
        timed: true,
    })
}

fn offset(zone: &[u8]) -> Option<i64> {
    let (negative, digits) = match zone {
        [b'Z' | b'z'] | b"UTC" => return Some(0),
        [b'+', digits @ ..] => (false, digits),
        [b'-', digits @ ..] => (true, digits),
        _ => return None,
    };
    let (hours, minutes) = match digits {
        [h0, h1] => (two([*h0, *h1])?, 0),
        [h0, h1, m0, m1] | [h0, h1, b':', m0, m1] => (two([*h0, *h1])?, two([*m0, *m1])?),
        _ => return None,
    };
    if hours > 18 || minutes > 59 {
        return None;
    }
    let seconds = hours * 3600 + minutes * 60;
    Some(if negative { -seconds } else { seconds })
}

/// Bytes written as hexadecimal digits, with `\x` or `0x` before them or not.
pub(crate) fn hex(text: &str) -> Option<Vec<u8>> {
    let digits = text
        .strip_prefix("\\x")
        .or_else(|| text.strip_prefix("0x"))
        .unwrap_or(text)
        .as_bytes();
    let (pairs, rest) = digits.as_chunks::<2>();
    let nibble = |byte: u8| {
        char::from(byte)
            .to_digit(16)
            .and_then(|digit| u8::try_from(digit).ok())
    };
    rest.is_empty().then(|| {
        pairs
            .iter()
            .map(|[high, low]| Some(nibble(*high)? << 4 | nibble(*low)?))
            .collect()
    })?
}

/// As [`float`], rounded to the nearest number that 32 bits hold.
pub(crate) fn float32(text: &str) -> Option<f32> {
    let value = Float32Type::parse(text)?;
    let finite = value.is_finite() || !text.bytes().any(|byte| byte.is_ascii_digit());
    finite.then_some(value)
}

/// A timestamp in a unit since 1970. Where the column has a zone, a text without one is meant in UTC; where it has
/// none, a text may say UTC and no other zone, since nothing would be left of that.
pub(crate) fn timestamp(text: &str, unit: TimeUnit, zoned: bool) -> Option<i64> {
    let moment = moment(text)?;
    let fits = zoned || matches!(moment.zone, None | Some(0));
    fits.then(|| moment.exact(unit))?
}
