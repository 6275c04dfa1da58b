//! The columns of NDJSON from a sample of its lines.

use std::{collections::HashMap, sync::Arc};

use arrow::datatypes::{DataType, Field};
use serde_json::{Map, Value};

use crate::{
    formats::infer::Kind,
    types::{PHYSICAL_TYPE, UNTYPED},
};

/// What the values of one column have in common.
#[derive(Clone, Debug, Default)]
struct Shape {
    boolean: bool,
    integer: bool,
    number: bool,
    text: bool,
    kind: Kind,
    items: Option<Box<Shape>>,
    members: Option<Members>,
    /// A number that neither 64 bits of an integer nor a float give back.
    large: bool,
}

/// The members of objects, in the order in which they were met.
#[derive(Clone, Debug, Default)]
struct Members {
    names: Vec<String>,
    shapes: HashMap<String, Shape>,
}

/// The columns that the lines of these texts show. What is no object is passed over here, and refused when it is read.
pub(crate) fn infer(texts: &[Vec<u8>]) -> Vec<Field> {
    let mut members = Members::default();
    for line in texts.iter().flat_map(|text| text.split(|byte| *byte == b'\n')) {
        let line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
        if let Ok(object) = serde_json::from_slice::<Map<String, Value>>(line) {
            members.see(&object);
        }
    }
    members.fields()
}

impl Members {
    fn see(&mut self, object: &Map<String, Value>) {
        for (name, value) in object {
            if !self.shapes.contains_key(name) {
                self.names.push(name.clone());
            }
            self.shapes.entry(name.clone()).or_default().see(value);
        }
    }

    fn fields(&self) -> Vec<Field> {
        let field = |name: &String| self.shapes.get(name).map(|shape| shape.field(name));
        self.names.iter().filter_map(field).collect()
    }
}

impl Shape {
    fn see(&mut self, value: &Value) {
        match value {
            Value::Null => {}
            Value::Bool(_) => self.boolean = true,
            Value::Number(number) if number.is_i64() => self.integer = true,
            Value::Number(number) => {
                self.number = true;
                self.large |= number.is_u64();
            }
            Value::String(text) => {
                self.text = true;
                self.kind.see(text);
            }
            Value::Array(values) => {
                let items = self.items.get_or_insert_default();
                values.iter().for_each(|value| items.see(value));
            }
            Value::Object(object) => self.members.get_or_insert_default().see(object),
        }
    }

    fn field(&self, name: &str) -> Field {
        match self.data_type() {
            Some(type_) if self.is_empty() => Field::new(name, type_, true)
                .with_metadata(HashMap::from([(UNTYPED.to_owned(), String::new())])),
            Some(type_) => Field::new(name, type_, true),
            // Values of several kinds stay the JSON that they are.
            None => Field::new(name, DataType::Utf8, true)
                .with_metadata(HashMap::from([(PHYSICAL_TYPE.to_owned(), "json".to_owned())])),
        }
    }

    /// Whether there was nothing but nulls.
    fn is_empty(&self) -> bool {
        !(self.boolean || self.integer || self.number || self.text)
            && self.items.is_none()
            && self.members.is_none()
    }

    /// `None`: the values have nothing in common.
    fn data_type(&self) -> Option<DataType> {
        let numeric = self.integer || self.number;
        let kinds = [
            self.boolean,
            numeric,
            self.text,
            self.items.is_some(),
            self.members.is_some(),
        ];
        match kinds.iter().filter(|kind| **kind).count() {
            0 => return Some(DataType::Utf8),
            1 => {}
            _ => return None,
        }
        if self.boolean {
            Some(DataType::Boolean)
        } else if numeric {
            self.number_type()
        } else if self.text {
            Some(self.text_type())
        } else if let Some(items) = &self.items {
            Some(DataType::List(Arc::new(items.field("item"))))
        } else {
            let fields = self.members.as_ref().map(Members::fields).unwrap_or_default();
            (!fields.is_empty()).then(|| DataType::Struct(fields.into()))
        }
    }

    fn number_type(&self) -> Option<DataType> {
        match (self.number, self.large) {
            (false, _) => Some(DataType::Int64),
            (true, false) => Some(DataType::Float64),
            (true, true) => None,
        }
    }

    /// Text that is written as a date or a moment is one; text that is written as a number stays text, since JSON has
    /// numbers of its own.
    fn text_type(&self) -> DataType {
        match self.kind.data_type() {
            type_ @ (DataType::Date32 | DataType::Timestamp(..)) => type_,
            _ => DataType::Utf8,
        }
    }
}
