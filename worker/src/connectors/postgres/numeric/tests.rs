use arrow::datatypes::i256;

use super::{Numeric, write};

fn wire(value: i128, scale: u8) -> Vec<u8> {
    let mut out = Vec::new();
    write(value, scale, &mut out);
    out.split_off(4)
}

fn print(bytes: &[u8]) -> String {
    let mut out = Vec::new();
    Numeric::read(bytes).unwrap().print(&mut out);
    String::from_utf8(out).unwrap()
}

/// A decimal as text, the plain way.
fn plain(value: i128, scale: usize) -> String {
    let digits = format!("{:0>width$}", value.unsigned_abs(), width = scale + 1);
    let (whole, part) = digits.split_at(digits.len() - scale);
    let sign = if value < 0 { "-" } else { "" };
    if scale == 0 {
        format!("{sign}{whole}")
    } else {
        format!("{sign}{whole}.{part}")
    }
}

fn samples() -> Vec<i128> {
    let most = 10_i128.pow(38) - 1;
    let mut values = vec![
        0,
        1,
        9,
        10,
        99,
        100,
        9_999,
        10_000,
        10_001,
        123_456_789,
        most,
        most - 1,
        most / 10,
    ];
    for exponent in 0..38 {
        values.extend([
            10_i128.pow(exponent),
            10_i128.pow(exponent) + 1,
            7 * 10_i128.pow(exponent),
        ]);
    }
    let mut seed = 88_172_645_463_325_252_u64;
    for _ in 0..2000 {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        values.push(i128::try_from((u128::from(seed) * u128::from(seed)) >> (1 + seed % 120)).unwrap());
    }
    values.retain(|value| *value <= most);
    let negative: Vec<i128> = values.iter().map(|value| -value).collect();
    values.extend(negative);
    values
}

#[test]
fn a_decimal_survives_the_wire_at_every_scale() {
    for value in samples() {
        for scale in 0..=38_u8 {
            let bytes = wire(value, scale);
            let read = Numeric::read(&bytes).unwrap();
            assert_eq!(
                read.scaled::<i128>(i32::from(scale)),
                Some(value),
                "{value} at {scale}"
            );
            assert_eq!(
                read.scaled::<i256>(i32::from(scale)),
                Some(i256::from_i128(value)),
                "{value} at {scale}"
            );
            assert_eq!(print(&bytes), plain(value, usize::from(scale)));
            let mut wide = Vec::new();
            write(i256::from_i128(value), scale, &mut wide);
            assert_eq!(wide[4..], bytes[..]);
        }
    }
}

#[test]
fn a_wide_decimal_of_76_digits_survives() {
    let most = i256::from_string(&"9".repeat(76)).unwrap();
    for value in [
        most,
        -most,
        i256::from_string(&format!("1{}", "0".repeat(75))).unwrap(),
    ] {
        for scale in [0_u8, 1, 2, 3, 4, 37, 75, 76] {
            let mut out = Vec::new();
            write(value, scale, &mut out);
            assert_eq!(
                Numeric::read(&out[4..]).unwrap().scaled::<i256>(i32::from(scale)),
                Some(value)
            );
        }
    }
}

#[test]
fn nothing_is_rounded() {
    let read = wire(12_345, 4);
    let read = Numeric::read(&read).unwrap();
    assert_eq!(read.scaled::<i128>(3), None);
    assert_eq!(read.scaled::<i128>(6), Some(1_234_500));
    let tiny = wire(1, 30);
    assert_eq!(Numeric::read(&tiny).unwrap().scaled::<i128>(2), None);
    let huge = wire(10_i128.pow(37), 0);
    assert_eq!(Numeric::read(&huge).unwrap().scaled::<i128>(4), None);
}

#[test]
fn words_and_broken_bytes_are_no_numbers() {
    for (sign, word) in [(0xC0, "NaN"), (0xD0, "Infinity"), (0xF0, "-Infinity")] {
        let bytes = [0, 0, 0, 0, sign, 0, 0, 0];
        let read = Numeric::read(&bytes).unwrap();
        assert_eq!(read.special(), Some(word));
        assert_eq!(read.scaled::<i128>(2), None);
        assert_eq!(print(&bytes), word);
    }
    assert!(Numeric::read(&[0, 1, 0, 0]).is_none());
    assert!(Numeric::read(&[0, 1, 0, 0, 0, 0, 0, 0]).is_none());
}
