//! The actions as the log has them, before they are checked: what JSON and Parquet have in common.
//!
//! Each turns into an [`Action`] or into an error that names the file. What decides about files is checked here and
//! nothing is made up for what is missing; a field that does not decide about files is unknown where it is odd.

use std::borrow::Cow;

use super::json::Raw;
use super::number::Number;
use super::path::{PathError, TableRoot, is_absolute};
use super::{Action, Add, DeletionVector, LogError, Metadata, Protocol, Spelling, vector_id};
use crate::ids::Location;

/// Where an action was found, and against what its paths are resolved.
#[derive(Debug, Clone, Copy)]
pub(super) struct Origin<'a> {
    pub(super) file: &'a str,
    /// The line, from 1; Parquet has none.
    pub(super) line: Option<u64>,
    pub(super) root: &'a TableRoot,
}

impl Origin<'_> {
    fn resolve(&self, raw: &str) -> Result<Location, LogError> {
        self.root.resolve(raw).map_err(|source| self.path(source))
    }

    fn path(&self, source: PathError) -> LogError {
        LogError::Path {
            file: self.file.to_owned(),
            line: self.line,
            source,
        }
    }

    /// A number that decides about files: from 0 to `T`'s greatest, or absent.
    fn whole<T: TryFrom<i64>>(
        &self,
        number: &Number,
        field: &'static str,
        of: impl FnOnce() -> String,
    ) -> Result<Option<T>, LogError> {
        let value = match number {
            Number::Absent => return Ok(None),
            Number::Whole(number) => match T::try_from(*number) {
                Ok(number) => return Ok(Some(number)),
                Err(_) => number.to_string(),
            },
            Number::Odd(value) => value.clone(),
        };
        Err(LogError::BadNumber {
            file: self.file.to_owned(),
            line: self.line,
            field,
            of: of(),
            value,
        })
    }

    fn size(&self, size: &Number, path: &str) -> Result<u64, LogError> {
        let size = self.whole(size, "size", || path.to_owned())?;
        size.ok_or_else(|| LogError::MissingSize {
            file: self.file.to_owned(),
            line: self.line,
            path: path.to_owned(),
        })
    }

    /// Something about an action as a whole.
    pub(super) fn bad(&self, field: &'static str, what: &'static str) -> LogError {
        LogError::BadAction {
            file: self.file.to_owned(),
            line: self.line,
            field,
            what,
        }
    }
}

#[derive(Debug)]
pub(super) struct RawAdd<'a> {
    pub(super) path: Cow<'a, str>,
    pub(super) size: Number,
    pub(super) modification_time: Option<i64>,
    pub(super) stats: Option<Cow<'a, str>>,
    /// `numRecords` of `stats_parsed`.
    pub(super) parsed_rows: Option<u64>,
    pub(super) deletion_vector: Option<RawVector<'a>>,
}

impl RawAdd<'_> {
    pub(super) fn into_action(self, origin: Origin<'_>) -> Result<Action, LogError> {
        let path = self.path.as_ref();
        let vector = self.deletion_vector;
        let dv = vector.map(|dv| dv.into_vector(path, origin)).transpose()?;
        let file = origin.resolve(path)?;
        Ok(Action::Add {
            spelling: Spelling::of(path, &file),
            add: Add {
                absolute: is_own_absolute(&file, path),
                file,
                size: origin.size(&self.size, path)?,
                modification_time: self.modification_time,
                rows: self.stats.as_deref().and_then(rows).or(self.parsed_rows),
                dv,
            },
        })
    }
}

/// Whether a path is an absolute one into the table's own root.
fn is_own_absolute(file: &Location, path: &str) -> bool {
    matches!(file, Location::Inside(_)) && is_absolute(path)
}

/// `numRecords` of statistics. They never decide about files, so what is wrong in them is only a count that is not known.
fn rows(stats: &str) -> Option<u64> {
    let [rows] = Raw::parse(stats)?.fields(["numRecords"])?;
    plain(rows?)
}

/// A number without fraction or exponent.
pub(super) fn plain(raw: Raw<'_>) -> Option<u64> {
    raw.spelling().parse().ok()
}

#[derive(Debug)]
pub(super) struct RawVector<'a> {
    pub(super) storage_type: Cow<'a, str>,
    pub(super) path_or_inline_dv: Cow<'a, str>,
    pub(super) offset: Number,
    pub(super) size_in_bytes: Number,
    pub(super) cardinality: Number,
}

impl RawVector<'_> {
    /// `None` where both its storage type and its path are empty: so some writers spell that there is none.
    pub(super) fn if_named(self) -> Option<Self> {
        let named = !self.storage_type.is_empty() || !self.path_or_inline_dv.is_empty();
        named.then_some(self)
    }

    /// What reconciliation knows it by.
    fn into_id(self, path: &str, origin: Origin<'_>) -> Result<String, LogError> {
        let offset: Option<i64> = origin.whole(&self.offset, "offset", || vector_of(path))?;
        Ok(vector_id(
            &self.storage_type,
            &self.path_or_inline_dv,
            offset,
        ))
    }

    fn into_vector(self, path: &str, origin: Origin<'_>) -> Result<DeletionVector, LogError> {
        let number = |number, field| origin.whole::<u64>(number, field, || vector_of(path));
        let needed = |value, field| {
            number(value, field)?.ok_or_else(|| LogError::BadVector {
                file: origin.file.to_owned(),
                line: origin.line,
                path: path.to_owned(),
                field,
            })
        };
        Ok(DeletionVector {
            cardinality: needed(&self.cardinality, "cardinality")?,
            file: origin
                .root
                .resolve_vector(&self.storage_type, &self.path_or_inline_dv)
                .map_err(|source| origin.path(source))?,
            offset: number(&self.offset, "offset")?,
            size: needed(&self.size_in_bytes, "sizeInBytes")?,
            id: self.into_id(path, origin)?,
        })
    }
}

fn vector_of(path: &str) -> String {
    format!("the deletion vector of {path}")
}

#[derive(Debug)]
pub(super) struct RawRemove<'a> {
    pub(super) path: Cow<'a, str>,
    pub(super) deletion_vector: Option<RawVector<'a>>,
}

impl RawRemove<'_> {
    pub(super) fn into_action(self, origin: Origin<'_>) -> Result<Action, LogError> {
        let vector = self.deletion_vector;
        let dv_id = vector
            .map(|dv| dv.into_id(&self.path, origin))
            .transpose()?;
        Ok(match origin.root.resolve(&self.path) {
            Ok(file) => Action::Remove {
                spelling: Spelling::of(&self.path, &file),
                file,
                dv_id,
            },
            // No file can be live under such a path: an add of it is refused.
            Err(_) => Action::Unnameable {
                path: self.path.into_owned(),
            },
        })
    }
}

/// A file of the change data feed. No version needs it, so one that cannot be found refuses none.
#[derive(Debug)]
pub(super) struct RawCdc<'a> {
    pub(super) path: Cow<'a, str>,
    pub(super) size: Option<u64>,
}

impl RawCdc<'_> {
    pub(super) fn into_action(self, origin: Origin<'_>) -> Action {
        match origin.root.resolve(&self.path) {
            Ok(file) => Action::Cdc {
                absolute: is_own_absolute(&file, &self.path),
                file,
                size: self.size,
            },
            Err(_) => Action::Unnameable {
                path: self.path.into_owned(),
            },
        }
    }
}

#[derive(Debug)]
pub(super) struct RawSidecar<'a> {
    pub(super) path: Cow<'a, str>,
    pub(super) size_in_bytes: Option<u64>,
}

impl RawSidecar<'_> {
    pub(super) fn into_action(self, origin: Origin<'_>) -> Result<Action, LogError> {
        let path = percent_encoding::percent_decode_str(&self.path);
        let path = path.decode_utf8().map_err(|_| {
            let path = self.path.clone().into_owned();
            origin.path(PathError::NotUtf8 { path })
        })?;
        // Whatever folder the path names, sidecars lie in one place; readers go by the file's name alone.
        let name = path.rsplit('/').next().unwrap_or_default();
        let key = format!("_delta_log/_sidecars/{name}").parse();
        Ok(Action::Sidecar {
            key: key.map_err(|source| {
                let path = path.into_owned();
                origin.path(PathError::NotAKey { path, source })
            })?,
            size: self.size_in_bytes,
        })
    }
}

/// The most entries of a list or map of `protocol` and `metaData`: features, partition columns, properties. Tables have some
/// dozens; the reference implementation partitions by far fewer than a thousand columns.
pub(super) const ENTRIES_MAX: usize = 10_000;
/// The most features of a protocol. Delta has some thirty.
const FEATURES_MAX: usize = 256;
/// The most bytes of a feature's name and of a table's id, which go into the record of each snapshot.
const NAME_MAX: usize = 1024;

impl Metadata {
    /// Refuses what is too large to be a table's.
    pub(super) fn checked(self, origin: Origin<'_>) -> Result<Self, LogError> {
        if self.id.as_ref().is_some_and(|id| id.len() > NAME_MAX) {
            return Err(origin.bad("metaData.id", "has more than 1,024 bytes"));
        }
        if self.partition_columns.len() > ENTRIES_MAX {
            return Err(origin.bad("metaData.partitionColumns", TOO_MANY));
        }
        if self.configuration.len() > ENTRIES_MAX {
            return Err(origin.bad("metaData.configuration", TOO_MANY));
        }
        Ok(self)
    }
}

const TOO_MANY: &str = "has more than 10,000 entries";

#[derive(Debug)]
pub(super) struct RawProtocol {
    pub(super) min_reader_version: Number,
    pub(super) min_writer_version: Number,
    pub(super) reader_features: Vec<String>,
    pub(super) writer_features: Vec<String>,
}

impl RawProtocol {
    pub(super) fn into_action(self, origin: Origin<'_>) -> Result<Action, LogError> {
        let field = "minReaderVersion";
        let reader = origin.whole(&self.min_reader_version, field, || "protocol".to_owned())?;
        let writer = self.min_writer_version.known();
        let lists = [
            ("protocol.readerFeatures", &self.reader_features),
            ("protocol.writerFeatures", &self.writer_features),
        ];
        for (field, names) in lists {
            if names.len() > FEATURES_MAX || names.iter().any(|name| name.len() > NAME_MAX) {
                return Err(origin.bad(
                    field,
                    "has more than 256 names, or one of more than 1,024 bytes",
                ));
            }
        }
        Ok(Action::Protocol(Protocol {
            min_reader_version: reader
                .ok_or_else(|| origin.bad("protocol.minReaderVersion", "is missing"))?,
            min_writer_version: writer
                .and_then(|version| u32::try_from(version).ok())
                .unwrap_or(0),
            reader_features: self.reader_features,
            writer_features: self.writer_features,
        }))
    }
}

/// The action of a domain; its configuration is opaque.
pub(super) fn domain(domain: String, configuration: Option<String>, removed: bool) -> Action {
    Action::Domain {
        domain,
        configuration: (!removed).then(|| configuration.unwrap_or_default()),
    }
}
