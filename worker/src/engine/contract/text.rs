//! Text read strictly and whole, where the schema says that a text is something else.
//!
//! A text that is not exactly one value of the type is none: no space around it, no rounding, no date with a time in
//! it, no local time with an offset.

use arrow::{
    array::ArrowPrimitiveType,
    compute::kernels::cast_utils::{Parser, string_to_time_nanoseconds},
    datatypes::{Date32Type, Float64Type, TimeUnit, i256},
};
use jiff::civil;

/// A whole number.
pub(super) fn integer<T: ArrowPrimitiveType + Parser>(text: &str) -> Option<T::Native> {
    if unpadded(text) { T::parse(text) } else { None }
}

/// A floating number; one too large to be held is none, and not infinite.
pub(super) fn float(text: &str) -> Option<f64> {
    if !unpadded(text) {
        return None;
    }
    let value = Float64Type::parse(text)?;
    let says_infinite = || {
        text.trim_start_matches(['+', '-'])
            .to_ascii_lowercase()
            .starts_with("inf")
    };
    (value.is_finite() || value.is_nan() || says_infinite()).then_some(value)
}

/// A 32 bit number is the one nearest to the text, as a 64 bit one is.
#[expect(
    clippy::cast_possible_truncation,
    reason = "too large a number becomes infinite, which is refused"
)]
pub(super) fn float32(text: &str) -> Option<f32> {
    let value = float(text)?;
    let narrow = value as f32;
    (narrow.is_finite() || !value.is_finite()).then_some(narrow)
}

/// `true` or `false`, and nothing that might mean it.
pub(super) fn boolean(text: &str) -> Option<bool> {
    if text.eq_ignore_ascii_case("true") {
        Some(true)
    } else {
        text.eq_ignore_ascii_case("false").then_some(false)
    }
}

/// The digits of a decimal, moved to `scale`; `None` where digits would be lost or there are more than `precision`.
pub(super) fn decimal(text: &str, precision: u8, scale: i8) -> Option<i256> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let some_digits = !whole.is_empty() || !fraction.is_empty();
    let all_digits = whole
        .bytes()
        .chain(fraction.bytes())
        .all(|byte| byte.is_ascii_digit());
    if !some_digits || !all_digits {
        return None;
    }
    let unscaled = shifted(
        whole.trim_start_matches('0'),
        fraction.trim_end_matches('0'),
        scale,
    )?;
    let unscaled = unscaled.trim_start_matches('0');
    if unscaled.len() > usize::from(precision) {
        return None;
    }
    let value = match unscaled.len() {
        0 => i256::ZERO,
        1..=38 => i256::from_i128(unscaled.parse().ok()?),
        _ => i256::from_string(unscaled)?,
    };
    Some(if negative { value.wrapping_neg() } else { value })
}

/// All digits up to the place that `scale` names; those beyond it must be zeros.
fn shifted(whole: &str, fraction: &str, scale: i8) -> Option<String> {
    if let Ok(places) = usize::try_from(scale) {
        return (fraction.len() <= places).then(|| format!("{whole}{fraction:0<places$}"));
    }
    let dropped = usize::from(scale.unsigned_abs());
    let kept = whole.len().saturating_sub(dropped);
    let zeros = fraction.is_empty() && whole[kept..].bytes().all(|byte| byte == b'0');
    zeros.then(|| whole[..kept].to_owned())
}

/// A day, as `2026-11-21`.
pub(super) fn date(text: &str) -> Option<i32> {
    let extended = text.starts_with(['+', '-']);
    if extended || (text.len() == 10 && text.is_ascii()) {
        Date32Type::parse(text)
    } else {
        None
    }
}

/// A moment in `unit`s. Without a zone the text must have none; with one, a text without is meant in UTC.
pub(super) fn timestamp(text: &str, unit: TimeUnit, zone: bool) -> Option<i64> {
    let leap_second = text.get(17..19) == Some("60");
    if !text.is_ascii() || text.contains('[') || leap_second || fraction_digits(text) > 9 {
        return None;
    }
    let local = text
        .strip_suffix(['Z', 'z'])
        .or_else(|| text.strip_suffix("+00:00"))
        .filter(|_| zone)
        .unwrap_or(text);
    let plain = |byte: u8| matches!(byte, b'0'..=b'9' | b':' | b'.' | b'T' | b't' | b' ');
    let nanos = if local.bytes().skip(10).all(plain) {
        // Counted by hand: a `jiff::Timestamp` ends a day before 9999-12-31, which tables use for "never".
        local
            .parse::<civil::DateTime>()
            .ok()?
            .duration_since(civil::date(1970, 1, 1).at(0, 0, 0, 0))
            .as_nanos()
    } else if zone {
        text.parse::<jiff::Timestamp>().ok()?.as_nanosecond()
    } else {
        return None;
    };
    in_unit(nanos, unit)
}

/// Nanoseconds in `unit`s, where no digit is lost.
fn in_unit(nanos: i128, unit: TimeUnit) -> Option<i64> {
    let each = match unit {
        TimeUnit::Second => 1_000_000_000,
        TimeUnit::Millisecond => 1_000_000,
        TimeUnit::Microsecond => 1_000,
        TimeUnit::Nanosecond => 1,
    };
    if nanos % each == 0 {
        i64::try_from(nanos / each).ok()
    } else {
        None
    }
}

/// A time of day in nanoseconds.
pub(super) fn time(text: &str) -> Option<i64> {
    if unpadded(text) && fraction_digits(text) <= 9 {
        string_to_time_nanoseconds(text).ok()
    } else {
        None
    }
}

/// Digits after the point, zeros at the end not counted.
fn fraction_digits(text: &str) -> usize {
    let fraction = text.split_once('.').map_or("", |(_, fraction)| fraction);
    let digits = fraction.bytes().take_while(u8::is_ascii_digit).count();
    fraction[..digits].trim_end_matches('0').len()
}

fn unpadded(text: &str) -> bool {
    let ends = [text.bytes().next(), text.bytes().next_back()];
    ends.into_iter()
        .all(|end| end.is_some_and(|byte| !byte.is_ascii_whitespace()))
}

#[cfg(test)]
mod tests;
