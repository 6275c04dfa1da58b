//! A bare loop: TPC-H lineitem as CSV to Parquet with nothing but `arrow-csv` and `parquet`.
//!
//! `bare read CSV` parses and drops; `bare copy CSV DIR` writes one file a thread. Each thread takes one
//! byte range. Ranges are cut after a line feed, which is right for this data alone: it quotes none.

use std::error::Error;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_csv::ReaderBuilder;
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

const THREADS: u64 = 2;
const BATCH_ROWS: usize = 8192;
const READ_BUFFER: usize = 1 << 20;

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (input, output) = match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["read", input] => (PathBuf::from(input), None),
        ["copy", input, output] => (PathBuf::from(input), Some(PathBuf::from(output))),
        _ => return Err("usage: bare read CSV | bare copy CSV DIR".into()),
    };
    if let Some(directory) = &output {
        std::fs::create_dir_all(directory)?;
    }
    let cuts = cuts(&input)?;
    let threads: Vec<_> = cuts
        .windows(2)
        .enumerate()
        .map(|(number, cut)| {
            let (input, from, to) = (input.clone(), cut[0], cut[1]);
            let output = output
                .as_ref()
                .map(|directory| directory.join(format!("{number}.parquet")));
            std::thread::spawn(move || run(&input, from, to, output.as_deref()))
        })
        .collect();
    let mut rows = 0;
    for thread in threads {
        rows += thread.join().map_err(|_| "a thread panicked")??;
    }
    println!("{rows} rows");
    Ok(())
}

/// Where each thread begins, and the end of the file; the header is left out.
fn cuts(input: &Path) -> Result<Vec<u64>> {
    let size = std::fs::metadata(input)?.len();
    let mut cuts = Vec::new();
    for thread in 0..THREADS {
        let mut reader = BufReader::new(File::open(input)?);
        let start = size * thread / THREADS;
        reader.seek(SeekFrom::Start(start))?;
        cuts.push(start + reader.skip_until(b'\n')? as u64);
    }
    cuts.push(size);
    Ok(cuts)
}

fn run(input: &Path, from: u64, to: u64, output: Option<&Path>) -> Result<usize> {
    let schema = lineitem();
    let mut file = File::open(input)?;
    file.seek(SeekFrom::Start(from))?;
    let range = BufReader::with_capacity(READ_BUFFER, file.take(to - from));
    let batches = ReaderBuilder::new(Arc::clone(&schema))
        .with_batch_size(BATCH_ROWS)
        .build_buffered(range)?;
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(3)?))
        .build();
    let mut writer = match output {
        Some(path) => Some(ArrowWriter::try_new(
            File::create(path)?,
            schema,
            Some(properties),
        )?),
        None => None,
    };
    let mut rows = 0;
    for batch in batches {
        let batch = batch?;
        rows += batch.num_rows();
        if let Some(writer) = &mut writer {
            writer.write(&batch)?;
        }
    }
    if let Some(writer) = writer {
        writer.close()?;
    }
    Ok(rows)
}

fn lineitem() -> SchemaRef {
    let money = DataType::Decimal128(15, 2);
    let columns = [
        ("l_orderkey", DataType::Int64),
        ("l_partkey", DataType::Int64),
        ("l_suppkey", DataType::Int64),
        ("l_linenumber", DataType::Int32),
        ("l_quantity", money.clone()),
        ("l_extendedprice", money.clone()),
        ("l_discount", money.clone()),
        ("l_tax", money),
        ("l_returnflag", DataType::Utf8),
        ("l_linestatus", DataType::Utf8),
        ("l_shipdate", DataType::Date32),
        ("l_commitdate", DataType::Date32),
        ("l_receiptdate", DataType::Date32),
        ("l_shipinstruct", DataType::Utf8),
        ("l_shipmode", DataType::Utf8),
        ("l_comment", DataType::Utf8),
    ];
    Arc::new(Schema::new(
        columns.map(|(name, kind)| Field::new(name, kind, true)).to_vec(),
    ))
}
