//! Whether an expression keeps different values different, so that a key that it makes is still one row's own.
//!
//! In: a compiled expression. Out: the one column that it is made of, where no two values of that column can give the
//! same result. What cannot be seen to be so is taken not to be: `lower(email)` may make one key of two.

use arrow::datatypes::{DataType, Schema};
use datafusion_expr::Operator;
use datafusion_physical_expr::{
    PhysicalExpr, ScalarFunctionExpr,
    expressions::{BinaryExpr, CastExpr, Column, Literal},
};

/// The column whose different values stay different.
pub(super) fn source<'a>(expr: &'a dyn PhysicalExpr, input: &Schema) -> Option<&'a str> {
    if let Some(column) = expr.downcast_ref::<Column>() {
        return Some(column.name());
    }
    if let Some(cast) = expr.downcast_ref::<CastExpr>() {
        let from = cast.expr().data_type(input).ok()?;
        return keeps(&from, cast.cast_type())
            .then(|| source(cast.expr().as_ref(), input))
            .flatten();
    }
    if let Some(binary) = expr.downcast_ref::<BinaryExpr>() {
        let whole = expr.data_type(input).ok()?.is_integer();
        return match binary.op() {
            Operator::Plus | Operator::Minus if whole => only([binary.left(), binary.right()], input),
            Operator::StringConcat => only([binary.left(), binary.right()], input),
            _ => None,
        };
    }
    let function = expr.downcast_ref::<ScalarFunctionExpr>()?;
    (function.name() == "concat")
        .then(|| only(function.args(), input))
        .flatten()
}

/// The one operand that is no constant; all others are, and are not null.
fn only<'a>(
    operands: impl IntoIterator<Item = &'a std::sync::Arc<dyn PhysicalExpr>>,
    input: &Schema,
) -> Option<&'a str> {
    let mut found = None;
    for operand in operands {
        match operand.downcast_ref::<Literal>() {
            Some(literal) if literal.value().is_null() => return None,
            Some(_) => {}
            None if found.is_some() => return None,
            None => found = Some(source(operand.as_ref(), input)?),
        }
    }
    found
}

/// Casts under which different values stay different.
fn keeps(from: &DataType, to: &DataType) -> bool {
    let text = |type_: &DataType| matches!(type_, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
    let wider = from.is_integer() && to.is_integer() && from.primitive_width() <= to.primitive_width();
    let exact = from.is_integer() || text(from) || matches!(from, DataType::Date32 | DataType::Boolean);
    wider || exact && text(to)
}
