//! Everything that can be wrong with a transaction log, each with the values that its reader needs.

use std::io;

use super::path::{PathError, SHOWN};
use crate::ids::Version;
use crate::sort::SortError;
use crate::visible::shortened;

/// A log, or a version of it, that cannot be read with certainty.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// There is no table here: no `_delta_log/`, or neither a commit nor a complete checkpoint in it.
    #[error(
        "no Delta log here: {files} files in _delta_log/, none of them a commit or a complete checkpoint"
    )]
    NoLog {
        /// Files found under `_delta_log/`, of whatever kind.
        files: usize,
    },
    /// The version is newer than anything in the log.
    #[error("version {version} does not exist, the newest is {newest}")]
    NoSuchVersion {
        /// The version asked for.
        version: Version,
        /// The newest in the log.
        newest: Version,
    },
    /// A commit that the version needs is not there, and no complete checkpoint stands in for it.
    #[error("version {version} cannot be rebuilt: commit {first_missing} is missing{}", after_checkpoint(*.checkpoint))]
    Gap {
        /// The version asked for.
        version: Version,
        /// The first commit that is missing.
        first_missing: Version,
        /// The newest complete checkpoint at or below the version, where there is one.
        checkpoint: Option<Version>,
    },
    /// The newest version stands alone, far past the rest: only its owner can know whether it is a mistake.
    #[error("the newest version {version} stands alone, the one before it is {last_before}")]
    FarFuture {
        /// The newest version.
        version: Version,
        /// The newest version below it.
        last_before: Version,
        /// Whether the log can rebuild the newest.
        can_be_rebuilt: bool,
    },
    /// Only a multi-part checkpoint could rebuild the version, and parts of it are missing.
    #[error(
        "version {version} cannot be rebuilt: {present} of {parts} parts of checkpoint {checkpoint} are there"
    )]
    TornCheckpoint {
        /// The version asked for.
        version: Version,
        /// The checkpoint's version.
        checkpoint: Version,
        /// How many parts are there.
        present: usize,
        /// How many there should be.
        parts: u64,
    },
    /// A file of the log is too large to be one.
    #[error("{file} has {size} bytes, and files of a log are read up to {limit}")]
    FileTooLarge {
        /// The file.
        file: String,
        /// Its bytes.
        size: u64,
        /// The most that are read.
        limit: u64,
    },
    /// What the log says of applications and domains does not fit into memory.
    #[error(
        "the txn and domainMetadata actions up to version {version} take more than {limit} bytes"
    )]
    StateTooLarge {
        /// The last version that was read.
        version: Version,
        /// The limit, bytes.
        limit: usize,
    },
    /// The log up to the version has no `protocol` action.
    #[error("no protocol action up to version {version}")]
    NoProtocol {
        /// The last version that was read.
        version: Version,
    },
    /// The log up to the version has no `metaData` action.
    #[error("no metaData action up to version {version}")]
    NoMetadata {
        /// The last version that was read.
        version: Version,
    },
    /// The protocol names reader features that may change which files are live.
    #[error("unknown reader features: {}", first_of(features))]
    UnknownReaderFeature {
        /// Their names, sorted; the message has the first eight.
        features: Vec<String>,
    },
    /// The protocol asks for a newer reader.
    #[error("reader version {version} is needed, {newest_known} is the newest known")]
    UnsupportedReaderVersion {
        /// The version that the table asks for.
        version: u32,
        /// The newest that is understood.
        newest_known: u32,
    },
    /// A file of actions is not a stream of JSON objects.
    #[error("{file} line {line} is not an action: {detail} (byte {byte})")]
    BadJson {
        /// The log file.
        file: String,
        /// The line, from 1.
        line: u64,
        /// The byte, from 0.
        byte: u64,
        /// What the parser said.
        detail: String,
    },
    /// A file of actions is not UTF-8.
    #[error("{file} line {line} is not UTF-8")]
    NotUtf8 {
        /// The log file.
        file: String,
        /// The line, from 1.
        line: u64,
    },
    /// An action is longer than this tool reads into memory.
    #[error("{file} line {line} holds an action of more than {limit} bytes")]
    ValueTooLong {
        /// The log file.
        file: String,
        /// The line, from 1.
        line: u64,
        /// The limit, bytes.
        limit: u64,
    },
    /// A field that decides about files is missing or holds something else.
    #[error("{file}{}: {field} {what}", at(*.line))]
    BadAction {
        /// The log file.
        file: String,
        /// The line, from 1, where it has lines.
        line: Option<u64>,
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A number that decides about files is not a whole one, or out of its range.
    #[error("{file}{} gives {field} of {} as {}: not a whole number in range", at(*.line), shortened(of, SHOWN), shortened(value, SHOWN))]
    BadNumber {
        /// The log file.
        file: String,
        /// The line, from 1, where it has lines.
        line: Option<u64>,
        /// The field, as Delta spells it.
        field: &'static str,
        /// What it is a field of.
        of: String,
        /// What it holds, as the log spells it.
        value: String,
    },
    /// The bytes of a log file could not be had.
    #[error("cannot read {file}")]
    Read {
        /// The log file.
        file: String,
        /// What the reader said.
        #[source]
        source: io::Error,
    },
    /// A checkpoint or sidecar is not the Parquet file that it should be.
    #[error("checkpoint {file} cannot be read: {detail}")]
    CheckpointUnreadable {
        /// The checkpoint file or sidecar.
        file: String,
        /// What the decoder said.
        detail: String,
    },
    /// A checkpoint lacks a column without which its files are not known.
    #[error("checkpoint {file} has no column {column}")]
    MissingColumn {
        /// The checkpoint file or sidecar.
        file: String,
        /// The column.
        column: &'static str,
    },
    /// A checkpoint names a sidecar that is not there.
    #[error("sidecar {file} is missing")]
    MissingSidecar {
        /// The sidecar.
        file: String,
    },
    /// A file of the table has no size.
    #[error("{file}{} gives no size for {}", at(*.line), shortened(path, SHOWN))]
    MissingSize {
        /// The log file.
        file: String,
        /// The line, from 1, where it has lines.
        line: Option<u64>,
        /// The path as the log spells it.
        path: String,
    },
    /// A deletion vector lacks a field.
    #[error("{file}{} gives no {field} for the deletion vector of {}", at(*.line), shortened(path, SHOWN))]
    BadVector {
        /// The log file.
        file: String,
        /// The line, from 1, where it has lines.
        line: Option<u64>,
        /// The data file's path as the log spells it.
        path: String,
        /// The field, as Delta spells it.
        field: &'static str,
    },
    /// A path names no object.
    #[error("{file}{} names a file that cannot be found", at(*.line))]
    Path {
        /// The log file.
        file: String,
        /// The line, from 1, where it has lines.
        line: Option<u64>,
        /// What is wrong with the path.
        #[source]
        source: PathError,
    },
    /// The caller replays versions out of order.
    #[error("version {version} is replayed after version {after}")]
    OutOfOrder {
        /// The version that came too late.
        version: Version,
        /// The one before it.
        after: Version,
    },
    /// The live set could not be sorted.
    #[error("cannot sort the live files")]
    Sort(#[from] SortError),
}

impl LogError {
    /// The log file whose content is to blame.
    pub fn file(&self) -> Option<&str> {
        match self {
            Self::BadJson { file, .. }
            | Self::NotUtf8 { file, .. }
            | Self::ValueTooLong { file, .. }
            | Self::BadAction { file, .. }
            | Self::BadNumber { file, .. }
            | Self::CheckpointUnreadable { file, .. }
            | Self::MissingColumn { file, .. }
            | Self::FileTooLarge { file, .. }
            | Self::MissingSidecar { file }
            | Self::MissingSize { file, .. }
            | Self::BadVector { file, .. }
            | Self::Path { file, .. } => Some(file),
            Self::NoLog { .. }
            | Self::NoSuchVersion { .. }
            | Self::Gap { .. }
            | Self::FarFuture { .. }
            | Self::TornCheckpoint { .. }
            | Self::StateTooLarge { .. }
            | Self::NoProtocol { .. }
            | Self::NoMetadata { .. }
            | Self::UnknownReaderFeature { .. }
            | Self::UnsupportedReaderVersion { .. }
            | Self::Read { .. }
            | Self::OutOfOrder { .. }
            | Self::Sort(_) => None,
        }
    }

    /// Whether the log as it is cannot be read, whatever version is asked for and wherever it is read.
    pub fn is_about_log(&self) -> bool {
        self.is_about_content()
            || matches!(
                self,
                Self::Gap { .. }
                    | Self::TornCheckpoint { .. }
                    | Self::NoProtocol { .. }
                    | Self::NoMetadata { .. }
            )
    }

    /// Whether the content of a log file is to blame, so that another way to rebuild the version may do without it.
    /// Everything else (the disk, the version itself, its protocol) stays as it is whichever way is tried.
    pub fn is_about_content(&self) -> bool {
        self.file().is_some()
    }
}

/// The first of some names, and how many more there are.
fn first_of(names: &[String]) -> String {
    const NAMED: usize = 8;
    let first: Vec<_> = names.iter().take(NAMED).map(String::as_str).collect();
    match names.len().saturating_sub(NAMED) {
        0 => first.join(", "),
        more => format!("{} and {more} more", first.join(", ")),
    }
}

fn at(line: Option<u64>) -> String {
    line.map_or_else(String::new, |line| format!(" line {line}"))
}

fn after_checkpoint(checkpoint: Option<Version>) -> String {
    checkpoint.map_or_else(String::new, |version| {
        format!(" after checkpoint {version}")
    })
}
