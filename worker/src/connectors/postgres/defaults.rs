//! Whether the server fills a column of times: what it fills is never less than the start of the writing transaction.
//!
//! In: the default of a column, as `pg_get_expr` writes it. Out: yes, or that it cannot be told.

use std::sync::LazyLock;

use regex::Regex;

use super::watermark::Clock;

/// The time as it is, without its brackets; by no other expression, since `now() - interval '1 day'` lies before the
/// start of the transaction.
#[expect(clippy::unwrap_used, reason = "a fixed pattern that a test compiles")]
static TIME: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r"(?ix) ^ (?: timezone '(?<before>[^']+)' ::text, \s )?
          (?: now | (?: transaction | statement | clock )_timestamp | (?: CURRENT_ | LOCAL )TIMESTAMP \d?
            | (?<today> CURRENT_DATE ) )
          (?: \s AT \s TIME \s ZONE \s '(?<after>[^']+)' ::text )?
          (?: ::timestamp \d? \s with (?:out)? \s time \s zone | (?<day> ::date ) )* $",
    )
    .unwrap()
});

/// Whether this default is the server's time. `zone`: the one in which local times are taken to be.
pub(super) fn is_servers_time(default: &str, clock: Clock, zone: &str) -> bool {
    let plain = default.replace(['(', ')'], "");
    let Some(found) = TIME.captures(&plain) else {
        return false;
    };
    let group = |name| found.name(name).map(|text| text.as_str());
    // Midnight lies before the start of the transaction.
    let whole = group("today").or(group("day")).is_none() || clock == Clock::Day;
    let other = group("before").or(group("after"));
    whole && other.is_none_or(|other| clock != Clock::Instant && is_same_zone(other, zone))
}

fn is_same_zone(one: &str, other: &str) -> bool {
    let short = |zone: &str| zone.to_ascii_lowercase().trim_start_matches("etc/").to_owned();
    short(one) == short(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_default_is_the_servers_time_or_it_cannot_be_told() {
        for (default, clock, expected) in [
            ("now()", Clock::Instant, true),
            ("CURRENT_TIMESTAMP", Clock::Instant, true),
            ("CURRENT_TIMESTAMP(3)", Clock::Local, true),
            ("LOCALTIMESTAMP", Clock::Local, true),
            ("clock_timestamp()", Clock::Instant, true),
            ("(now())::timestamp(0) without time zone", Clock::Local, true),
            ("CURRENT_DATE", Clock::Day, true),
            ("(now())::date", Clock::Day, true),
            (
                "((now() AT TIME ZONE 'Asia/Tokyo'::text))::date",
                Clock::Day,
                true,
            ),
            ("(now() AT TIME ZONE 'asia/tokyo'::text)", Clock::Local, true),
            ("timezone('Asia/Tokyo'::text, now())", Clock::Local, true),
            ("(now() AT TIME ZONE 'utc'::text)", Clock::Local, false),
            ("(now() AT TIME ZONE 'Asia/Tokyo'::text)", Clock::Instant, false),
            ("(now() - '1 day'::interval)", Clock::Instant, false),
            ("date_trunc('day'::text, now())", Clock::Instant, false),
            ("CURRENT_DATE", Clock::Local, false),
            ("(now())::date", Clock::Instant, false),
            ("'2026-01-01'::date", Clock::Day, false),
        ] {
            assert_eq!(
                is_servers_time(default, clock, "Asia/Tokyo"),
                expected,
                "{default}"
            );
        }
        assert!(is_same_zone("utc", "Etc/UTC"));
    }
}
