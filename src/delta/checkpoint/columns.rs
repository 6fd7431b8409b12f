//! Columns of a decoded checkpoint by name, widened to the types that the log's JSON has.
//!
//! A column that is not there is one of nulls, and a field is null wherever a struct around it is. A value that does
//! not fit its type is an error, never a null.

use std::borrow::Cow;

use deltalake::arrow::array::{
    Array, ArrayRef, AsArray as _, BooleanArray, Int64Array, RecordBatch, StringArray,
};
use deltalake::arrow::buffer::NullBuffer;
use deltalake::arrow::compute::{CastOptions, cast_with_options};
use deltalake::arrow::datatypes::{DataType, Int64Type};

use super::unreadable;
use crate::delta::LogError;
use crate::delta::raw::{Object, RawVector};

pub(super) struct VectorColumns {
    storage: Text,
    path_or_inline: Text,
    offset: Number,
    size: Number,
    cardinality: Number,
}

impl VectorColumns {
    pub(super) fn of(batch: &Batch<'_>, action: &str) -> Result<Self, LogError> {
        let below = |field| [action, "deletionVector", field];
        Ok(Self {
            storage: batch.text(&below("storageType"))?,
            path_or_inline: batch.text(&below("pathOrInlineDv"))?,
            offset: batch.number(&below("offset"))?,
            size: batch.number(&below("sizeInBytes"))?,
            cardinality: batch.number(&below("cardinality"))?,
        })
    }

    pub(super) fn at(
        &self,
        row: usize,
        batch: &Batch<'_>,
    ) -> Result<Option<Object<RawVector<'_>>>, LogError> {
        match (self.storage.at(row), self.path_or_inline.at(row)) {
            (None, None) => Ok(None),
            (Some(storage), Some(path_or_inline)) => Ok(Some(Object(RawVector {
                storage_type: Cow::Borrowed(storage),
                path_or_inline_dv: Cow::Borrowed(path_or_inline),
                offset: self.offset.at(row),
                size_in_bytes: self.size.at(row),
                cardinality: self.cardinality.at(row),
            }))),
            _ => Err(unreadable(batch.file, &"half a deletion vector")),
        }
    }
}

/// A batch of rows, and ways to its columns by name. A column that is not there is one of nulls.
pub(super) struct Batch<'a> {
    pub(super) batch: &'a RecordBatch,
    pub(super) file: &'a str,
}

impl Batch<'_> {
    pub(super) fn text(&self, path: &[&str]) -> Result<Text, LogError> {
        self.leaf(path, &DataType::Utf8, |array| {
            array.as_string_opt::<i32>().cloned()
        })
    }

    pub(super) fn number(&self, path: &[&str]) -> Result<Number, LogError> {
        self.leaf(path, &DataType::Int64, |array| {
            array.as_primitive_opt::<Int64Type>().cloned()
        })
    }

    pub(super) fn flag(&self, path: &[&str]) -> Result<Flag, LogError> {
        self.leaf(path, &DataType::Boolean, |array| {
            array.as_boolean_opt().cloned()
        })
    }

    pub(super) fn list(&self, path: &[&str], row: usize) -> Result<Vec<String>, LogError> {
        let Some((array, nulls)) = self.column(path)? else {
            return Ok(Vec::new());
        };
        if is_null(nulls.as_ref(), row) {
            return Ok(Vec::new());
        }
        let list = array.as_list_opt::<i32>().ok_or_else(|| self.odd(path))?;
        let items = self.cast(&list.value(row), &DataType::Utf8)?;
        let items = items.as_string_opt::<i32>().ok_or_else(|| self.odd(path))?;
        Ok(items.iter().flatten().map(str::to_owned).collect())
    }

    pub(super) fn map(
        &self,
        path: &[&str],
        row: usize,
    ) -> Result<impl Iterator<Item = (String, Option<String>)>, LogError> {
        let mut entries = Vec::new();
        if let Some((array, nulls)) = self.column(path)?
            && !is_null(nulls.as_ref(), row)
        {
            let map = array.as_map_opt().ok_or_else(|| self.odd(path))?;
            let value = map.value(row);
            let [keys, values] = value.columns() else {
                return Err(self.odd(path));
            };
            let keys = self.cast(keys, &DataType::Utf8)?;
            let values = self.cast(values, &DataType::Utf8)?;
            let keys = keys.as_string_opt::<i32>().ok_or_else(|| self.odd(path))?;
            let values = values
                .as_string_opt::<i32>()
                .ok_or_else(|| self.odd(path))?;
            for (key, value) in keys.iter().zip(values.iter()) {
                let key = key.ok_or_else(|| self.odd(path))?;
                entries.push((key.to_owned(), value.map(str::to_owned)));
            }
        }
        Ok(entries.into_iter())
    }

    fn leaf<A>(
        &self,
        path: &[&str],
        data_type: &DataType,
        downcast: impl FnOnce(&ArrayRef) -> Option<A>,
    ) -> Result<Leaf<A>, LogError> {
        let Some((array, nulls)) = self.column(path)? else {
            return Ok(Leaf(None));
        };
        let array = self.cast(&array, data_type)?;
        let array = downcast(&array).ok_or_else(|| self.odd(path))?;
        Ok(Leaf(Some((array, nulls))))
    }

    /// A column, however deep, with the rows that are null because it or a struct around it is.
    fn column(&self, path: &[&str]) -> Result<Option<(ArrayRef, Option<NullBuffer>)>, LogError> {
        let Some((top, below)) = path.split_first() else {
            return Ok(None);
        };
        let Some(mut array) = self.batch.column_by_name(top).cloned() else {
            return Ok(None);
        };
        let mut nulls = array.logical_nulls();
        for name in below {
            let fields = array.as_struct_opt().ok_or_else(|| self.odd(path))?;
            let Some(field) = fields.column_by_name(name).cloned() else {
                return Ok(None);
            };
            nulls = NullBuffer::union(nulls.as_ref(), field.logical_nulls().as_ref());
            array = field;
        }
        Ok(Some((array, nulls)))
    }

    fn cast(&self, array: &ArrayRef, data_type: &DataType) -> Result<ArrayRef, LogError> {
        // A cast that turned what does not fit into null would lose files.
        let options = CastOptions {
            safe: false,
            ..CastOptions::default()
        };
        cast_with_options(array, data_type, &options).map_err(|error| unreadable(self.file, &error))
    }

    fn odd(&self, path: &[&str]) -> LogError {
        let detail = format!("column {} is of an unexpected type", path.join("."));
        unreadable(self.file, &detail)
    }
}

/// A column of a batch, or nothing where the file has no such column.
pub(super) struct Leaf<A>(Option<(A, Option<NullBuffer>)>);

pub(super) type Text = Leaf<StringArray>;
pub(super) type Number = Leaf<Int64Array>;
pub(super) type Flag = Leaf<BooleanArray>;

impl<A> Leaf<A> {
    fn array(&self, row: usize) -> Option<&A> {
        let (array, nulls) = self.0.as_ref()?;
        (!is_null(nulls.as_ref(), row)).then_some(array)
    }
}

impl Text {
    pub(super) fn at(&self, row: usize) -> Option<&str> {
        self.array(row).map(|array| array.value(row))
    }
}

impl Number {
    pub(super) fn at(&self, row: usize) -> Option<i64> {
        self.array(row).map(|array| array.value(row))
    }
}

impl Flag {
    pub(super) fn at(&self, row: usize) -> Option<bool> {
        self.array(row).map(|array| array.value(row))
    }
}

fn is_null(nulls: Option<&NullBuffer>, row: usize) -> bool {
    nulls.is_some_and(|nulls| nulls.is_null(row))
}
