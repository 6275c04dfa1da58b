use super::{Kind, numeric, parse_decimal};

/// As PostgreSQL packs precision and scale.
fn modifier(precision: i32, scale: i32) -> i32 {
    ((precision << 16) | (scale & 0x7FF)) + 4
}

#[test]
fn a_declared_numeric_becomes_a_decimal_that_holds_every_value() {
    for ((precision, scale), expected) in [
        ((15, 2), (15, 2)),
        ((38, 0), (38, 0)),
        ((76, 40), (76, 40)),
        // Fractions alone: 0.00xxx.
        ((3, 5), (5, 5)),
        // Whole hundreds: 5 digits and two zeros.
        ((5, -2), (7, 0)),
    ] {
        let (precision_out, scale_out) = expected;
        let kind = Kind::Decimal {
            precision: precision_out,
            scale: scale_out,
        };
        assert_eq!(
            numeric(modifier(precision, scale), None),
            kind,
            "({precision},{scale})"
        );
    }
    assert_eq!(numeric(modifier(100, 2), None), Kind::NumericText);
    assert_eq!(numeric(-1, None), Kind::NumericText);
    assert_eq!(
        numeric(-1, Some((12, 3))),
        Kind::Decimal {
            precision: 12,
            scale: 3
        }
    );
}

#[test]
fn a_declared_physical_type_is_read() {
    assert_eq!(parse_decimal("decimal(15,2)"), Some((15, 2)));
    assert_eq!(parse_decimal(" NUMERIC( 20 , 0 ) "), Some((20, 0)));
    assert_eq!(parse_decimal("decimal(9)"), Some((9, 0)));
    for other in ["decimal", "decimal(80,2)", "int", "numeric(a,b)", "decimal(5,2"] {
        assert_eq!(parse_decimal(other), None, "{other}");
    }
}
