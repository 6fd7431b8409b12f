//! Reads files of JSON actions: commits, and the top files of V2 checkpoints that are written in JSON.
//!
//! One action is in memory at a time, and none may be longer than [`VALUE_LIMIT`]. What cannot be understood is an
//! error with its line: a commit that was cut off in the middle must not become a smaller table.
//!
//! Only what decides about files is asked to be what it should: `add` with path, size and deletion vector, `remove` with
//! path and vector, `sidecar` with its path, `protocol` with the reader's version and features, and that `metaData` is
//! there. Whatever else a writer puts into any other field, it is taken where it makes sense and is unknown where not.

use std::borrow::Cow;
use std::io::BufRead;

use super::json::{Raw, read_values};
use super::number::Number;
use super::path::TableRoot;
use super::raw::{
    ENTRIES_MAX, Origin, RawAdd, RawCdc, RawProtocol, RawRemove, RawSidecar, RawVector, domain,
    plain,
};
use super::{Action, CommitInfo, LogError, Metadata, Sink};
use crate::ids::{Timestamp, Version};
use crate::visible::shortened;

/// The longest action that is read, bytes. A `metaData` of fifty thousand columns, or an `add` with statistics for all
/// of them, is some 10 MB; anything far beyond is more likely an attempt on our memory.
pub const VALUE_LIMIT: u64 = 64 * 1024 * 1024;

/// The most characters that are kept of what a commit says about itself: its operation, predicate and user.
const TOLD_MAX: usize = 1024;

/// Reads the actions of a commit or of a JSON checkpoint, in the order of the file. `file` is its name for errors.
///
/// # Errors
/// [`LogError::BadJson`], [`LogError::NotUtf8`] and [`LogError::ValueTooLong`] for a value that is not an action;
/// [`LogError::BadAction`], [`LogError::MissingSize`], [`LogError::BadNumber`], [`LogError::BadVector`] and
/// [`LogError::Path`] for one that does not say which file it is about; [`LogError::Read`]; what the sink returns.
pub fn read_commit(
    reader: impl BufRead,
    file: &str,
    root: &TableRoot,
    sink: &mut Sink<'_>,
) -> Result<(), LogError> {
    read_values(reader, file, VALUE_LIMIT, &mut |value, line| {
        let line = Some(line);
        actions(value, Origin { file, line, root }, sink)
    })
}

/// The actions of one value. Usually it is one, but nothing in the format forbids several.
fn actions(value: Raw<'_>, origin: Origin<'_>, sink: &mut Sink<'_>) -> Result<(), LogError> {
    let names = [
        "remove",
        "add",
        "cdc",
        "sidecar",
        "protocol",
        "metaData",
        "txn",
        "domainMetadata",
        "checkpointMetadata",
        "commitInfo",
    ];
    let fields = value.fields(names).unwrap_or_default();
    let [
        remove,
        add,
        cdc,
        sidecar,
        protocol,
        metadata,
        txn,
        domain,
        checkpoint,
        info,
    ] = fields;
    if let Some(raw) = remove {
        let remove = read_remove(raw, origin)?;
        sink(match add {
            // Spark and the Rust readers look at one action of a line, and at the add first.
            Some(_) => Action::PassedOver {
                path: remove.path.into_owned(),
            },
            None => remove.into_action(origin)?,
        })?;
    }
    if let Some(raw) = add {
        sink(read_add(raw, origin)?.into_action(origin)?)?;
    }
    if let Some(raw) = cdc {
        sink(read_cdc(raw, origin))?;
    }
    if let Some(raw) = sidecar {
        sink(read_sidecar(raw, origin)?)?;
    }
    if let Some(raw) = protocol {
        sink(read_protocol(raw, origin)?)?;
    }
    if let Some(raw) = metadata {
        sink(Action::Metadata(read_metadata(raw, origin)?))?;
    }
    let rest = [
        txn.and_then(read_txn),
        domain.and_then(read_domain),
        checkpoint.map(read_checkpoint_metadata),
        info.map(read_commit_info),
    ];
    rest.into_iter().flatten().try_for_each(sink)
}

fn read_add<'a>(raw: Raw<'a>, origin: Origin<'_>) -> Result<RawAdd<'a>, LogError> {
    let names = [
        "path",
        "size",
        "modificationTime",
        "stats",
        // The one name in the log that is not in camel case.
        "stats_parsed",
        "deletionVector",
    ];
    let fields = raw.fields(names);
    let [path, size, time, stats, parsed, vector] =
        fields.ok_or_else(|| origin.bad("add", "is not an object"))?;
    let [parsed_rows] = parsed
        .and_then(|parsed| parsed.fields(["numRecords"]))
        .unwrap_or_default();
    Ok(RawAdd {
        path: text(path, "add.path", origin)?,
        size: Number::of(size),
        modification_time: Number::of(time).known(),
        stats: stats.and_then(Raw::text),
        parsed_rows: parsed_rows.and_then(plain),
        deletion_vector: read_vector(vector, origin)?,
    })
}

fn read_remove<'a>(raw: Raw<'a>, origin: Origin<'_>) -> Result<RawRemove<'a>, LogError> {
    let fields = raw.fields(["path", "deletionVector"]);
    let [path, vector] = fields.ok_or_else(|| origin.bad("remove", "is not an object"))?;
    Ok(RawRemove {
        path: text(path, "remove.path", origin)?,
        deletion_vector: read_vector(vector, origin)?,
    })
}

/// A text that decides about files.
fn text<'a>(
    raw: Option<Raw<'a>>,
    field: &'static str,
    origin: Origin<'_>,
) -> Result<Cow<'a, str>, LogError> {
    let raw = raw.ok_or_else(|| origin.bad(field, "is missing"))?;
    raw.text().ok_or_else(|| origin.bad(field, "is not text"))
}

fn read_vector<'a>(
    raw: Option<Raw<'a>>,
    origin: Origin<'_>,
) -> Result<Option<RawVector<'a>>, LogError> {
    let Some(raw) = raw else {
        return Ok(None);
    };
    let names = [
        "storageType",
        "pathOrInlineDv",
        "offset",
        "sizeInBytes",
        "cardinality",
    ];
    let fields = raw.fields(names);
    let [storage, path, offset, size, cardinality] =
        fields.ok_or_else(|| origin.bad("deletionVector", "is not an object"))?;
    let storage_type = text(storage, "deletionVector.storageType", origin)?;
    let path_or_inline_dv = text(path, "deletionVector.pathOrInlineDv", origin)?;
    let vector = RawVector {
        storage_type,
        path_or_inline_dv,
        offset: Number::of(offset),
        size_in_bytes: Number::of(size),
        cardinality: Number::of(cardinality),
    };
    Ok(vector.if_named())
}

fn read_cdc(raw: Raw<'_>, origin: Origin<'_>) -> Action {
    let [path, size] = raw.fields(["path", "size"]).unwrap_or_default();
    let Some(path) = path.and_then(Raw::text) else {
        let path = raw.spelling().chars().take(80).collect();
        return Action::Unnameable { path };
    };
    let cdc = RawCdc {
        path,
        size: size_of(size),
    };
    cdc.into_action(origin)
}

/// A size that decides about nothing.
fn size_of(raw: Option<Raw<'_>>) -> Option<u64> {
    u64::try_from(Number::of(raw).known()?).ok()
}

fn read_sidecar(raw: Raw<'_>, origin: Origin<'_>) -> Result<Action, LogError> {
    let fields = raw.fields(["path", "sizeInBytes"]);
    let [path, size] = fields.ok_or_else(|| origin.bad("sidecar", "is not an object"))?;
    let sidecar = RawSidecar {
        path: text(path, "sidecar.path", origin)?,
        size_in_bytes: size_of(size),
    };
    sidecar.into_action(origin)
}

fn read_protocol(raw: Raw<'_>, origin: Origin<'_>) -> Result<Action, LogError> {
    let names = [
        "minReaderVersion",
        "minWriterVersion",
        "readerFeatures",
        "writerFeatures",
    ];
    let fields = raw.fields(names);
    let [reader, writer, reader_features, writer_features] =
        fields.ok_or_else(|| origin.bad("protocol", "is not an object"))?;
    // A reader feature that cannot be read may be one that moves files elsewhere.
    let required = match reader_features {
        None => Some(Vec::new()),
        Some(list) => list
            .items()
            .and_then(|items| items.take(ENTRIES_MAX + 1).map(owned).collect()),
    };
    let protocol = RawProtocol {
        min_reader_version: Number::of(reader),
        min_writer_version: Number::of(writer),
        reader_features: required
            .ok_or_else(|| origin.bad("protocol.readerFeatures", "is not a list of names"))?,
        writer_features: texts(writer_features),
    };
    protocol.into_action(origin)
}

/// The texts of a list, as far as it is one.
fn texts(raw: Option<Raw<'_>>) -> Vec<String> {
    let items = raw.and_then(Raw::items).into_iter().flatten();
    items.filter_map(owned).take(ENTRIES_MAX + 1).collect()
}

fn owned(raw: Raw<'_>) -> Option<String> {
    raw.text().map(Cow::into_owned)
}

fn read_metadata(raw: Raw<'_>, origin: Origin<'_>) -> Result<Metadata, LogError> {
    let fields = raw.fields(["id", "name", "partitionColumns", "configuration"]);
    let [id, name, columns, configuration] =
        fields.ok_or_else(|| origin.bad("metaData", "is not an object"))?;
    let properties = configuration.and_then(Raw::entries).into_iter().flatten();
    Metadata {
        id: id.and_then(owned),
        name: name.and_then(owned),
        partition_columns: texts(columns),
        configuration: properties
            .filter_map(|(key, value)| Some((owned(key)?, owned(value)?)))
            .take(ENTRIES_MAX + 1)
            .collect(),
    }
    .checked(origin)
}

fn read_txn(raw: Raw<'_>) -> Option<Action> {
    let [app_id, version] = raw.fields(["appId", "version"])?;
    Some(Action::Txn {
        app_id: owned(app_id?)?,
        version: Number::of(version).known(),
    })
}

fn read_domain(raw: Raw<'_>) -> Option<Action> {
    let [name, configuration, removed] = raw.fields(["domain", "configuration", "removed"])?;
    // Anything but text is kept as it is spelled.
    let configuration = configuration.map(|raw| {
        let spelled = || raw.spelling().to_owned();
        owned(raw).unwrap_or_else(spelled)
    });
    let removed = removed
        .and_then(Raw::text)
        .is_some_and(|removed| removed == "true");
    Some(domain(owned(name?)?, configuration, removed))
}

fn read_checkpoint_metadata(raw: Raw<'_>) -> Action {
    let [version] = raw.fields(["version"]).unwrap_or_default();
    Action::CheckpointMetadata {
        version: size_of(version).map(Version),
    }
}

fn read_commit_info(raw: Raw<'_>) -> Action {
    let names = [
        "operation",
        "operationParameters",
        "userName",
        "userId",
        "timestamp",
        "inCommitTimestamp",
    ];
    let [
        operation,
        parameters,
        user_name,
        user_id,
        timestamp,
        in_commit,
    ] = raw.fields(names).unwrap_or_default();
    let told = |raw: Raw<'_>| Some(shortened(&raw.text()?, TOLD_MAX).into_owned());
    let parameters = parameters.and_then(|raw| raw.fields(["mode", "predicate"]));
    let [mode, predicate] = parameters.unwrap_or_default();
    let time = |raw| Timestamp::from_millisecond(Number::of(raw).known()?).ok();
    Action::CommitInfo(CommitInfo {
        operation: operation.and_then(told),
        mode: mode.and_then(told),
        predicate: predicate.and_then(told),
        user: user_name.and_then(told).or_else(|| user_id.and_then(told)),
        timestamp: time(timestamp),
        in_commit_timestamp: time(in_commit),
    })
}

#[cfg(test)]
mod tests;
