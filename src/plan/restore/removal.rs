//! Which files of a live log a rewind or a replacement removes, and in which order.
//!
//! After each single removal a reader opens an older version of the live table than before, never none and never a torn
//! one. So `_last_checkpoint` goes first: readers fail on a hint that names a checkpoint that is not there. Then versions go
//! from the newest down, and within a version what depends on its commit goes before it: Hadoop's own checksums,
//! compactions and `.crc` files, which readers refuse above the newest version. A checkpoint goes after its commit: the
//! commits below it may be gone, and without it nobody could read the version that stands there next.
//!
//! Sidecars stay: no checkpoint names them any more, and the log's own clean-up takes them.

use std::cmp::Reverse;

use crate::delta::{LogFile, LogFileKind};
use crate::ids::{ObjectKey, Version};
use crate::store::Attributes;

/// The files of a log that stand for anything above `keep`, in the order in which they are removed; without `keep`, all that
/// readers go by. The hint is the first of them, whatever it names.
pub fn removals(
    listed: impl IntoIterator<Item = Attributes>,
    keep: Option<Version>,
) -> Vec<Attributes> {
    let (mut hint, mut above) = (None, Vec::new());
    for attributes in listed {
        let Some(file) = LogFile::parse(attributes.clone()) else {
            continue;
        };
        if file.kind == LogFileKind::LastCheckpoint {
            hint = Some(attributes);
        } else if let Some(version) = file.version_in_name()
            && keep.is_none_or(|keep| version > keep)
        {
            let key = (Reverse(version), rank(file.kind), file.key.clone());
            above.push((key, attributes));
        }
    }
    above.sort_by(|(one, _), (two, _)| one.cmp(two));
    hint.into_iter()
        .chain(above.into_iter().map(|(_, attributes)| attributes))
        .collect()
}

/// Whether a file is `_last_checkpoint`.
pub fn is_hint(key: &ObjectKey) -> bool {
    key.as_str() == "_delta_log/_last_checkpoint"
}

/// Where a file stands among those of its version.
fn rank(kind: LogFileKind) -> u8 {
    match kind {
        LogFileKind::LastCheckpoint
        | LogFileKind::Hidden
        | LogFileKind::Other
        | LogFileKind::Sidecar => 0,
        LogFileKind::Compaction { .. } => 1,
        LogFileKind::Checksum => 2,
        LogFileKind::Staged => 3,
        LogFileKind::Commit => 4,
        LogFileKind::ClassicCheckpoint
        | LogFileKind::CheckpointPart { .. }
        | LogFileKind::UuidCheckpoint(_) => 5,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::ETag;

    fn listed(names: &[&str]) -> Vec<Attributes> {
        let attributes = |name: &&str| Attributes {
            key: format!("_delta_log/{name}").parse().unwrap(),
            size: 1,
            last_modified: "2026-11-20T03:00:00Z".parse().unwrap(),
            etag: ETag("1".to_owned()),
            version: None,
            mode: None,
            sha256: None,
            locked_until: None,
        };
        names.iter().map(attributes).collect()
    }

    fn removed(names: &[String], keep: Option<u64>) -> Vec<String> {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let removed = removals(listed(&names), keep.map(Version));
        let name = |it: &Attributes| it.key.as_str()["_delta_log/".len()..].to_owned();
        removed.iter().map(name).collect()
    }

    fn v(version: u64, rest: &str) -> String {
        format!("{version:020}.{rest}")
    }

    #[test]
    fn the_hint_goes_first_then_the_newest_version_and_its_checkpoint_after_its_commit() {
        let compacted = v(4, &format!("{:020}.compacted.json", 6));
        let uuid = "80a083e8-7026-4e79-81be-64bd76c43a11";
        let staged = format!("_staged_commits/{}", v(6, &format!("{uuid}.json")));
        let hidden = format!(".{}", v(6, "json.crc"));
        let names = [
            v(4, "json"),
            v(5, "checkpoint.parquet"),
            v(5, "crc"),
            v(5, "json"),
            compacted.clone(),
            v(6, &format!("checkpoint.{uuid}.parquet")),
            v(6, "crc"),
            v(6, "json"),
            staged.clone(),
            hidden.clone(),
            "_last_checkpoint".to_owned(),
            "_sidecars/one.parquet".to_owned(),
            "readme.txt".to_owned(),
        ];
        let above = [
            "_last_checkpoint".to_owned(),
            hidden,
            compacted,
            v(6, "crc"),
            staged,
            v(6, "json"),
            v(6, &format!("checkpoint.{uuid}.parquet")),
            v(5, "crc"),
            v(5, "json"),
            v(5, "checkpoint.parquet"),
        ];
        assert_eq!(removed(&names, Some(4)), above);
        let all = removed(&names, None);
        assert_eq!(all[..above.len()], above);
        assert_eq!(all[above.len()..], [v(4, "json")]);
    }
}
