//! From a checked statement to expressions that run: DataFusion plans and types them, and we take them out of the plan.

use std::{collections::BTreeSet, sync::Arc};

use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use datafusion_common::{
    DFSchema, DataFusionError, Result as Planned, ScalarValue, SchemaError, TableReference,
    config::ConfigOptions,
    tree_node::{Transformed, TreeNode},
};
use datafusion_expr::{
    AggregateUDF, Expr, GetFieldAccess, HigherOrderUDF, LogicalPlan, Operator, ScalarUDF, TableSource,
    WindowUDF,
    execution_props::ExecutionProps,
    lit,
    logical_plan::builder::LogicalTableSource,
    physical_planning_context::PhysicalPlanningContext,
    planner::{ContextProvider, ExprPlanner, PlannerResult, RawFieldAccessExpr},
    simplify::SimplifyContext,
};
use datafusion_functions::{
    core::{get_field, planner::CoreFunctionPlanner},
    datetime, unicode,
};
use datafusion_optimizer::{
    Analyzer, analyzer::type_coercion::TypeCoercion, simplify_expressions::ExprSimplifier,
};
use datafusion_physical_expr::{PhysicalExpr, create_physical_expr, expressions::BinaryExpr};
use datafusion_sql::planner::SqlToRel;

use super::{
    check, functions,
    step::{Branch, Output, Step},
};
use crate::{
    engine::contract::plain_field,
    error::{Error, Result},
};

/// Compiles one transform.
///
/// # Errors
/// `config`, with what is wrong in the text.
pub(super) fn compile(sql: &str, input: &SchemaRef) -> Result<Step> {
    let statement = check::statement(sql, Some(input))?;
    let planner = Planner::new(input.clone());
    let plan = SqlToRel::new(&planner)
        .sql_statement_to_plan(statement)
        .map_err(|error| wrong(&error))?;
    let typed = Analyzer::with_rules(vec![Arc::new(TypeCoercion::new())])
        .execute_and_check(plan, &planner.options, |_, _| {})
        .map_err(|error| wrong(&error))?;
    let (expressions, filter, schema) = taken_apart(&typed)?;
    let compiler = Compiler {
        schema,
        input,
        options: planner.options.clone(),
    };
    let filter = filter
        .map(|expr| compiler.branch(std::slice::from_ref(expr)))
        .transpose()?;
    let fields = compiler.fields(expressions)?;
    let outputs = compiler.outputs(expressions, &fields);
    let step = Step::new(
        input.clone(),
        filter,
        compiler.branch(expressions)?,
        outputs,
        Arc::new(Schema::new(fields)),
    );
    // What cannot be run at all is found on no rows, and not on the first batch.
    step.run(&arrow::record_batch::RecordBatch::new_empty(input.clone()))?;
    Ok(step)
}

/// What the planner found, without its ornaments.
fn wrong(error: &DataFusionError) -> Error {
    let root = error.find_root();
    let text = root.strip_backtrace();
    let doubled = match root {
        DataFusionError::SchemaError(error, _) => !matches!(**error, SchemaError::FieldNotFound { .. }),
        _ => text.contains("unique expression names"),
    };
    if doubled {
        return Error::config("two columns that the transform selects have the same name")
            .advice("give one of them another name with `as`, or leave it out with `* exclude (name)`");
    }
    let text = [
        "Error during planning: ",
        "This feature is not implemented: ",
        "Schema error: ",
    ]
    .into_iter()
    .fold(text.lines().next().unwrap_or_default(), |text, prefix| {
        text.trim_start_matches(prefix)
    });
    Error::config(text.trim_end_matches('.'))
}

/// A projection, perhaps over a filter, over the input; the checks before let nothing else through.
fn taken_apart(plan: &LogicalPlan) -> Result<(&[Expr], Option<&Expr>, &DFSchema)> {
    let LogicalPlan::Projection(projection) = plan else {
        return Err(too_much(plan));
    };
    let (filter, rows) = match projection.input.as_ref() {
        LogicalPlan::Filter(filter) => (Some(&filter.predicate), filter.input.as_ref()),
        rows => (None, rows),
    };
    let mut leaf = rows;
    while let LogicalPlan::SubqueryAlias(alias) = leaf {
        leaf = alias.input.as_ref();
    }
    match leaf {
        LogicalPlan::TableScan(_) => Ok((&projection.expr, filter, rows.schema())),
        other => Err(too_much(other)),
    }
}

fn too_much(plan: &LogicalPlan) -> Error {
    let what = plan.display().to_string();
    let what = what.split(':').next().unwrap_or_default().to_owned();
    Error::config(format!(
        "a transform sees one row at a time, and this one needs more ({what})"
    ))
    .advice("write `select ... from input [where ...]`")
}

/// Turns typed expressions into ones that run, over no more columns than they need.
struct Compiler<'a> {
    schema: &'a DFSchema,
    input: &'a SchemaRef,
    options: Arc<ConfigOptions>,
}

impl Compiler<'_> {
    fn branch(&self, expressions: &[Expr]) -> Result<Branch> {
        let columns: BTreeSet<usize> = expressions
            .iter()
            .flat_map(Expr::column_refs)
            .map(|column| self.schema.index_of_column(column).map_err(|error| wrong(&error)))
            .collect::<Result<_>>()?;
        let columns: Vec<usize> = columns.into_iter().collect();
        let fields = columns.iter().map(|index| self.schema.qualified_field(*index));
        let fields = fields
            .map(|(qualifier, field)| (qualifier.cloned(), field.clone()))
            .collect();
        let schema = DFSchema::new_with_metadata(fields, std::collections::HashMap::new())
            .map_err(|error| wrong(&error))?;
        let schema = Arc::new(schema);
        let compiled = expressions
            .iter()
            .map(|expr| self.compiled(expr, &schema).map_err(|error| wrong(&error)));
        Ok(Branch {
            expressions: compiled.collect::<Result<_>>()?,
            columns,
        })
    }

    fn compiled(&self, expr: &Expr, schema: &Arc<DFSchema>) -> Planned<Arc<dyn PhysicalExpr>> {
        let context = SimplifyContext::builder()
            .with_schema(schema.clone())
            .with_config_options(self.options.clone())
            .build();
        // What fails for every row is left to fail when there is one.
        let expr = ExprSimplifier::new(context)
            .simplify(expr.clone())
            .unwrap_or_else(|_| expr.clone());
        let properties = ExecutionProps {
            config_options: Some(self.options.clone()),
            ..ExecutionProps::new()
        };
        let physical = create_physical_expr(&expr, schema, &properties, &PhysicalPlanningContext::default())?;
        Ok(physical.transform_up(|expr| Ok(checked(expr)))?.data)
    }

    fn fields(&self, expressions: &[Expr]) -> Result<Vec<FieldRef>> {
        let mut fields: Vec<FieldRef> = Vec::with_capacity(expressions.len());
        for expr in expressions {
            let name = column_name(expr);
            let type_ = expr_type(expr, self.schema)?;
            if type_ == DataType::Null {
                let advice = format!("write `cast(... as text) as \"{name}\"`, or another type");
                return Err(Error::config(format!("column `{name}` has no type")).advice(advice));
            }
            let metadata = self
                .source(expr)
                .map(|index| self.input.field(index).metadata().clone())
                .unwrap_or_default();
            fields.push(Arc::new(
                plain_field(&Field::new(name, type_, true)).with_metadata(metadata),
            ));
        }
        Ok(fields)
    }

    fn outputs(&self, expressions: &[Expr], fields: &[FieldRef]) -> Vec<Output> {
        let outputs = expressions.iter().zip(fields);
        outputs
            .map(|(expr, field)| Output {
                name: field.name().clone(),
                source: self.source(expr),
            })
            .collect()
    }

    /// The column of the input that an expression passes on unchanged.
    fn source(&self, expr: &Expr) -> Option<usize> {
        self.schema.index_of_column(passed(expr)?).ok()
    }
}

fn expr_type(expr: &Expr, schema: &DFSchema) -> Result<DataType> {
    use datafusion_expr::ExprSchemable;
    expr.get_type(schema).map_err(|error| wrong(&error))
}

/// The column that an expression is, under whatever name.
fn passed(expr: &Expr) -> Option<&datafusion_common::Column> {
    match expr {
        Expr::Column(column) => Some(column),
        Expr::Alias(alias) => passed(&alias.expr),
        _ => None,
    }
}

fn column_name(expr: &Expr) -> String {
    match expr {
        Expr::Alias(alias) => alias.name.clone(),
        Expr::Column(column) => column.name.clone(),
        other => other.schema_name().to_string(),
    }
}

/// Arithmetic that fails where a whole number would wrap round.
fn checked(expr: Arc<dyn PhysicalExpr>) -> Transformed<Arc<dyn PhysicalExpr>> {
    let Some(binary) = expr.downcast_ref::<BinaryExpr>() else {
        return Transformed::no(expr);
    };
    if !matches!(binary.op(), Operator::Plus | Operator::Minus | Operator::Multiply) {
        return Transformed::no(expr);
    }
    let same = BinaryExpr::new(binary.left().clone(), *binary.op(), binary.right().clone());
    Transformed::yes(Arc::new(same.with_fail_on_overflow(true)))
}

/// What DataFusion asks of us: one table, scalar functions, and options.
struct Planner {
    input: Arc<dyn TableSource>,
    options: Arc<ConfigOptions>,
    planners: Vec<Arc<dyn ExprPlanner>>,
}

impl Planner {
    fn new(input: SchemaRef) -> Self {
        let mut options = ConfigOptions::new();
        // Names are already spelled as the columns are, and text is text.
        options.sql_parser.enable_ident_normalization = false;
        options.sql_parser.map_string_types_to_utf8view = false;
        // `price * 1.1` of a decimal stays a decimal.
        options.sql_parser.parse_float_as_decimal = true;
        Self {
            input: Arc::new(LogicalTableSource::new(input)),
            options: Arc::new(options),
            planners: vec![
                Arc::new(CoreFunctionPlanner::default()),
                Arc::new(PartPlanner),
                Arc::new(datetime::planner::DatetimeFunctionPlanner),
                Arc::new(unicode::planner::UnicodeFunctionPlanner),
            ],
        }
    }
}

impl ContextProvider for Planner {
    fn get_table_source(&self, _name: TableReference) -> Planned<Arc<dyn TableSource>> {
        Ok(self.input.clone())
    }
    fn get_expr_planners(&self) -> &[Arc<dyn ExprPlanner>] {
        &self.planners
    }
    fn get_function_meta(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        functions::find(name)
    }
    fn get_higher_order_meta(&self, _name: &str) -> Option<Arc<HigherOrderUDF>> {
        None
    }
    fn get_aggregate_meta(&self, _name: &str) -> Option<Arc<AggregateUDF>> {
        None
    }
    fn get_window_meta(&self, _name: &str) -> Option<Arc<WindowUDF>> {
        None
    }
    fn get_variable_type(&self, _names: &[String]) -> Option<DataType> {
        None
    }
    fn options(&self) -> &ConfigOptions {
        &self.options
    }
    fn udf_names(&self) -> Vec<String> {
        functions::all()
    }
    fn higher_order_function_names(&self) -> Vec<String> {
        Vec::new()
    }
    fn udaf_names(&self) -> Vec<String> {
        Vec::new()
    }
    fn udwf_names(&self) -> Vec<String> {
        Vec::new()
    }
}

/// `address['street']`; DataFusion keeps its own planner for this among functions of arrays, which we leave out.
#[derive(Debug)]
struct PartPlanner;

impl ExprPlanner for PartPlanner {
    fn plan_field_access(
        &self,
        access: RawFieldAccessExpr,
        _schema: &DFSchema,
    ) -> Planned<PlannerResult<RawFieldAccessExpr>> {
        let GetFieldAccess::NamedStructField { name } = &access.field_access else {
            return Ok(PlannerResult::Original(access));
        };
        let name = lit(ScalarValue::Utf8(name.try_as_str().flatten().map(str::to_owned)));
        Ok(PlannerResult::Planned(get_field().call(vec![access.expr, name])))
    }
}
