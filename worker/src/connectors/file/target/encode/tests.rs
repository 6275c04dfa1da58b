use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use serde_json::json;

use super::Encoder;

#[test]
fn a_nested_column_in_a_csv_file_is_refused_by_name_and_with_advice() {
    let item = Field::new("item", DataType::Int64, true);
    let tags = Field::new("tags", DataType::List(Arc::new(item)), true);
    let schema = Arc::new(Schema::new(vec![Field::new("id", DataType::Int64, true), tags]));
    let config = serde_json::from_value(json!({ "url": "out/{stream}", "format": "csv" })).unwrap();

    let error = Encoder::new(&schema, &config).err().unwrap();

    assert!(
        error.message.starts_with("column `tags`: CSV cannot hold "),
        "{error}"
    );
    assert!(error.advice.unwrap().contains("ndjson"));
}
