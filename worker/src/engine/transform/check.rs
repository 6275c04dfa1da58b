//! Reads the SQL of a transform and refuses what one row cannot tell.
//!
//! In: the text and the columns there are. Out: the statement, with every name spelled as the column is, and a name for
//! every expression; or an error that says what to write.

use std::ops::ControlFlow;

use arrow::datatypes::Schema;
use datafusion_sql::sqlparser::{
    ast::{
        ExcludeSelectItem, Expr, GroupByExpr, Ident, ObjectName, ObjectNamePart, Query, Select, SelectItem,
        SetExpr, Statement, TableFactor, WildcardAdditionalOptions, visit_expressions_mut,
    },
    dialect::GenericDialect,
    parser::Parser,
};
use millrace_crds::suggest;

use super::{functions, names};
use crate::error::{Error, Result};

/// The name of the rows that come in.
pub(super) const INPUT: &str = "input";

const FORM: &str = "write `select ... from input [where ...]`";

/// The statement, checked; without `input`, any name may be a column.
///
/// # Errors
/// `config`, with what to write instead.
pub(super) fn statement(sql: &str, input: Option<&Schema>) -> Result<Statement> {
    let parsed = Parser::parse_sql(&GenericDialect {}, sql);
    let mut statements = parsed.map_err(|error| {
        let text = error.to_string();
        let text = text.trim_start_matches("sql parser error: ");
        Error::config(format!("this is not SQL: {text}")).advice(FORM)
    })?;
    let (Some(mut statement), true) = (statements.pop(), statements.is_empty()) else {
        return Err(Error::config("a transform is one statement").advice(FORM));
    };
    let Statement::Query(query) = &mut statement else {
        return Err(Error::config("a transform reads rows and does nothing else").advice(FORM));
    };
    let select = plain_select(query)?;
    let alias = from_input(select)?;
    let scope = Scope { input, alias };
    name_expressions(&mut select.projection, &scope)?;
    walk(select, &scope)?;
    Ok(statement)
}

/// What names can mean.
struct Scope<'a> {
    /// The columns there are; `None`: nobody has looked.
    input: Option<&'a Schema>,
    /// What the rows are called.
    alias: String,
}

fn refused(what: &str, advice: &str) -> Error {
    Error::config(format!(
        "{what} cannot be part of a transform, which sees one row at a time"
    ))
    .advice(advice)
}

fn plain_select(query: &mut Query) -> Result<&mut Select> {
    let refusals = [
        (
            query.with.is_some(),
            "`with`",
            "write the expressions out, or use several transforms, one after the other",
        ),
        (
            query.order_by.is_some(),
            "`order by`",
            "leave it out; the order of rows is the source's",
        ),
        (
            query.limit_clause.is_some() || query.fetch.is_some(),
            "`limit`",
            "filter by a column with `where`",
        ),
        (!query.locks.is_empty(), "`for update`", "leave it out"),
        (!query.pipe_operators.is_empty(), "`|>`", FORM),
        (
            query.settings.is_some() || query.format_clause.is_some() || query.for_clause.is_some(),
            "a format",
            FORM,
        ),
    ];
    refuse_first(&refusals)?;
    let SetExpr::Select(select) = query.body.as_mut() else {
        return Err(refused("`union`, `values` or a second `select`", FORM));
    };
    let grouped = match &select.group_by {
        GroupByExpr::All(_) => true,
        GroupByExpr::Expressions(expressions, modifiers) => !expressions.is_empty() || !modifiers.is_empty(),
    };
    let elsewhere = "aggregate at the source (a view) or after the load";
    let refusals = [
        (
            select.distinct.is_some(),
            "`distinct`",
            "give the stream a `primaryKey`; the last row of a key wins",
        ),
        (grouped || select.having.is_some(), "`group by`", elsewhere),
        (
            select.qualify.is_some() || !select.named_window.is_empty(),
            "a window",
            elsewhere,
        ),
        (select.top.is_some(), "`top`", "filter by a column with `where`"),
        (select.into.is_some(), "`into`", FORM),
        (!select.lateral_views.is_empty(), "`lateral view`", FORM),
        (!select.connect_by.is_empty(), "`connect by`", FORM),
        (
            !select.sort_by.is_empty() || !select.cluster_by.is_empty(),
            "`sort by`",
            "leave it out",
        ),
        (
            !select.distribute_by.is_empty(),
            "`distribute by`",
            "leave it out",
        ),
        (select.prewhere.is_some(), "`prewhere`", "write `where`"),
        (
            select.exclude.is_some(),
            "`exclude` after the list",
            "write `select * exclude (a, b) from input`",
        ),
        (select.value_table_mode.is_some(), "`select as`", FORM),
    ];
    refuse_first(&refusals)?;
    Ok(select)
}

fn refuse_first(refusals: &[(bool, &str, &str)]) -> Result<()> {
    match refusals.iter().find(|(there, ..)| *there) {
        Some((_, what, advice)) => Err(refused(what, advice)),
        None => Ok(()),
    }
}

/// Makes sure that the rows come from `input`, and tells what they are called.
fn from_input(select: &mut Select) -> Result<String> {
    let [from] = select.from.as_mut_slice() else {
        return Err(if select.from.is_empty() {
            Error::config("the transform does not say `from input`").advice(FORM)
        } else {
            refused("a second table", "join at the source (a view) or after the load")
        });
    };
    if !from.joins.is_empty() {
        return Err(refused("a join", "join at the source (a view) or after the load"));
    }
    let TableFactor::Table {
        name,
        alias,
        args: None,
        ..
    } = &mut from.relation
    else {
        return Err(refused("a subquery or a table function", FORM));
    };
    let named = match name.0.as_slice() {
        [ObjectNamePart::Identifier(ident)] => ident.value.eq_ignore_ascii_case(INPUT),
        _ => false,
    };
    if !named {
        let message = format!("a transform reads from `input`, not from `{name}`");
        return Err(
            Error::config(message).advice("write `from input`; `streams:` says which streams it is for")
        );
    }
    *name = ObjectName::from(vec![Ident::new(INPUT)]);
    Ok(alias
        .as_ref()
        .map_or_else(|| INPUT.to_owned(), |alias| alias.name.value.clone()))
}

/// Gives every expression a name: its own where it is a column, else its text.
fn name_expressions(projection: &mut [SelectItem], scope: &Scope<'_>) -> Result<()> {
    for item in projection {
        match item {
            SelectItem::UnnamedExpr(expr) => {
                if let Some(alias) = own_name(expr, scope)? {
                    *item = SelectItem::ExprWithAlias {
                        expr: expr.clone(),
                        alias: Ident::with_quote('"', alias),
                    };
                }
            }
            SelectItem::Wildcard(options) | SelectItem::QualifiedWildcard(_, options) => {
                wildcard(options, scope)?;
            }
            SelectItem::ExprWithAlias { .. } => {}
            SelectItem::ExprWithAliases { .. } => {
                return Err(refused("an expression of several columns", FORM));
            }
        }
    }
    Ok(())
}

/// The name of an expression that was given none; `None` where it is a column, which has one.
fn own_name(expr: &Expr, scope: &Scope<'_>) -> Result<Option<String>> {
    match expr {
        Expr::Identifier(_) => Ok(None),
        Expr::CompoundIdentifier(parts) => match parts.as_slice() {
            [first, column] if scope.is_alias(first) => scope.column(column).map(|_| None),
            parts => Ok(parts.last().map(|part| part.value.clone())),
        },
        other => Ok(Some(other.to_string())),
    }
}

/// Names what is to be left out as it is spelled; what is not there would be left out in silence.
fn wildcard(options: &mut WildcardAdditionalOptions, scope: &Scope<'_>) -> Result<()> {
    if options.opt_ilike.is_some() || options.opt_rename.is_some() || options.opt_alias.is_some() {
        return Err(refused(
            "`ilike` or `rename` after `*`",
            "name the columns, with `as` where one gets another name",
        ));
    }
    match &mut options.opt_exclude {
        Some(ExcludeSelectItem::Single(name)) => excluded(name, scope)?,
        Some(ExcludeSelectItem::Multiple(names)) => {
            names.iter_mut().try_for_each(|name| excluded(name, scope))?;
        }
        None => {}
    }
    if let Some(except) = &mut options.opt_except {
        scope.spell(&mut except.first_element)?;
        except
            .additional_elements
            .iter_mut()
            .try_for_each(|ident| scope.spell(ident))?;
    }
    if let Some(replace) = &mut options.opt_replace {
        replace
            .items
            .iter_mut()
            .try_for_each(|item| scope.spell(&mut item.column_name))?;
    }
    Ok(())
}

fn excluded(name: &mut ObjectName, scope: &Scope<'_>) -> Result<()> {
    match name.0.as_mut_slice() {
        [ObjectNamePart::Identifier(ident)] => scope.spell(ident),
        _ => Err(Error::config(format!("`{name}` is not a column")).advice("write `exclude (a, b)`")),
    }
}

/// Looks at every expression, wherever it stands.
fn walk(select: &mut Select, scope: &Scope<'_>) -> Result<()> {
    let flow = visit_expressions_mut(select, |expr| match expression(expr, scope) {
        Ok(()) => ControlFlow::Continue(()),
        Err(error) => ControlFlow::Break(error),
    });
    match flow {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

fn expression(expr: &mut Expr, scope: &Scope<'_>) -> Result<()> {
    match expr {
        Expr::Identifier(ident) => scope.spell(ident),
        Expr::CompoundIdentifier(parts) => match parts.as_mut_slice() {
            [first, column, ..] if scope.is_alias(first) => {
                first.value.clone_from(&scope.alias);
                scope.spell(column)
            }
            [first, ..] => scope.spell(first),
            [] => Ok(()),
        },
        Expr::Subquery(_) | Expr::InSubquery { .. } | Expr::Exists { .. } => Err(refused(
            "a subquery",
            "join at the source (a view) or after the load",
        )),
        Expr::Function(function) if function.over.is_some() => Err(refused(
            "a window (`over`)",
            "compute it at the source (a view) or after the load",
        )),
        Expr::Function(function) if function.name.to_string().eq_ignore_ascii_case("unnest") => Err(refused(
            "`unnest`",
            "a transform makes at most one row of a row; unnest after the load",
        )),
        Expr::Function(function) => functions::check(&function.name.to_string()),
        _ => Ok(()),
    }
}

impl Scope<'_> {
    /// A column of that name comes first.
    fn is_alias(&self, ident: &Ident) -> bool {
        let alias = if ident.quote_style.is_some() {
            ident.value == self.alias
        } else {
            ident.value.eq_ignore_ascii_case(&self.alias)
        };
        let column = self.input.map(|input| input.field_with_name(&ident.value));
        alias && !matches!(column, Some(Ok(_)))
    }

    fn spell(&self, ident: &mut Ident) -> Result<()> {
        ident.value = self.column(ident)?.to_owned();
        Ok(())
    }

    /// The column of that name; without quotes also in another case, where only one column can be meant.
    fn column<'b>(&'b self, ident: &'b Ident) -> Result<&'b str> {
        let name = ident.value.as_str();
        let Some(input) = self.input else {
            return Ok(name);
        };
        if let Some(exact) = names(input).find(|column| *column == name) {
            return Ok(exact);
        }
        let mut alike = names(input).filter(|column| column.eq_ignore_ascii_case(name));
        match (ident.quote_style, alike.next(), alike.next()) {
            (None, Some(column), None) => Ok(column),
            (None, Some(one), Some(other)) => {
                let message = format!("`{name}` may be `{one}` or `{other}`");
                Err(Error::config(message).advice(format!("write \"{one}\" in double quotes")))
            }
            _ => Err(
                Error::config(format!("there is no column `{name}`")).advice(suggest::advice(
                    name,
                    names(input),
                    "there are",
                )),
            ),
        }
    }
}
