//! One column, or one part of it, on its way into its settled type.
//!
//! In: the incoming array. Out: the array in the settled type, with a null where a value has no place there, and the
//! misfits: which row, which path, why. What is to be done was laid out by [`super::layout`].

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, AsArray, ListArray, StructArray, new_null_array},
    buffer::NullBuffer,
    compute::cast,
    datatypes::DataType,
};

use super::{
    exact,
    fit::plain,
    layout::{Extra, Part, Step},
};
use crate::{
    engine::rows::{Misfit, shown},
    error::{Error, Result},
    types::type_name,
};

/// What came of one array.
pub(super) struct Made {
    pub(super) array: ArrayRef,
    pub(super) misfits: Vec<Misfit>,
    /// Values that became null because the contract says `discardValue`.
    pub(super) discarded: u64,
}

impl Part {
    /// The column in its settled type; `rows` is its length where the source has none.
    pub(super) fn make(&self, array: Option<&ArrayRef>, rows: usize) -> Result<Made> {
        let mut made = match array {
            Some(array) => self.convert(array)?,
            None => Made::clean(new_null_array(self.to.data_type(), rows)),
        };
        if self.required && made.array.logical_null_count() > 0 {
            self.missing_values(&mut made);
        }
        Ok(made)
    }

    fn missing_values(&self, made: &mut Made) {
        let Some(nulls) = made.array.logical_nulls() else {
            return;
        };
        let told: std::collections::HashSet<usize> = made.misfits.iter().map(|misfit| misfit.row).collect();
        let missing = (0..nulls.len()).filter(|row| nulls.is_null(*row) && !told.contains(row));
        made.misfits.extend(missing.map(|row| Misfit {
            row,
            kind: "contract",
            reason: format!("column `{}` is required and has no value", self.path),
        }));
    }

    fn convert(&self, array: &ArrayRef) -> Result<Made> {
        match &self.step {
            Step::Keep => Ok(Made::clean(array.clone())),
            Step::Absent => Ok(Made::clean(new_null_array(self.to.data_type(), array.len()))),
            Step::Nothing => {
                let made = new_null_array(self.to.data_type(), array.len());
                Ok(self.judged(array, made))
            }
            Step::Exact => {
                let made = exact::convert(array, self.to.data_type())?;
                Ok(self.judged(array, made))
            }
            Step::Struct { parts, extras } => self.structs(array, parts, extras),
            Step::List(item) => self.lists(array, item),
        }
    }

    /// A value that is no longer there had no place in the type.
    fn judged(&self, array: &ArrayRef, made: ArrayRef) -> Made {
        let before = array.logical_nulls();
        if made.logical_null_count() == before.as_ref().map_or(0, NullBuffer::null_count) {
            return Made::clean(made);
        }
        let nulls = made.logical_nulls();
        let null = |nulls: &Option<NullBuffer>, row| nulls.as_ref().is_some_and(|nulls| nulls.is_null(row));
        let lost = (0..array.len()).filter(|row| null(&nulls, *row) && !null(&before, *row));
        if self.spare {
            let discarded = lost.count() as u64;
            return Made {
                array: made,
                misfits: Vec::new(),
                discarded,
            };
        }
        let misfits = lost.map(|row| self.misfit(array, row)).collect();
        Made {
            array: made,
            misfits,
            discarded: 0,
        }
    }

    fn misfit(&self, array: &ArrayRef, row: usize) -> Misfit {
        let text = plain(array.data_type()) == DataType::Utf8;
        let wanted = type_name(self.to.data_type());
        let reason = format!(
            "column `{}`: {} is not exactly one value of {wanted}",
            self.path,
            shown(array, row)
        );
        Misfit {
            row,
            kind: if text { "parse" } else { "type" },
            reason,
        }
    }

    fn structs(&self, array: &ArrayRef, parts: &[(Option<usize>, Part)], extras: &[Extra]) -> Result<Made> {
        let array = array.as_struct();
        let mut columns = Vec::with_capacity(parts.len());
        let (mut misfits, mut discarded) = (Vec::new(), 0);
        for (index, part) in parts {
            let made = part.make(index.map(|index| array.column(index)), array.len())?;
            columns.push(made.array);
            misfits.extend(made.misfits);
            discarded += made.discarded;
        }
        for extra in extras {
            discarded += extra.look(array.column(extra.index), &mut misfits);
        }
        // Below a null there is nothing, whatever the buffers hold.
        misfits.retain(|misfit| array.is_valid(misfit.row));
        let DataType::Struct(fields) = self.to.data_type() else {
            return Err(Error::bug(format!(
                "column `{}` is settled as an object and is none",
                self.path
            )));
        };
        let array =
            StructArray::try_new_with_length(fields.clone(), columns, array.nulls().cloned(), array.len())?;
        Ok(Made {
            array: Arc::new(array),
            misfits,
            discarded,
        })
    }

    fn lists(&self, array: &ArrayRef, item: &Part) -> Result<Made> {
        let list_type = plain_list(array.data_type());
        let cast = if *array.data_type() == list_type {
            array.clone()
        } else {
            cast(array, &list_type)?
        };
        let list = cast.as_list::<i32>();
        let made = item.make(Some(list.values()), list.values().len())?;
        let misfits = of_lists(list, made.misfits);
        let DataType::List(field) = self.to.data_type() else {
            return Err(Error::bug(format!(
                "column `{}` is settled as an array and is none",
                self.path
            )));
        };
        let array = ListArray::try_new(
            field.clone(),
            list.offsets().clone(),
            made.array,
            list.nulls().cloned(),
        )?;
        Ok(Made {
            array: Arc::new(array),
            misfits,
            discarded: made.discarded,
        })
    }
}

impl Made {
    fn clean(array: ArrayRef) -> Self {
        Self {
            array,
            misfits: Vec::new(),
            discarded: 0,
        }
    }
}

impl Extra {
    /// Finds values in a column that the schema has not; gives how many are left out.
    pub(super) fn look(&self, array: &ArrayRef, misfits: &mut Vec<Misfit>) -> u64 {
        let nulls = array.logical_nulls();
        let filled = (0..array.len()).filter(|row| nulls.as_ref().is_none_or(|nulls| nulls.is_valid(*row)));
        if !self.refuse {
            return filled.count() as u64;
        }
        misfits.extend(filled.map(|row| Misfit {
            row,
            kind: "contract",
            reason: format!(
                "column `{}` is not in the schema and has the value {}",
                self.path,
                shown(array, row)
            ),
        }));
        0
    }
}

fn plain_list(type_: &DataType) -> DataType {
    match type_ {
        DataType::LargeList(item)
        | DataType::FixedSizeList(item, _)
        | DataType::ListView(item)
        | DataType::LargeListView(item)
        | DataType::List(item) => DataType::List(item.clone()),
        other => other.clone(),
    }
}

/// Misfits of items as misfits of the rows that hold them. Items that no row holds are nobody's.
fn of_lists(list: &ListArray, items: Vec<Misfit>) -> Vec<Misfit> {
    let offsets = list.offsets();
    items
        .into_iter()
        .filter_map(|misfit| {
            let item = i32::try_from(misfit.row).ok()?;
            let row = offsets.partition_point(|offset| *offset <= item).checked_sub(1)?;
            (row < list.len() && list.is_valid(row)).then_some(Misfit { row, ..misfit })
        })
        .collect()
}
