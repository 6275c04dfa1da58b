//! `numeric` as the wire has it: groups of four decimal digits, a weight, a sign and a display scale.
//!
//! In: those bytes, or Arrow decimals. Out: the other, exactly or not at all; nothing is rounded.

use arrow::datatypes::i256;

const NAN: u16 = 0xC000;
const INFINITY: u16 = 0xD000;
const MINUS_INFINITY: u16 = 0xF000;
const MINUS: u16 = 0x4000;
/// Powers of ten that fit into 64 bits.
const TENS: [u64; 20] = {
    let mut tens = [1; 20];
    let mut at = 1;
    while at < 20 {
        tens[at] = tens[at - 1] * 10;
        at += 1;
    }
    tens
};

/// A numeric, read but not yet computed.
#[derive(Clone, Copy)]
pub(super) struct Numeric<'a> {
    /// The place of the first group: it counts `10000^weight`.
    weight: i32,
    sign: u16,
    /// Digits after the point, as shown.
    scale: u16,
    /// Two bytes a group.
    groups: &'a [u8],
}

impl<'a> Numeric<'a> {
    /// Reads the binary form; `None` where it is malformed.
    pub(super) fn read(bytes: &'a [u8]) -> Option<Self> {
        let (header, groups) = bytes.split_first_chunk::<8>()?;
        let short = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
        let weight = i32::from(i16::from_be_bytes([header[2], header[3]]));
        (groups.len() == usize::from(short(0)) * 2).then_some(Self {
            weight,
            sign: short(4),
            scale: short(6),
            groups,
        })
    }

    /// `NaN`, `Infinity`, `-Infinity`, where it is no number.
    pub(super) fn special(&self) -> Option<&'static str> {
        match self.sign {
            NAN => Some("NaN"),
            INFINITY => Some("Infinity"),
            MINUS_INFINITY => Some("-Infinity"),
            _ => None,
        }
    }

    fn group(&self, at: usize) -> u64 {
        self.groups
            .get(at * 2..at * 2 + 2)
            .map_or(0, |pair| u64::from(u16::from_be_bytes([pair[0], pair[1]])))
    }

    /// The value times `10^scale`; `None` where it is no number, has more digits after the point, or overflows.
    #[inline]
    pub(super) fn scaled<T: Digits>(&self, scale: i32) -> Option<T> {
        if self.sign & NAN == NAN {
            return None;
        }
        let count = self.groups.len() / 2;
        if count == 0 {
            return Some(T::ZERO);
        }
        let last = i32::try_from(count).ok()? - 1;
        // The last group counts 10000^(weight - last); this many tens are missing to the wanted scale.
        let missing = scale - 4 * (last - self.weight);
        let small: Option<T> = if count <= 4 {
            self.small(count, missing)
        } else {
            None
        };
        let value = match small {
            Some(value) => value,
            None => self.large(count, missing)?,
        };
        Some(if self.sign == MINUS {
            value.negated()
        } else {
            value
        })
    }

    /// Up to four groups fit into 64 bits, most often with their scale.
    fn small<T: Digits>(&self, count: usize, missing: i32) -> Option<T> {
        let value = (0..count).fold(0, |value, at| value * 10_000 + self.group(at));
        let tens = *TENS.get(usize::try_from(missing.abs()).ok()?)?;
        let scaled = if missing >= 0 {
            value.checked_mul(tens)?
        } else {
            (value % tens == 0).then_some(value / tens)?
        };
        Some(T::from_u64(scaled))
    }

    fn large<T: Digits>(&self, count: usize, missing: i32) -> Option<T> {
        let mut value = T::ZERO;
        for at in 0..count - 1 {
            value = value.shift(10_000, self.group(at))?;
        }
        let last = self.group(count - 1);
        if missing >= 0 {
            value = value.shift(10_000, last)?;
            for _ in 0..missing {
                value = value.shift(10, 0)?;
            }
            return Some(value);
        }
        // Groups carry no zeros at the end, so at most three digits of the last one can be too many.
        let tens = TENS[usize::try_from(-missing).ok().filter(|digits| *digits < 4)?];
        if !last.is_multiple_of(tens) {
            return None;
        }
        value.shift(10_000 / tens, last / tens)
    }

    /// Appends the value as PostgreSQL prints it.
    pub(super) fn print(&self, out: &mut Vec<u8>) {
        if let Some(word) = self.special() {
            out.extend_from_slice(word.as_bytes());
            return;
        }
        if self.sign == MINUS {
            out.push(b'-');
        }
        let group = |place: i32| usize::try_from(place).map_or(0, |at| self.group(at));
        if self.weight < 0 {
            out.push(b'0');
        } else {
            out.extend_from_slice(self.group(0).to_string().as_bytes());
            for place in 1..=self.weight {
                four(group(place), 4, out);
            }
        }
        let mut left = usize::from(self.scale);
        if left > 0 {
            out.push(b'.');
        }
        let mut place = self.weight + 1;
        if self.weight < -1 {
            // Groups between the point and the first one that is stored.
            place = 0;
            let zeros = left.min(usize::try_from(-1 - self.weight).unwrap_or(0) * 4);
            out.resize(out.len() + zeros, b'0');
            left -= zeros;
        }
        while left > 0 {
            four(group(place), left.min(4), out);
            left -= left.min(4);
            place += 1;
        }
    }
}

/// The first digits of a group of four.
fn four(group: u64, digits: usize, out: &mut Vec<u8>) {
    for tens in &[1000, 100, 10, 1][..digits] {
        out.push(b'0' + u8::try_from(group / tens % 10).unwrap_or(0));
    }
}

/// The integers that a decimal is stored in.
pub(super) trait Digits: Copy {
    const ZERO: Self;
    fn from_u64(value: u64) -> Self;
    /// `self * factor + add`.
    fn shift(self, factor: u64, add: u64) -> Option<Self>;
    fn negated(self) -> Self;
    /// Takes the groups of four digits out of the magnitude, lowest first, the value being at `scale`.
    /// The lowest group is filled up with zeros on its right. Returns how many groups there are.
    fn groups(self, scale: usize, out: &mut [u16; 24]) -> usize;
    fn is_negative(self) -> bool;
}

impl Digits for i128 {
    const ZERO: Self = 0;
    fn from_u64(value: u64) -> Self {
        Self::from(value)
    }
    fn shift(self, factor: u64, add: u64) -> Option<Self> {
        self.checked_mul(Self::from(factor))?.checked_add(Self::from(add))
    }
    fn negated(self) -> Self {
        -self
    }
    fn is_negative(self) -> bool {
        self < 0
    }
    #[inline]
    fn groups(self, scale: usize, out: &mut [u16; 24]) -> usize {
        let (mut value, mut count) = (self.unsigned_abs(), 0);
        let odd = TENS[scale % 4];
        // Division of 128 bits is slow: go over to 64 bits as soon as the rest fits.
        if odd > 1 && value > u128::from(u64::MAX) {
            out[0] = low(value % u128::from(odd), 10_000 / odd);
            value /= u128::from(odd);
            count = 1;
        }
        while value > u128::from(u64::MAX) {
            out[count] = low(value % 10_000, 1);
            value /= 10_000;
            count += 1;
        }
        let mut value = u64::try_from(value).unwrap_or(0);
        if odd > 1 && count == 0 {
            out[0] = low(u128::from(value % odd), 10_000 / odd);
            value /= odd;
            count = 1;
        }
        while value > 0 {
            out[count] = low(u128::from(value % 10_000), 1);
            value /= 10_000;
            count += 1;
        }
        count
    }
}

impl Digits for i256 {
    const ZERO: Self = Self::ZERO;
    fn from_u64(value: u64) -> Self {
        Self::from_i128(i128::from(value))
    }
    fn shift(self, factor: u64, add: u64) -> Option<Self> {
        self.checked_mul(Digits::from_u64(factor))?
            .checked_add(Digits::from_u64(add))
    }
    fn negated(self) -> Self {
        self.wrapping_neg()
    }
    fn is_negative(self) -> bool {
        self < Self::ZERO
    }
    fn groups(self, scale: usize, out: &mut [u16; 24]) -> usize {
        let (mut value, mut count) = (self.wrapping_abs(), 0);
        let odd = TENS[scale % 4];
        let mut take = |value: &mut Self, base: u64, factor: u64| {
            let base: Self = Digits::from_u64(base);
            out[count] = low(value.wrapping_rem(base).as_i128().unsigned_abs(), factor);
            *value = value.wrapping_div(base);
            count += 1;
        };
        if odd > 1 {
            take(&mut value, odd, 10_000 / odd);
        }
        while value != Self::ZERO {
            take(&mut value, 10_000, 1);
        }
        count
    }
}

fn low(value: u128, factor: u64) -> u16 {
    u16::try_from(value).unwrap_or(0) * u16::try_from(factor).unwrap_or(1)
}

/// Appends a decimal as a binary field, its length in front. `scale` is 0 or more.
#[inline]
pub(super) fn write<T: Digits>(value: T, scale: u8, out: &mut Vec<u8>) {
    let mut groups = [0_u16; 24];
    let count = value.groups(usize::from(scale), &mut groups);
    let after_point = usize::from(scale).div_ceil(4);
    let skip = groups[..count].iter().take_while(|group| **group == 0).count();
    let kept = &groups[skip..count];
    let kept = &kept[..kept.len() - kept.iter().rev().take_while(|group| **group == 0).count()];
    let short = |value: usize| u16::try_from(value).unwrap_or(0).to_be_bytes();
    // The highest group that is kept stands at index `skip + kept - 1`; index `after_point` counts ones.
    let weight = if kept.is_empty() {
        0
    } else {
        (skip + kept.len()).wrapping_sub(1 + after_point)
    };
    out.extend_from_slice(&u32::try_from(8 + kept.len() * 2).unwrap_or(0).to_be_bytes());
    out.extend_from_slice(&short(kept.len()));
    out.extend_from_slice(&weight.to_be_bytes()[size_of::<usize>() - 2..]);
    let minus = value.is_negative() && !kept.is_empty();
    out.extend_from_slice(&(if minus { MINUS } else { 0 }).to_be_bytes());
    out.extend_from_slice(&u16::from(scale).to_be_bytes());
    for group in kept.iter().rev() {
        out.extend_from_slice(&group.to_be_bytes());
    }
}

#[cfg(test)]
mod tests;
