//! Numbers as people read them.

use std::time::Duration;

const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];

/// `1234567` as `1,234,567`.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1234567` as `1.2 MB`, in powers of 1000.
pub(super) fn bytes(number: u64) -> String {
    if number < 1000 {
        return format!("{number} B");
    }
    let (mut value, mut unit) = (to_float(number), 0);
    while value >= 999.95 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// Hours, minutes and seconds, as `1:02:03` or `2:03`.
pub(super) fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 {
        format!("{hours}:{minutes:02}:{seconds:02}")
    } else {
        format!("{minutes}:{seconds:02}")
    }
}

/// Good enough for people: exact up to 2^53.
#[allow(clippy::cast_precision_loss, reason = "a display rounds anyway")]
pub(super) fn to_float(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{bytes, clock, count};

    #[test]
    fn counts_have_commas() {
        assert_eq!(
            [0, 999, 1000, 1_234_567].map(count),
            ["0", "999", "1,000", "1,234,567"]
        );
    }

    #[test]
    fn bytes_have_a_fitting_unit() {
        assert_eq!(
            [0, 999, 1000, 999_949, 999_950, 2_500_000_000].map(bytes),
            ["0 B", "999 B", "1.0 kB", "999.9 kB", "1.0 MB", "2.5 GB"]
        );
    }

    #[test]
    fn times_show_hours_only_when_there_are_some() {
        assert_eq!(clock(Duration::from_secs(59)), "0:59");
        assert_eq!(clock(Duration::from_secs(3723)), "1:02:03");
    }
}
