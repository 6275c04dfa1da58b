//! Which Arrow decimal holds every value of a `numeric`.

use super::Kind;

/// The decoder of a numeric with this modifier.
pub(super) fn numeric(modifier: i32, declared: Option<(u8, i8)>) -> Kind {
    let bounds = match declared_numeric(modifier) {
        Some(bounds) => fit_decimal(bounds.0, bounds.1),
        None => declared,
    };
    bounds.map_or(Kind::NumericText, |(precision, scale)| Kind::Decimal {
        precision,
        scale,
    })
}

/// Precision and scale out of a type modifier. Scales from -1000 to 1000 are in 11 bits.
fn declared_numeric(modifier: i32) -> Option<(i32, i32)> {
    let packed = modifier.checked_sub(4).filter(|packed| *packed >= 0)?;
    Some(((packed >> 16) & 0xFFFF, ((packed & 0x7FF) ^ 1024) - 1024))
}

/// The smallest decimal with a scale between 0 and its precision that holds every value; `None`: too wide.
fn fit_decimal(precision: i32, scale: i32) -> Option<(u8, i8)> {
    let whole = (precision - scale).max(0);
    let scale = scale.max(0);
    let precision = u8::try_from(whole + scale)
        .ok()
        .filter(|precision| *precision <= 76)?;
    Some((precision.max(1), i8::try_from(scale).ok()?))
}

/// Precision and scale of a declared `decimal(15,2)` or `numeric(15, 2)`.
pub(in super::super) fn parse_decimal(physical: &str) -> Option<(u8, i8)> {
    let lower = physical.trim().to_ascii_lowercase();
    let rest = ["decimal", "numeric"]
        .into_iter()
        .find_map(|word| lower.strip_prefix(word))?;
    let inner = rest.trim().strip_prefix('(')?.strip_suffix(')')?;
    let (precision, scale) = inner.split_once(',').unwrap_or((inner, "0"));
    fit_decimal(precision.trim().parse().ok()?, scale.trim().parse().ok()?)
}
