//! Looks at the end of a Parquet file before the reader does, which goes down a schema by recursion: a few KB of columns in
//! columns would be the end of its stack, and of the whole run.

use super::thrift::{I32, LIST, STOP, STRUCT, Thrift, ThriftError};

/// How deep columns may be nested. Those of checkpoints have a few levels, and the statistics of a table's nested columns
/// as many as its schema.
const COLUMNS_DEEP: usize = 200;

/// How deep everything else is nested: row groups have columns, those have metadata with statistics.
const DEPTH: usize = 16;

/// Whether the schema is nested no deeper than a reader can go down. `bytes` are the file's `FileMetaData`.
pub(super) fn check_depth(bytes: &[u8]) -> Result<bool, ThriftError> {
    let mut thrift = Thrift::new(bytes);
    let mut before = 0;
    loop {
        let (id, kind) = thrift.field(before)?;
        before = id;
        match (id, kind) {
            (_, STOP) => return Ok(true),
            (2, LIST) => {
                if !is_shallow(&mut thrift)? {
                    return Ok(false);
                }
            }
            (2, _) => return Err(ThriftError::Malformed),
            _ => thrift.skip(kind, DEPTH)?,
        }
    }
}

/// Reads the schema: its elements stand in the order in which one goes down, each with the number of its children.
fn is_shallow(thrift: &mut Thrift<'_>) -> Result<bool, ThriftError> {
    let (size, kind) = thrift.list()?;
    if kind != STRUCT {
        return Err(ThriftError::Malformed);
    }
    // For each level how many elements are still to come.
    let mut open: Vec<u64> = Vec::new();
    for _ in 0..size {
        let children = children(thrift)?;
        if let Some(left) = open.last_mut() {
            *left = left.saturating_sub(1);
        }
        if children > 0 {
            open.push(children);
        }
        if open.len() > COLUMNS_DEEP {
            return Ok(false);
        }
        while open.last() == Some(&0) {
            open.pop();
        }
    }
    Ok(true)
}

/// Reads a `SchemaElement`; returns its `num_children`.
fn children(thrift: &mut Thrift<'_>) -> Result<u64, ThriftError> {
    let (mut before, mut children) = (0, 0);
    loop {
        let (id, kind) = thrift.field(before)?;
        before = id;
        match (id, kind) {
            (_, STOP) => return Ok(children),
            (5, I32) => children = thrift.size()?,
            (5, _) => return Err(ThriftError::Malformed),
            _ => thrift.skip(kind, DEPTH)?,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A schema of groups with one child each, so many levels deep, and then so many columns in a row.
    fn schema(levels: u32, wide: u8) -> Vec<u8> {
        let group = |children: u8| [0x48, 1, b'g', 0x15, children << 1, 0];
        let size = levels + u32::from(wide);
        // The version; a list with its size as a varint.
        let mut bytes = vec![0x15, 2, 0x19, 0xfc];
        let digit = |shift: u32| u8::try_from(size >> shift & 0x7f).unwrap();
        bytes.extend([0x80 | digit(0), 0x80 | digit(7), digit(14)]);
        for level in 0..levels {
            bytes.extend(group(if level + 1 == levels { wide } else { 1 }));
        }
        for _ in 0..wide {
            bytes.extend([0x15, 2, 0x38, 1, b'c', 0]);
        }
        // Rows, and no row group.
        bytes.extend([0x16, 0, 0x19, 0x0c, 0]);
        bytes
    }

    #[test]
    fn columns_in_columns_are_refused_and_many_beside_each_other_are_not() {
        for (levels, is_shallow) in [(1, true), (200, true), (201, false), (100_000, false)] {
            assert_eq!(check_depth(&schema(levels, 1)), Ok(is_shallow), "{levels}");
        }
        assert_eq!(check_depth(&schema(1, 60)), Ok(true));
        let bytes = schema(3, 2);
        for end in 0..bytes.len() {
            assert_eq!(check_depth(&bytes[..end]), Err(ThriftError::Short), "{end}");
        }
    }
}
