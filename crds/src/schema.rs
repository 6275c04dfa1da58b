//! Declared schemas: properties as the Open Data Contract Standard (version 3) writes them.
//!
//! In: the `schema` list of a stream, or a whole contract document. Out: a tree of [`Field`]s.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Nested levels whose shape the API server checks. A structural schema cannot recurse, so what lies
/// deeper is kept as it is and checked by the resolver.
const LEVELS: usize = 3;

/// What a `schemaRef` to a `ConfigMap` begins with.
pub(crate) const CONFIG_MAP: &str = "configmap:";

/// One column, or one part of an object or array.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Field {
    /// The column's name; the items of an array need none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The type without regard to a system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logical_type: Option<LogicalType>,
    /// The exact type, for example `decimal(15,2)`, `int32` or `float32`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub physical_type: Option<String>,
    /// What narrows the type: [`LogicalType::options`].
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub logical_type_options: Map<String, Value>,
    /// Whether a null is refused.
    #[serde(default, skip_serializing_if = "is_false")]
    pub required: bool,
    /// Whether the column belongs to the key, where the stream names none itself.
    #[serde(default, skip_serializing_if = "is_false")]
    pub primary_key: bool,
    /// The place of the column within the key, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub primary_key_position: Option<u32>,
    /// What an array holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub items: Option<Box<Field>>,
    /// What an object holds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub properties: Vec<Field>,
    /// What the column means.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

/// The types of the Open Data Contract Standard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum LogicalType {
    /// Text.
    String,
    /// A day.
    Date,
    /// A moment.
    Timestamp,
    /// A time of day.
    Time,
    /// A number with a fraction.
    Number,
    /// A whole number.
    Integer,
    /// Named parts.
    Object,
    /// A list.
    Array,
    /// True or false.
    Boolean,
}

impl LogicalType {
    /// The `format`s of whole numbers.
    pub const INTEGER_FORMATS: [&str; 9] = ["i8", "i16", "i32", "i64", "i128", "u8", "u16", "u32", "u64"];
    /// The `format`s of numbers with a fraction.
    pub const NUMBER_FORMATS: [&str; 2] = ["f32", "f64"];

    /// The keys of `logicalTypeOptions` that mean something here.
    #[must_use]
    pub const fn options(self) -> &'static [&'static str] {
        match self {
            Self::Integer | Self::Number => &["format"],
            Self::Timestamp => &["timezone"],
            _ => &[],
        }
    }

    /// The `format`s that mean something here.
    #[must_use]
    pub const fn formats(self) -> &'static [&'static str] {
        match self {
            Self::Integer => &Self::INTEGER_FORMATS,
            Self::Number => &Self::NUMBER_FORMATS,
            _ => &[],
        }
    }
}

/// A whole contract document; what it says beyond its schema is for others.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct Contract {
    /// Its tables.
    #[serde(default)]
    pub schema: Vec<ContractObject>,
}

/// One table of a contract.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContractObject {
    /// The table's name in the contract.
    pub name: String,
    /// The table's name in the system.
    #[serde(default)]
    pub physical_name: Option<String>,
    /// Its columns.
    #[serde(default)]
    pub properties: Vec<Field>,
}

impl Contract {
    /// Reads a contract from YAML or JSON.
    ///
    /// # Errors
    ///
    /// When the text is not a contract; the message says why.
    pub fn parse(text: &str) -> Result<Self, String> {
        serde_saphyr::from_str(text).map_err(|error| {
            let text = error.without_snippet().render();
            text.lines().next().unwrap_or_default().to_owned()
        })
    }

    /// The path of a `schemaRef` that names a file; `None` where it names a `ConfigMap`.
    pub(crate) fn path(schema_ref: &str) -> Option<&str> {
        let path = schema_ref.split_once('#').map_or(schema_ref, |(path, _)| path);
        (!path.starts_with(CONFIG_MAP)).then_some(path)
    }

    /// The table of a name, by its name in the contract or in the system.
    #[must_use]
    pub fn object(&self, name: &str) -> Option<&ContractObject> {
        let physical = |object: &&ContractObject| object.physical_name.as_deref() == Some(name);
        self.schema
            .iter()
            .find(|object| object.name == name)
            .or_else(|| self.schema.iter().find(physical))
    }
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes the field by reference"
)]
fn is_false(value: &bool) -> bool {
    !value
}

impl JsonSchema for Field {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Field".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        level(LEVELS, true)
    }
}

/// The schema of a field with `below` more levels under it.
fn level(below: usize, named: bool) -> Schema {
    let mut schema = json_schema!({
        "type": "object",
        "description": "A column, or a part of an object or array, as the Open Data Contract Standard writes it.",
        "properties": {
            "name": { "type": "string", "minLength": 1, "maxLength": 1024, "description": "The column's name." },
            "logicalType": {
                "type": "string",
                "enum": ["string", "date", "timestamp", "time", "number", "integer", "object", "array", "boolean"],
                "description": "The type without regard to a system."
            },
            "physicalType": {
                "type": "string", "maxLength": 256,
                "description": "The exact type, for example decimal(15,2), int32 or float32."
            },
            "logicalTypeOptions": {
                "type": "object", "x-kubernetes-preserve-unknown-fields": true,
                "description": "What narrows the type: `format` of an integer (i8, i16, i32, i64, i128, u8, u16, u32, u64) or a number (f32, f64), `timezone: true` of a timestamp."
            },
            "required": { "type": "boolean", "description": "Whether a null is refused." },
            "primaryKey": { "type": "boolean", "description": "Whether the column belongs to the key, where the stream names none itself." },
            "primaryKeyPosition": { "type": "integer", "minimum": 1, "maximum": 64, "description": "The place of the column within the key, from 1." },
            "description": { "type": "string", "maxLength": 4096, "description": "What the column means." },
            "items": nested(below, "What an array holds.", |below| level(below, false)),
            "properties": properties(below)
        }
    });
    if named {
        schema.insert("required".into(), serde_json::json!(["name"]));
    }
    schema
}

fn properties(below: usize) -> Schema {
    let items = nested(below, "One part.", |below| level(below, true));
    json_schema!({ "type": "array", "maxItems": 2000, "items": items, "description": "What an object holds." })
}

fn nested(below: usize, description: &str, make: impl Fn(usize) -> Schema) -> Schema {
    let mut schema = match below.checked_sub(1) {
        Some(below) => make(below),
        None => json_schema!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true }),
    };
    schema.insert("description".into(), description.into());
    schema
}
