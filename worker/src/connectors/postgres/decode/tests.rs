use std::sync::Arc;

use arrow::{array::AsArray, datatypes::Int32Type};

use super::{
    super::{
        discover::schema,
        types::{Column, Kind},
    },
    Decoder, SIGNATURE,
};

fn decoder(kinds: &[Kind]) -> Decoder {
    let columns: Vec<Column> = kinds
        .iter()
        .enumerate()
        .map(|(at, kind)| Column {
            name: format!("c{at}"),
            expression: String::new(),
            kind: kind.clone(),
            nullable: true,
            sql_type: String::new(),
            base: String::new(),
        })
        .collect();
    let schema = schema(&columns);
    Decoder::new(Arc::from(columns), schema)
}

fn start() -> Vec<u8> {
    [SIGNATURE, &[0; 8]].concat()
}

fn row(fields: &[Option<&[u8]>]) -> Vec<u8> {
    let mut out = i16::try_from(fields.len()).unwrap().to_be_bytes().to_vec();
    for field in fields {
        match field {
            None => out.extend((-1_i32).to_be_bytes()),
            Some(bytes) => {
                out.extend(i32::try_from(bytes.len()).unwrap().to_be_bytes());
                out.extend_from_slice(bytes);
            }
        }
    }
    out
}

#[test]
fn rows_come_with_or_without_the_header_in_one_message() {
    let mut decoder = decoder(&[Kind::Int4]);
    decoder
        .take(&[start(), row(&[Some(&[0, 0, 0, 7])])].concat())
        .unwrap();
    decoder
        .take(&[row(&[None]), row(&[Some(&[0, 0, 0, 8])])].concat())
        .unwrap();
    decoder.take(&[0xff, 0xff]).unwrap();
    let batch = decoder.finish().unwrap().batch;
    let values: Vec<_> = batch.column(0).as_primitive::<Int32Type>().iter().collect();
    assert_eq!(values, [Some(7), None, Some(8)]);
    assert_eq!(decoder.finish().unwrap().batch.num_rows(), 0);
}

#[test]
fn bytes_that_are_cut_off_or_too_many_are_an_error() {
    let whole = [start(), row(&[Some(&[0, 0, 0, 7]), Some(b"ab")])].concat();
    for cut in 1..whole.len() {
        let mut decoder = decoder(&[Kind::Int4, Kind::Text]);
        let taken = decoder.take(&whole[..cut]);
        // A message may end with the header; anywhere else it must not.
        assert_eq!(taken.is_ok(), cut == SIGNATURE.len() + 8, "cut at {cut}");
    }
    let mut other = decoder(&[Kind::Int4]);
    assert!(other.take(&whole).is_err());
}

#[test]
fn text_that_is_no_utf8_refuses_its_row_alone() {
    let mut decoder = decoder(&[Kind::Text, Kind::List(Box::new(Kind::Text))]);
    let list = |item: &[u8]| {
        let mut out = Vec::new();
        for part in [1_i32, 0, 25, 1, 1, i32::try_from(item.len()).unwrap()] {
            out.extend(part.to_be_bytes());
        }
        out.extend_from_slice(item);
        out
    };
    let mut message = start();
    message.extend(row(&[Some("é".as_bytes()), Some(&list(b"x"))]));
    message.extend(row(&[Some(b"\xc3"), Some(&list(b"y"))]));
    message.extend(row(&[Some(b"\xa9"), None]));
    message.extend(row(&[Some(b"ok"), Some(&list(b"\xff"))]));
    message.extend(row(&[Some(b"end"), Some(&list(b"z"))]));
    decoder.take(&message).unwrap();
    let decoded = decoder.finish().unwrap();
    let texts: Vec<_> = decoded.batch.column(0).as_string::<i32>().iter().collect();
    assert_eq!(texts, [Some("é"), None, None, Some("ok"), Some("end")]);
    let reasons: Vec<&str> = decoded
        .unfit
        .iter()
        .map(|unfit| unfit.letter.reason.as_str())
        .collect();
    assert_eq!(
        reasons,
        [
            "c0: \u{fffd} is not UTF-8",
            "c0: \u{fffd} is not UTF-8",
            "c1: \u{fffd} is not UTF-8"
        ]
    );
}
