//! Which Arrow type a PostgreSQL column is read as, and by which expression.
//!
//! In: the server's catalogue of types. Out: a [`Kind`] for each column: how its binary form is decoded. Types
//! without a decoder of their own are sent as text by the server itself, so that nothing is lost.

use std::collections::HashMap;

use arrow::datatypes::{DataType, Field, TimeUnit};
use tokio_postgres::Row;

use super::{ident::quote, link::Link};
use crate::{error::Result, types::PHYSICAL_TYPE};

mod decimal;

use self::decimal::numeric;
pub(super) use self::decimal::parse_decimal;

/// How a value's binary form is decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Bool,
    Int2,
    Int4,
    Int8,
    Float4,
    Float8,
    /// A numeric with a declared precision (at most 76) and a scale within it.
    Decimal {
        precision: u8,
        scale: i8,
    },
    /// A numeric without one, or with a wider one: exact text.
    NumericText,
    Text,
    Json,
    /// `jsonb`: a version byte, then text.
    Jsonb,
    Uuid,
    Bytes,
    Date,
    Time,
    Timestamp {
        zone: bool,
    },
    List(Box<Kind>),
}

impl Kind {
    /// The Arrow type.
    pub(super) fn arrow(&self) -> DataType {
        match self {
            Self::Bool => DataType::Boolean,
            Self::Int2 => DataType::Int16,
            Self::Int4 => DataType::Int32,
            Self::Int8 => DataType::Int64,
            Self::Float4 => DataType::Float32,
            Self::Float8 => DataType::Float64,
            Self::Decimal { precision, scale } if *precision <= 38 => {
                DataType::Decimal128(*precision, *scale)
            }
            Self::Decimal { precision, scale } => DataType::Decimal256(*precision, *scale),
            Self::NumericText | Self::Text | Self::Json | Self::Jsonb | Self::Uuid => DataType::Utf8,
            Self::Bytes => DataType::Binary,
            Self::Date => DataType::Date32,
            Self::Time => DataType::Time64(TimeUnit::Microsecond),
            Self::Timestamp { zone } => {
                DataType::Timestamp(TimeUnit::Microsecond, zone.then(|| "UTC".into()))
            }
            Self::List(item) => DataType::List(item.field("item", true).into()),
        }
    }
}

impl Kind {
    /// A field of this kind; it says what text is a form of something else.
    pub(super) fn field(&self, name: &str, nullable: bool) -> Field {
        let field = Field::new(name, self.arrow(), nullable);
        let physical = match self {
            Self::Json => "json",
            Self::Jsonb => "jsonb",
            Self::Uuid => "uuid",
            _ => return field,
        };
        field.with_metadata(HashMap::from([(PHYSICAL_TYPE.to_owned(), physical.to_owned())]))
    }
}

/// One column as it is read.
#[derive(Clone, Debug)]
pub(super) struct Column {
    pub(super) name: String,
    /// What to select.
    pub(super) expression: String,
    pub(super) kind: Kind,
    pub(super) nullable: bool,
    /// The type as SQL writes it, for literals.
    pub(super) sql_type: String,
    /// The type below all domains, for what depends on its meaning.
    pub(super) base: String,
}

impl Column {
    /// The Arrow field.
    pub(super) fn field(&self) -> Field {
        self.kind.field(&self.name, self.nullable)
    }
}

/// The types of one database.
pub(super) struct Catalogue(HashMap<u32, TypeRow>);

struct TypeRow {
    name: String,
    builtin: bool,
    class: u8,
    category: u8,
    base: u32,
    base_modifier: i32,
    item: u32,
}

/// Composite types and their arrays are left out: one a table, and all of them are read as text.
const TYPES: &str = "SELECT t.oid, t.typname, t.oid < 16384, t.typtype, t.typcategory, t.typbasetype, t.typtypmod, t.typelem \
     FROM pg_type t LEFT JOIN pg_type e ON e.oid = t.typelem \
     WHERE t.typtype <> 'c' AND e.typtype IS DISTINCT FROM 'c'";

/// A column as `pg_attribute` has it.
pub(super) struct Attribute {
    pub(super) name: String,
    pub(super) type_id: u32,
    pub(super) modifier: i32,
    /// Dimensions as declared; PostgreSQL does not hold values to them.
    pub(super) dimensions: i32,
    pub(super) not_null: bool,
    pub(super) sql_type: String,
    /// The expression that fills it where the writer does not.
    pub(super) default: Option<String>,
}

impl Catalogue {
    /// Reads the types.
    pub(super) async fn read(link: &mut Link) -> Result<Self> {
        let rows = link.query(TYPES, &[]).await?;
        Ok(Self(
            rows.iter().map(|row| (row.get(0), TypeRow::new(row))).collect(),
        ))
    }

    /// How a column is read. `declared`: precision and scale from the manifest, for a numeric that has none.
    pub(super) fn column(&self, attribute: &Attribute, declared: Option<(u8, i8)>) -> Column {
        let name = quote(&attribute.name);
        let (kind, expression, base) = self.resolve(attribute, &name, declared);
        Column {
            expression,
            kind,
            base,
            name: attribute.name.clone(),
            nullable: !attribute.not_null,
            sql_type: attribute.sql_type.clone(),
        }
    }

    fn resolve(
        &self,
        attribute: &Attribute,
        name: &str,
        declared: Option<(u8, i8)>,
    ) -> (Kind, String, String) {
        let as_text = |base: &str| (Kind::Text, format!("{name}::text"), base.to_owned());
        let Some((id, modifier)) = self.below_domains(attribute.type_id, attribute.modifier) else {
            return as_text("record");
        };
        let Some(type_) = self.0.get(&id) else {
            return as_text("record");
        };
        if type_.category != b'A' || type_.item == 0 {
            return match self.scalar(id, modifier, declared) {
                Read::Plain(kind) => (kind, name.to_owned(), type_.name.clone()),
                Read::Cast(kind, cast) => (kind, format!("{name}::{cast}"), type_.name.clone()),
            };
        }
        if attribute.dimensions > 1 {
            return (
                Kind::Text,
                format!("array_to_json({name})::text"),
                type_.name.clone(),
            );
        }
        let Some((item, modifier)) = self.below_domains(type_.item, modifier) else {
            return as_text(&type_.name);
        };
        // An array of arrays exists only through a domain.
        if self.0.get(&item).is_none_or(|item| item.category == b'A') {
            return (
                Kind::Text,
                format!("array_to_json({name})::text"),
                type_.name.clone(),
            );
        }
        match self.scalar(item, modifier, declared) {
            Read::Plain(kind) => (Kind::List(kind.into()), name.to_owned(), type_.name.clone()),
            Read::Cast(kind, cast) => (
                Kind::List(kind.into()),
                format!("{name}::{cast}[]"),
                type_.name.clone(),
            ),
        }
    }

    /// The type and modifier below all domains; `None` for what the catalogue leaves out.
    fn below_domains(&self, mut id: u32, mut modifier: i32) -> Option<(u32, i32)> {
        loop {
            let type_ = self.0.get(&id)?;
            if type_.class != b'd' {
                return Some((id, modifier));
            }
            if modifier < 0 {
                modifier = type_.base_modifier;
            }
            id = type_.base;
        }
    }

    fn scalar(&self, id: u32, modifier: i32, declared: Option<(u8, i8)>) -> Read {
        let Some(type_) = self.0.get(&id) else {
            return Read::Cast(Kind::Text, "text");
        };
        if type_.class == b'e' || type_.name == "citext" {
            return Read::Plain(Kind::Text);
        }
        if !type_.builtin {
            return Read::Cast(Kind::Text, "text");
        }
        Read::Plain(match type_.name.as_str() {
            "bool" => Kind::Bool,
            "int2" => Kind::Int2,
            "int4" => Kind::Int4,
            "int8" => Kind::Int8,
            "float4" => Kind::Float4,
            "float8" => Kind::Float8,
            "numeric" => numeric(modifier, declared),
            "text" | "varchar" | "bpchar" | "name" => Kind::Text,
            "json" => Kind::Json,
            "jsonb" => Kind::Jsonb,
            "uuid" => Kind::Uuid,
            "bytea" => Kind::Bytes,
            "date" => Kind::Date,
            "time" => Kind::Time,
            "timestamp" => Kind::Timestamp { zone: false },
            "timestamptz" => Kind::Timestamp { zone: true },
            "oid" => return Read::Cast(Kind::Int8, "int8"),
            // Its text form depends on the server's locale.
            "money" => return Read::Cast(Kind::NumericText, "numeric"),
            _ => return Read::Cast(Kind::Text, "text"),
        })
    }
}

enum Read {
    Plain(Kind),
    Cast(Kind, &'static str),
}

impl TypeRow {
    fn new(row: &Row) -> Self {
        let letter = |at: usize| u8::try_from(row.get::<_, i8>(at)).unwrap_or(b'?');
        Self {
            name: row.get(1),
            builtin: row.get(2),
            class: letter(3),
            category: letter(4),
            base: row.get(5),
            base_modifier: row.get(6),
            item: row.get(7),
        }
    }
}

#[cfg(test)]
mod tests;
