//! Columns of a decoded checkpoint by name, widened to the types that the log's JSON has.
//!
//! A column that is not there is one of nulls, and a field is null wherever a struct around it is. Where a column
//! decides about files, a value that is not what it should be is an error, never a null; where it decides about none
//! it is unknown, as in JSON.

use std::borrow::Cow;
use std::collections::BTreeMap;

use deltalake::arrow::array::{
    Array, ArrayRef, AsArray as _, BooleanArray, Int64Array, RecordBatch, StringArray,
};
use deltalake::arrow::buffer::NullBuffer;
use deltalake::arrow::compute::{CastOptions, cast_with_options};
use deltalake::arrow::datatypes::{DataType, Int64Type, TimeUnit};

use super::unreadable;
use crate::delta::LogError;
use crate::delta::number::Number;
use crate::delta::raw::RawVector;

pub(super) struct VectorColumns {
    storage: Text,
    path_or_inline: Text,
    offset: Numbers,
    size: Numbers,
    cardinality: Numbers,
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
    ) -> Result<Option<RawVector<'_>>, LogError> {
        let vector = RawVector {
            storage_type: Cow::Borrowed(self.storage.at(row).unwrap_or_default()),
            path_or_inline_dv: Cow::Borrowed(self.path_or_inline.at(row).unwrap_or_default()),
            offset: self.offset.at(row),
            size_in_bytes: self.size.at(row),
            cardinality: self.cardinality.at(row),
        };
        let vector = vector.if_named();
        if vector.is_some()
            && (self.storage.at(row).is_none() || self.path_or_inline.at(row).is_none())
        {
            return Err(unreadable(batch.file, &"half a deletion vector"));
        }
        Ok(vector)
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

    /// Numbers that decide about files.
    pub(super) fn number(&self, path: &[&str]) -> Result<Numbers, LogError> {
        let Some((array, nulls)) = self.column(path)? else {
            return Ok(Numbers(Leaf(None)));
        };
        Ok(Numbers(Leaf(Some((NumberColumn::of(&array), nulls)))))
    }

    /// Numbers that decide about none.
    pub(super) fn known_number(&self, path: &[&str]) -> Numbers {
        self.number(path).unwrap_or(Numbers(Leaf(None)))
    }

    /// Times, in milliseconds since 1970, that decide about no file.
    pub(super) fn known_time(&self, path: &[&str]) -> Numbers {
        let Ok(Some((array, nulls))) = self.column(path) else {
            return Numbers(Leaf(None));
        };
        let is_time = matches!(
            array.data_type(),
            DataType::Timestamp(..) | DataType::Date32 | DataType::Date64
        );
        let milliseconds = DataType::Timestamp(TimeUnit::Millisecond, None);
        let array = if is_time {
            lenient_cast(&array, &milliseconds)
                .and_then(|array| lenient_cast(&array, &DataType::Int64))
        } else {
            Some(array)
        };
        Numbers(Leaf(array.map(|array| (NumberColumn::of(&array), nulls))))
    }

    /// Texts that decide about no file.
    pub(super) fn known_text(&self, path: &[&str]) -> Text {
        self.text(path).unwrap_or(Leaf(None))
    }

    /// Flags that decide about no file.
    pub(super) fn known_flag(&self, path: &[&str]) -> Flag {
        let flag = self.leaf(path, &DataType::Boolean, |array| {
            array.as_boolean_opt().cloned()
        });
        flag.unwrap_or(Leaf(None))
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

    /// The entries of a map that decides about no file, as far as it is one of texts.
    pub(super) fn known_map(&self, path: &[&str], row: usize) -> BTreeMap<String, String> {
        let entries = || {
            let (array, nulls) = self.column(path).ok()??;
            if is_null(nulls.as_ref(), row) {
                return None;
            }
            let value = array.as_map_opt()?.value(row);
            let [keys, values] = value.columns() else {
                return None;
            };
            let keys = lenient_cast(keys, &DataType::Utf8)?;
            let values = lenient_cast(values, &DataType::Utf8)?;
            let keys = keys.as_string_opt::<i32>()?.iter();
            let entries = keys.zip(values.as_string_opt::<i32>()?);
            let entries =
                entries.filter_map(|(key, value)| Some((key?.to_owned(), value?.to_owned())));
            Some(entries.collect())
        };
        entries().unwrap_or_default()
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

/// A column of numbers, however they are stored.
pub(super) struct Numbers(Leaf<NumberColumn>);

enum NumberColumn {
    Whole(Int64Array),
    Spelled(StringArray),
    /// What it is instead.
    Odd(DataType),
}

impl NumberColumn {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "a type that is not a number in this version of Arrow is not one in the next"
    )]
    fn of(array: &ArrayRef) -> Self {
        use DataType as D;
        let found = match array.data_type() {
            D::Int8 | D::Int16 | D::Int32 | D::Int64 | D::UInt8 | D::UInt16 | D::UInt32 => {
                let whole = lenient_cast(array, &D::Int64);
                whole.and_then(|array| {
                    array
                        .as_primitive_opt::<Int64Type>()
                        .cloned()
                        .map(Self::Whole)
                })
            }
            // Their spelling shows whether they are whole and fit.
            D::UInt64
            | D::Float16
            | D::Float32
            | D::Float64
            | D::Decimal32(..)
            | D::Decimal64(..)
            | D::Decimal128(..)
            | D::Decimal256(..)
            | D::Utf8
            | D::LargeUtf8
            | D::Utf8View
            | D::Binary
            | D::LargeBinary => {
                let spelled = lenient_cast(array, &D::Utf8);
                spelled.and_then(|array| array.as_string_opt::<i32>().cloned().map(Self::Spelled))
            }
            _ => None,
        };
        found.unwrap_or_else(|| Self::Odd(array.data_type().clone()))
    }
}

impl Numbers {
    pub(super) fn at(&self, row: usize) -> Number {
        match self.0.array(row) {
            None => Number::Absent,
            Some(NumberColumn::Whole(array)) => Number::Whole(array.value(row)),
            // Bytes that are not text became null.
            Some(NumberColumn::Spelled(array)) if array.is_null(row) => Number::odd("noise"),
            Some(NumberColumn::Spelled(array)) => Number::of_text(array.value(row)),
            Some(NumberColumn::Odd(data_type)) => Number::odd(&data_type.to_string()),
        }
    }
}

impl Flag {
    pub(super) fn at(&self, row: usize) -> Option<bool> {
        self.array(row).map(|array| array.value(row))
    }
}

/// A cast that leaves out what does not fit: for what decides about no file, or is looked at again.
fn lenient_cast(array: &ArrayRef, data_type: &DataType) -> Option<ArrayRef> {
    cast_with_options(array, data_type, &CastOptions::default()).ok()
}

fn is_null(nulls: Option<&NullBuffer>, row: usize) -> bool {
    nulls.is_some_and(|nulls| nulls.is_null(row))
}
