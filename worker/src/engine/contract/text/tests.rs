use arrow::datatypes::{Int32Type, UInt8Type};

use super::*;

fn digits(text: &str, precision: u8, scale: i8) -> Option<i128> {
    decimal(text, precision, scale).and_then(i256::to_i128)
}

#[test]
fn a_whole_number_is_nothing_but_digits() {
    assert_eq!(integer::<Int32Type>("12"), Some(12));
    assert_eq!(integer::<Int32Type>("-12"), Some(-12));
    assert_eq!(integer::<Int32Type>("2147483647"), Some(i32::MAX));
    for text in [
        "",
        " 12",
        "12 ",
        "12.0",
        "35.2",
        "1e3",
        "0x1f",
        "2147483648",
        "twelve",
        "1_000",
        "1,000",
    ] {
        assert_eq!(integer::<Int32Type>(text), None, "{text}");
    }
    assert_eq!(integer::<UInt8Type>("-1"), None);
}

#[test]
fn a_number_too_large_is_not_infinite() {
    assert_eq!(float("35.2"), Some(35.2));
    assert_eq!(float("1e3"), Some(1000.0));
    assert_eq!(float("1e999"), None);
    assert_eq!(float("inf"), Some(f64::INFINITY));
    assert!(float("NaN").is_some_and(f64::is_nan));
    assert_eq!(float("35,2"), None);
    assert_eq!(float(" 1"), None);
    assert_eq!(float32("1e300"), None);
    assert_eq!(float32("0.5"), Some(0.5));
}

#[test]
fn only_true_and_false_are() {
    assert_eq!(boolean("true"), Some(true));
    assert_eq!(boolean("False"), Some(false));
    for text in ["yes", "no", "1", "0", "t", "", " true"] {
        assert_eq!(boolean(text), None, "{text}");
    }
}

#[test]
fn a_decimal_is_never_rounded() {
    assert_eq!(digits("35.20", 15, 2), Some(3520));
    assert_eq!(digits("-0.5", 15, 2), Some(-50));
    assert_eq!(digits("+7", 15, 2), Some(700));
    assert_eq!(digits(".5", 15, 2), Some(50));
    assert_eq!(digits("5.", 15, 2), Some(500));
    assert_eq!(digits("1.500", 15, 1), Some(15));
    assert_eq!(digits("000123.4", 4, 1), Some(1234));
    assert_eq!(digits("0", 15, 2), Some(0));
    assert_eq!(digits("1200", 5, -2), Some(12));
    for text in [
        "35.205",
        "",
        ".",
        "-",
        "1e3",
        "1.2.3",
        " 1",
        "12345678901234.00",
        "NaN",
    ] {
        assert_eq!(digits(text, 15, 2), None, "{text}");
    }
    assert_eq!(digits("1250", 5, -2), None);
    let wide = "1234567890123456789012345678901234567890123456.5";
    assert_eq!(
        decimal(wide, 76, 1).map(|value| value.to_string()),
        Some(wide.replace('.', ""))
    );
}

#[test]
fn a_date_holds_no_time() {
    assert_eq!(date("1970-01-02"), Some(1));
    assert_eq!(date("0001-01-01"), Some(-719_162));
    for text in [
        "2020-01-01T10:00:00",
        "20200101",
        "2020-1-1",
        "2020-02-30",
        "01/02/2020",
        "",
    ] {
        assert_eq!(date(text), None, "{text}");
    }
}

#[test]
fn a_local_time_has_no_offset() {
    let micros = |text| timestamp(text, TimeUnit::Microsecond, false);
    assert_eq!(micros("1970-01-01 00:00:01.5"), Some(1_500_000));
    assert_eq!(micros("1970-01-01T00:00:01"), Some(1_000_000));
    assert_eq!(micros("1969-12-31T23:59:59.999999"), Some(-1));
    assert_eq!(micros("1970-01-01"), Some(0));
    for text in [
        "1970-01-01T00:00:01Z",
        "1970-01-01T00:00:01+02:00",
        "1970-01-01T00:00:01.0000001",
        "soon",
        "",
    ] {
        assert_eq!(micros(text), None, "{text}");
    }
}

#[test]
fn a_moment_is_one_in_utc() {
    let micros = |text| timestamp(text, TimeUnit::Microsecond, true);
    assert_eq!(micros("1970-01-01T02:00:01+02:00"), Some(1_000_000));
    assert_eq!(micros("1970-01-01T00:00:01Z"), Some(1_000_000));
    assert_eq!(micros("1970-01-01T00:00:01"), Some(1_000_000));
    assert_eq!(micros("2016-12-31T23:59:60Z"), None, "a leap second has no place");
    assert_eq!(micros("1970-01-01T00:00:01[Europe/Stockholm]"), None);
}

#[test]
fn the_last_day_of_year_9999_is_a_day_like_any_other() {
    assert_eq!(
        timestamp("9999-12-31T23:59:59Z", TimeUnit::Second, true),
        Some(253_402_300_799)
    );
    assert_eq!(
        timestamp("9999-12-31 23:59:59", TimeUnit::Microsecond, false),
        Some(253_402_300_799_000_000)
    );
    assert_eq!(
        timestamp("9999-12-31 23:59:59", TimeUnit::Nanosecond, false),
        None,
        "beyond what nanoseconds reach"
    );
}

#[test]
fn a_time_of_day_is_exact() {
    assert_eq!(time("00:00:01.000000001"), Some(1_000_000_001));
    assert_eq!(time("25:00:00"), None);
    assert_eq!(time("00:00:01.0000000001"), None);
}
