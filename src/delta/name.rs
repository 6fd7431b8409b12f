//! The names of the log: what a file under `_delta_log/` is, by its key alone.

use crate::ids::{ETag, ObjectKey, Timestamp, Version};
use crate::store::Attributes;

/// The folder of the log, below the table's root.
const LOG_FOLDER: &str = "_delta_log/";

/// Digits of a version in a name.
const VERSION_DIGITS: usize = 20;

/// The greatest version: Delta's versions are signed 64-bit numbers, and a greater number is not a version.
const MAX_VERSION: u64 = i64::MAX.unsigned_abs();

/// One file of a log as a listing shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogFile {
    /// Its key below the table's root.
    pub key: ObjectKey,
    /// What it is.
    pub kind: LogFileKind,
    /// The version its name begins with; a compaction's last one, because it needs all commits up to that.
    pub version: Option<Version>,
    /// Bytes.
    pub size: u64,
    /// The store's tag of the content.
    pub etag: ETag,
    /// When the store took it.
    pub last_modified: Timestamp,
}

/// What a file of the log is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LogFileKind {
    /// `N.json`: the actions of one version.
    Commit,
    /// `N.checkpoint.parquet`; may be a V2 checkpoint with sidecars all the same.
    ClassicCheckpoint,
    /// `N.checkpoint.P.Q.parquet`: worth something only with all its other parts.
    CheckpointPart {
        /// Which part, from 1.
        part: u64,
        /// How many there are.
        parts: u64,
    },
    /// `N.checkpoint.UUID.json` or `.parquet`: the top file of a V2 checkpoint.
    UuidCheckpoint(CheckpointFormat),
    /// `N.M.compacted.json`: several versions in one file. Never needed, and no reader lets it fill a gap.
    Compaction {
        /// The first version in it.
        start: Version,
    },
    /// `N.crc`: a version's checksum.
    Checksum,
    /// `_last_checkpoint`: a hint, never consulted.
    LastCheckpoint,
    /// A file under `_sidecars/`.
    Sidecar,
    /// A commit that may never be published: `_staged_commits/`, `_commits/`, `.tmp/`, `_commit_*.json.tmp`. Evidence
    /// only; whether it counts is known to a catalog or to another store.
    Staged,
    /// A name that begins with a dot, as Hadoop's checksums do.
    Hidden,
    /// Anything else.
    Other,
}

/// How the top file of a checkpoint is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CheckpointFormat {
    /// JSON lines, read like a commit.
    Json,
    /// Parquet.
    Parquet,
}

impl LogFile {
    /// Tells what a listed object is; `None` for one that is not in the log's folder.
    pub fn parse(attributes: Attributes) -> Option<Self> {
        let name = attributes.key.as_str().strip_prefix(LOG_FOLDER)?;
        // Some tools make an empty object for a folder.
        if name.is_empty() || name.ends_with('/') {
            return None;
        }
        let (kind, version) = classify(name);
        Some(Self {
            kind,
            version,
            size: attributes.size,
            etag: attributes.etag,
            last_modified: attributes.last_modified,
            key: attributes.key,
        })
    }

    /// Whether an object is one of Delta's, or at least begins with a version as those do: what else lies in the log's folder
    /// is neither read nor held.
    pub fn is_one(key: &ObjectKey) -> bool {
        let name = key.as_str().strip_prefix(LOG_FOLDER);
        name.is_some_and(|name| match classify(name) {
            (LogFileKind::Hidden, _) | (LogFileKind::Other, None) => Self::is_past_versions(key),
            (_, _) => true,
        })
    }

    /// What is wrong with an object that readers take for a commit or a checkpoint of a version above all that a table can
    /// have: they open the table no more while it is there.
    pub fn past_versions(key: &ObjectKey) -> Option<String> {
        Self::is_past_versions(key).then(|| {
            format!(
                "{key} is named like a commit above the highest version that a table can have: readers stop at it until it is \
                 moved away"
            )
        })
    }

    fn is_past_versions(key: &ObjectKey) -> bool {
        let name = key.as_str().strip_prefix(LOG_FOLDER);
        let Some((number, rest)) = name.and_then(|name| name.split_once('.')) else {
            return false;
        };
        let is_number =
            number.len() == VERSION_DIGITS && number.bytes().all(|it| it.is_ascii_digit());
        let is_read =
            rest == "json" || (rest.starts_with("checkpoint.") && rest.ends_with(".parquet"));
        is_number && is_read && version_digits(number).is_none()
    }

    /// Its name without folders.
    pub fn name(&self) -> &str {
        self.key.as_str().rsplit('/').next().unwrap_or_default()
    }

    /// The version that it belongs to, also where its name has that behind a dot or in a folder of its own: a commit that may
    /// never be published, and Hadoop's checksum of a file.
    pub fn version_in_name(&self) -> Option<Version> {
        let of_staged = || match self.kind {
            LogFileKind::Staged | LogFileKind::Hidden => {
                split_version(self.name().trim_start_matches('.')).map(|(version, _)| version)
            }
            LogFileKind::Commit
            | LogFileKind::ClassicCheckpoint
            | LogFileKind::CheckpointPart { .. }
            | LogFileKind::UuidCheckpoint(_)
            | LogFileKind::Compaction { .. }
            | LogFileKind::Checksum
            | LogFileKind::LastCheckpoint
            | LogFileKind::Sidecar
            | LogFileKind::Other => None,
        };
        self.version.or_else(of_staged)
    }

    /// How to read it, when it holds actions.
    pub fn format(&self) -> Option<CheckpointFormat> {
        match self.kind {
            LogFileKind::Commit | LogFileKind::Compaction { .. } => Some(CheckpointFormat::Json),
            LogFileKind::UuidCheckpoint(format) => Some(format),
            LogFileKind::ClassicCheckpoint
            | LogFileKind::CheckpointPart { .. }
            | LogFileKind::Sidecar => Some(CheckpointFormat::Parquet),
            LogFileKind::Checksum
            | LogFileKind::LastCheckpoint
            | LogFileKind::Staged
            | LogFileKind::Hidden
            | LogFileKind::Other => None,
        }
    }
}

/// What a name below the log's folder stands for.
fn classify(name: &str) -> (LogFileKind, Option<Version>) {
    if let Some((folder, file)) = name.split_once('/') {
        let kind = match folder {
            "_staged_commits" | "_commits" | ".tmp" => LogFileKind::Staged,
            "_sidecars" if !file.contains('/') && !file.starts_with('.') => LogFileKind::Sidecar,
            _ if folder.starts_with('.') || file.rsplit('/').next().is_some_and(is_hidden) => {
                LogFileKind::Hidden
            }
            _ => LogFileKind::Other,
        };
        return (kind, None);
    }
    match name {
        "_last_checkpoint" => return (LogFileKind::LastCheckpoint, None),
        name if is_hidden(name) => return (LogFileKind::Hidden, None),
        name if name.starts_with("_commit_") && name.ends_with(".json.tmp") => {
            return (LogFileKind::Staged, None);
        }
        _ => {}
    }
    let Some((version, rest)) = split_version(name) else {
        return (LogFileKind::Other, None);
    };
    let rest: Vec<&str> = rest.split('.').collect();
    let kind = match rest.as_slice() {
        ["json"] => LogFileKind::Commit,
        ["crc"] => LogFileKind::Checksum,
        ["checkpoint", "parquet"] => LogFileKind::ClassicCheckpoint,
        ["checkpoint", uuid, "json"] if is_uuid(uuid) => {
            LogFileKind::UuidCheckpoint(CheckpointFormat::Json)
        }
        ["checkpoint", uuid, "parquet"] if is_uuid(uuid) => {
            LogFileKind::UuidCheckpoint(CheckpointFormat::Parquet)
        }
        ["checkpoint", part, parts, "parquet"] => match (digits(part, 10), digits(parts, 10)) {
            (Some(part), Some(parts)) => LogFileKind::CheckpointPart { part, parts },
            _ => LogFileKind::Other,
        },
        [end, "compacted", "json"] => match version_digits(end) {
            Some(end) => return (LogFileKind::Compaction { start: version }, Some(end)),
            None => LogFileKind::Other,
        },
        _ => LogFileKind::Other,
    };
    (kind, Some(version))
}

fn is_hidden(name: &str) -> bool {
    name.starts_with('.')
}

/// Splits `00000000000000000012.rest` into 12 and `rest`.
fn split_version(name: &str) -> Option<(Version, &str)> {
    let (version, rest) = name.split_once('.')?;
    Some((version_digits(version)?, rest))
}

fn version_digits(text: &str) -> Option<Version> {
    let version = digits(text, VERSION_DIGITS)?;
    (version <= MAX_VERSION).then_some(Version(version))
}

/// A number of exactly so many digits: `u64`'s own parser would also take a sign.
fn digits(text: &str, count: usize) -> Option<u64> {
    let all_digits = text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit());
    all_digits.then(|| text.parse().ok()).flatten()
}

/// As lenient as readers are: 36 letters, digits and hyphens, the first hyphen in its place.
fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            0..8 => byte.is_ascii_alphanumeric(),
            8 => byte == b'-',
            _ => byte.is_ascii_alphanumeric() || byte == b'-',
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_told_from_its_name() {
        use LogFileKind::{
            CheckpointPart, Checksum, ClassicCheckpoint, Commit, Compaction, Hidden,
            LastCheckpoint, Other, Sidecar, Staged, UuidCheckpoint,
        };
        let json = UuidCheckpoint(CheckpointFormat::Json);
        let parquet = UuidCheckpoint(CheckpointFormat::Parquet);
        let part = CheckpointPart { part: 2, parts: 3 };
        let compaction = Compaction { start: Version(3) };
        // `N` stands for version 12, `M` for 3 and `U` for a UUID.
        for (name, kind, version) in [
            ("N.json", Commit, Some(12)),
            ("N.crc", Checksum, Some(12)),
            ("N.checkpoint.parquet", ClassicCheckpoint, Some(12)),
            ("N.checkpoint.0000000002.0000000003.parquet", part, Some(12)),
            ("N.checkpoint.U.json", json, Some(12)),
            ("N.checkpoint.U.parquet", parquet, Some(12)),
            ("M.N.compacted.json", compaction, Some(12)),
            ("_last_checkpoint", LastCheckpoint, None),
            ("_sidecars/a.parquet", Sidecar, None),
            ("_sidecars/.a.parquet.crc", Hidden, None),
            ("_staged_commits/M.x.json", Staged, None),
            ("_commits/M.x.json", Staged, None),
            (".tmp/M.json", Staged, None),
            ("_commit_U.json.tmp", Staged, None),
            (".N.json.crc", Hidden, None),
            ("._last_checkpoint.crc", Hidden, None),
            ("N.checkpoint.new.parquet", Other, Some(12)),
            ("N.checkpoint.1.2.parquet", Other, Some(12)),
            ("N.json.bak", Other, Some(12)),
            ("N", Other, None),
            ("12.json", Other, None),
            ("+0000000000000000012.json", Other, None),
            ("99999999999999999999.json", Other, None),
            ("09223372036854775808.json", Other, None),
            ("09223372036854775807.json", Commit, Some(MAX_VERSION)),
            ("other/N.json", Other, None),
        ] {
            let name = name.replace('N', "00000000000000000012");
            let name = name.replace('M', "00000000000000000003");
            let name = name.replace('U', "80a083e8-7026-4e79-81be-64bd76c43a11");
            assert_eq!(classify(&name), (kind, version.map(Version)), "{name}");
            let key = format!("{LOG_FOLDER}{name}").parse().unwrap();
            let is_past = matches!(
                &*name,
                "99999999999999999999.json" | "09223372036854775808.json"
            );
            assert_eq!(LogFile::is_past_versions(&key), is_past, "{name}");
            let is_foreign = kind == Hidden || (kind == Other && version.is_none() && !is_past);
            assert_eq!(LogFile::is_one(&key), !is_foreign, "{name}");
        }
    }

    #[test]
    fn objects_outside_the_log_and_folder_markers_are_no_log_files() {
        for (key, is_log) in [
            ("_delta_log/00000000000000000000.json", true),
            ("_delta_log/", false),
            ("_delta_log/_sidecars/", false),
            ("part.parquet", false),
            ("p=1/_delta_log/00000000000000000000.json", false),
        ] {
            let attributes = Attributes {
                key: key.parse().unwrap(),
                size: 1,
                last_modified: Timestamp::UNIX_EPOCH,
                etag: ETag(String::new()),
                version: None,
                sha256: None,
                locked_until: None,
                mode: None,
            };
            assert_eq!(LogFile::parse(attributes).is_some(), is_log, "{key}");
        }
    }
}
