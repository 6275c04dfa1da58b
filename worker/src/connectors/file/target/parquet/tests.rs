//! Which encodings are chosen, and that values come back.

use std::sync::{Arc, Mutex};

use arrow::{
    array::{
        Array, AsArray, Date32Array, Decimal128Array, Int64Array, ListArray, StringArray, Time32SecondArray,
        TimestampSecondArray,
    },
    buffer::OffsetBuffer,
    datatypes::{Schema, Time32MillisecondType, TimestampMillisecondType, UnionFields, UnionMode},
};
use bytes::Bytes;
use parquet::{arrow::arrow_reader::ParquetRecordBatchReaderBuilder, file::metadata::ParquetMetaData};

use super::*;

#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn rows(count: i64) -> RecordBatch {
    let decimal = |precision| {
        Decimal128Array::from_iter_values((0..count).map(|row| i128::from(row * 7919)))
            .with_precision_and_scale(precision, 2)
            .unwrap()
    };
    let ids = (0..count).map(|row| (row % 5 > 0).then_some(row));
    let days = (0..count).map(|row| i32::try_from(row % 60).unwrap());
    let columns: [(&str, ArrayRef); 6] = [
        ("id", Arc::new(ids.collect::<Int64Array>())),
        ("price", Arc::new(decimal(15))),
        ("wide", Arc::new(decimal(30))),
        ("day", Arc::new(Date32Array::from_iter_values(days))),
        (
            "note",
            Arc::new(StringArray::from_iter_values(
                (0..count).map(|row| format!("note {row}")),
            )),
        ),
        (
            "flag",
            Arc::new(StringArray::from_iter_values(
                (0..count).map(|row| format!("{}", row % 3)),
            )),
        ),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true))).unwrap()
}

/// Writes, reads back, and gives what the footer says.
fn written(batch: &RecordBatch, config: serde_json::Value) -> Arc<ParquetMetaData> {
    let config: FileTargetConfig = serde_json::from_value(config).unwrap();
    let sink = Sink::default();
    let mut file = ParquetFile::new(&batch.schema(), &config, sink.clone()).unwrap();
    for part in 0..2 {
        let half = batch.num_rows() / 2;
        file.write(&batch.slice(part * half, half)).unwrap();
    }
    file.finish().unwrap();
    let bytes = Bytes::from(sink.0.lock().unwrap().clone());
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap();
    let metadata = reader.metadata().clone();
    let reader = reader.with_batch_size(batch.num_rows()).build().unwrap();
    let read: Vec<RecordBatch> = reader.map(|batch| batch.unwrap()).collect();
    assert_eq!(read, std::slice::from_ref(batch));
    metadata
}

/// Each column that has no dictionary, and how its values are encoded.
fn without_dictionary(metadata: &ParquetMetaData) -> Vec<(String, Encoding)> {
    let columns = metadata.row_group(0).columns().iter();
    columns
        .filter(|column| column.dictionary_page_offset().is_none())
        .map(|column| {
            let mut encodings = column.encodings().filter(|encoding| *encoding != Encoding::RLE);
            (column.column_path().string(), encodings.next().unwrap())
        })
        .collect()
}

#[test]
fn columns_of_many_values_have_no_dictionary() {
    let metadata = written(&rows(10_000), serde_json::json!({"url": "out/{stream}"}));
    let wanted = [
        ("id", Encoding::DELTA_BINARY_PACKED),
        ("price", Encoding::DELTA_BINARY_PACKED),
        ("wide", Encoding::PLAIN),
        ("note", Encoding::PLAIN),
    ];
    assert_eq!(
        without_dictionary(&metadata),
        wanted.map(|(name, encoding)| (name.to_owned(), encoding))
    );
}

#[test]
fn for_old_readers_nothing_but_plain_values_and_dictionaries_is_written() {
    let config = serde_json::json!({"url": "out/{stream}", "deltaEncoding": false});
    let chosen = without_dictionary(&written(&rows(10_000), config));
    assert!(
        chosen.iter().all(|(_, encoding)| *encoding == Encoding::PLAIN),
        "{chosen:?}"
    );
}

#[test]
fn a_few_rows_tell_nothing() {
    let few = rows(1_000);
    let chosen = without_dictionary(&written(&few, serde_json::json!({"url": "out/{stream}"})));
    // The crate builds no dictionary of decimals this wide.
    assert_eq!(chosen, [("wide".to_owned(), Encoding::PLAIN)]);
    let none = RecordBatch::new_empty(Arc::new(Schema::empty()));
    let config = serde_json::from_value(serde_json::json!({"url": "out/{stream}"})).unwrap();
    let sink = Sink::default();
    ParquetFile::new(&none.schema(), &config, sink.clone())
        .unwrap()
        .finish()
        .unwrap();
    assert!(sink.0.lock().unwrap().ends_with(b"PAR1"));
}

#[test]
fn times_of_seconds_are_written_as_times() {
    let moments = || TimestampSecondArray::from(vec![Some(1_709_209_800), None]).with_timezone("UTC");
    let item = Arc::new(Field::new("item", moments().data_type().clone(), true));
    let list = ListArray::new(
        item,
        OffsetBuffer::from_lengths([2, 0]),
        Arc::new(moments()),
        None,
    );
    let columns: [(&str, ArrayRef); 3] = [
        ("at", Arc::new(moments())),
        ("clock", Arc::new(Time32SecondArray::from(vec![86_399, 0]))),
        ("all", Arc::new(list)),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let config = serde_json::from_value(serde_json::json!({"url": "out/{stream}"})).unwrap();
    let sink = Sink::default();
    let mut file = ParquetFile::new(&batch.schema(), &config, sink.clone()).unwrap();
    file.write(&batch).unwrap();
    file.finish().unwrap();

    let bytes = Bytes::from(sink.0.lock().unwrap().clone());
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap();
    let parquet = reader.parquet_schema().columns().iter();
    assert!(
        parquet.clone().all(|column| column.logical_type_ref().is_some()),
        "{parquet:?}"
    );
    let read = reader.build().unwrap().next().unwrap().unwrap();
    let at = read.column(0).as_primitive::<TimestampMillisecondType>();
    assert_eq!((at.value(0), at.is_null(1)), (1_709_209_800_000, true));
    assert_eq!(
        read.column(1).as_primitive::<Time32MillisecondType>().value(0),
        86_399_000
    );
    assert_eq!(
        read.column(2).as_list::<i32>().value(0).as_ref(),
        read.column(0).as_ref()
    );
}

#[test]
fn a_time_beyond_milliseconds_is_refused_by_column_and_with_advice() {
    let far: ArrayRef = Arc::new(TimestampSecondArray::from(vec![0, i64::MAX / 100]));
    let batch = RecordBatch::try_from_iter([("at", far)]).unwrap();
    let config = serde_json::from_value(serde_json::json!({"url": "out/{stream}"})).unwrap();
    let mut file = ParquetFile::new(&batch.schema(), &config, Sink::default()).unwrap();

    let error = file.write(&batch).unwrap_err();

    assert!(error.message.starts_with("column `at`: "), "{error}");
    assert!(error.advice.is_some());
}

#[test]
fn a_type_that_parquet_does_not_have_is_refused_by_column() {
    let union = DataType::Union(UnionFields::empty(), UnionMode::Sparse);
    let item = Arc::new(Field::new("item", union, true));
    let schema = Arc::new(Schema::new(vec![Field::new("odd", DataType::List(item), true)]));
    let config = serde_json::from_value(serde_json::json!({"url": "out/{stream}"})).unwrap();
    let error = ParquetFile::new(&schema, &config, Sink::default()).err().unwrap();
    assert!(
        error
            .message
            .starts_with("column `odd`: Parquet cannot hold List"),
        "{error}"
    );
}
