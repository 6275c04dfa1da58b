//! Rows on their way to a process: what they say of a delete, and which of several with one key goes.
//!
//! In: rows of one lane. Out: messages. Where rows are held by key, a column of the protocol tells that one is gone, and of rows
//! of one key that come together the last alone goes: what a connector makes of several is its own affair.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use arrow::{
    array::{ArrayRef, BooleanArray, RecordBatch, StringArray},
    compute::filter_record_batch,
    datatypes::{DataType, Field, Schema, SchemaRef},
    row::{RowConverter, SortField},
};
use async_trait::async_trait;
use millrace_crds::flow::WriteMode;

use super::session::Session;
use crate::{
    connector::{Op, Rows, Stage, Staged},
    engine::deliver::OP_COLUMN,
    error::{Error, Result},
    failpoint,
    formats::lines::lines,
    stream::StreamSpec,
};

/// Rows that are put into words at once.
const ROWS: usize = 1024;

/// The columns of a table, with the one that tells of deletes where rows are held by key.
pub(super) fn columns(stream: &StreamSpec, schema: &SchemaRef, replace: bool, deleted: &str) -> SchemaRef {
    let keyed = stream.write_mode == WriteMode::Upsert && !replace;
    if !keyed || schema.column_with_name(deleted).is_some() {
        return schema.clone();
    }
    let mut fields = schema.fields().to_vec();
    // As text, as connectors that read change logs write it.
    fields.push(Arc::new(Field::new(deleted, DataType::Utf8, true)));
    Arc::new(Schema::new(fields))
}

/// One lane.
pub(super) struct Written {
    session: Arc<Session>,
    rows: u64,
    bytes: u64,
    done: bool,
}

impl Written {
    pub(super) fn new(session: Arc<Session>) -> Self {
        Self {
            session,
            rows: 0,
            bytes: 0,
            done: false,
        }
    }

    /// The rows that go, in the columns of the table.
    fn arrange(&self, rows: &Rows) -> Result<RecordBatch> {
        let table = &self.session.table;
        let ops = rows.ops.as_deref().unwrap_or_default();
        let is_gone = |row: usize| ops.get(row) == Some(&Op::Delete);
        let batch = match table.stream.write_mode {
            // What is gone has no place in what takes the place of all.
            _ if table.replace => keep(&rows.batch, |row| !is_gone(row))?,
            WriteMode::Upsert => {
                let batch = self.tell_deletes(&rows.batch, is_gone)?;
                let last = last_of_each(&batch, &table.stream.delivered_key)?;
                keep(&batch, |row| last[row])?
            }
            _ if ops.contains(&Op::Delete) && rows.batch.schema().column_with_name(OP_COLUMN).is_none() => {
                return Err(Error::config(format!(
                    "stream {}: the source tells of deleted rows, and nothing at the destination could say so",
                    table.stream.name
                ))
                .advice(format!(
                    "choose writeMode upsert, or let the destination add the column `{OP_COLUMN}`"
                )));
            }
            _ => rows.batch.clone(),
        };
        Ok(batch)
    }

    fn tell_deletes(&self, batch: &RecordBatch, is_gone: impl Fn(usize) -> bool) -> Result<RecordBatch> {
        let schema = &self.session.table.schema;
        // A source that tells of it in this same column has told.
        if schema.fields().len() == batch.num_columns() {
            return Ok(batch.clone());
        }
        let now = jiff::Timestamp::now().to_string();
        let told: StringArray = (0..batch.num_rows())
            .map(|row| is_gone(row).then_some(now.as_str()))
            .collect();
        let mut columns = batch.columns().to_vec();
        columns.push(Arc::new(told) as ArrayRef);
        let mut fields = batch.schema().fields().to_vec();
        fields.push(Arc::new(Field::new(self.session.deleted(), DataType::Utf8, true)));
        Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
    }
}

fn keep(batch: &RecordBatch, stays: impl Fn(usize) -> bool) -> Result<RecordBatch> {
    let mask: BooleanArray = (0..batch.num_rows()).map(|row| Some(stays(row))).collect();
    Ok(filter_record_batch(batch, &mask)?)
}

/// Which rows are the last of their key.
fn last_of_each(batch: &RecordBatch, key: &[String]) -> Result<Vec<bool>> {
    let columns = key.iter().map(|name| {
        let column = batch.column_by_name(name);
        column
            .cloned()
            .ok_or_else(|| Error::bug(format!("the key column `{name}` is not among the rows")))
    });
    let columns = columns.collect::<Result<Vec<ArrayRef>>>()?;
    if columns.is_empty() {
        return Ok(vec![true; batch.num_rows()]);
    }
    let fields = columns
        .iter()
        .map(|column| SortField::new(column.data_type().clone()));
    let keys = RowConverter::new(fields.collect())?.convert_columns(&columns)?;
    let mut last = HashMap::with_capacity(batch.num_rows());
    for (row, key) in keys.iter().enumerate() {
        last.insert(key, row);
    }
    let mut stays = vec![false; batch.num_rows()];
    last.into_values().for_each(|row| stays[row] = true);
    Ok(stays)
}

/// A time that is later than that of the rows before, by which connectors order versions of a row.
fn now() -> i64 {
    static LAST: AtomicI64 = AtomicI64::new(0);
    let now = jiff::Timestamp::now().as_millisecond();
    let later = |last: i64| now.max(last + 1);
    LAST.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| Some(later(last)))
        .map_or(now, later)
}

#[async_trait]
impl Stage for Written {
    async fn write(&mut self, rows: Rows) -> Result<()> {
        let batch = self.arrange(&rows)?;
        let (before, after) = self.session.around(now());
        for at in (0..batch.num_rows()).step_by(ROWS) {
            let part = batch.slice(at, ROWS.min(batch.num_rows() - at));
            let mut messages = Vec::new();
            for row in lines(&part)?
                .split(|byte| *byte == b'\n')
                .filter(|row| !row.is_empty())
            {
                messages.extend_from_slice(before.as_bytes());
                messages.extend_from_slice(row);
                messages.extend_from_slice(after.as_bytes());
            }
            self.session.write(&messages, part.num_rows() as u64).await?;
            self.bytes += messages.len() as u64;
        }
        self.rows += rows.batch.num_rows() as u64;
        Ok(())
    }

    async fn finish(mut self: Box<Self>) -> Result<Staged> {
        failpoint::hit("stage.finish")?;
        self.done = true;
        Ok(Staged {
            files: 0,
            bytes: self.bytes,
            rows: self.rows,
            token: serde_json::Value::Null,
        })
    }
}

impl Drop for Written {
    fn drop(&mut self) {
        if !self.done {
            self.session.give_up();
        }
    }
}
