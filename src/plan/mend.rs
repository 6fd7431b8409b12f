//! What makes a log readable again: which checkpoint a `_last_checkpoint` names, and whether a log still has it.

use serde::Deserialize;

use crate::delta::segment::LogListing;
use crate::ids::Version;

/// The hint `_last_checkpoint`, as far as it decides about anything: from which checkpoint on readers list the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct Hint {
    /// The checkpoint's version.
    pub version: Version,
    /// Its parts, where it has several.
    #[serde(default)]
    pub parts: Option<u64>,
}

impl Hint {
    /// Reads a hint; `None` for bytes that readers pass over as well.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }

    /// Whether readers that follow it find a checkpoint: its own, or a newer one. They list the log from its version on,
    /// and refuse a table where nothing comes of that.
    pub fn is_kept_by(&self, log: &LogListing) -> bool {
        let newest = log.checkpoints().first().map(|newest| newest.version);
        match newest {
            Some(newest) if newest > self.version => true,
            Some(newest) if newest == self.version => {
                let parts = usize::try_from(self.parts.unwrap_or(1));
                let same = log.checkpoints().iter().filter(|it| it.version == newest);
                let mut counts = same.map(|checkpoint| checkpoint.files.len());
                parts.is_ok_and(|parts| counts.any(|count| count == parts))
            }
            Some(_) | None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{ETag, Timestamp};
    use crate::store::Attributes;

    fn log(names: &[&str]) -> LogListing {
        LogListing::new(names.iter().map(|name| Attributes {
            key: format!("_delta_log/{name:0>20}").parse().unwrap(),
            size: 1,
            last_modified: Timestamp::UNIX_EPOCH,
            etag: ETag(String::new()),
            version: None,
            sha256: None,
            locked_until: None,
            mode: None,
        }))
    }

    fn name(version: u64, rest: &str) -> String {
        format!("{version:020}.{rest}")
    }

    #[test]
    fn a_hint_is_kept_by_its_own_checkpoint_or_a_newer_one() {
        let classic = name(4, "checkpoint.parquet");
        let newer = name(9, "checkpoint.parquet");
        let one = name(4, "checkpoint.0000000001.0000000002.parquet");
        let two = name(4, "checkpoint.0000000002.0000000002.parquet");
        let commit = name(4, "json");
        for (hint, files, kept) in [
            (r#"{"version":4,"size":1}"#, vec![&classic], true),
            (
                r#"{"version":4,"size":1,"parts":2}"#,
                vec![&one, &two],
                true,
            ),
            (r#"{"version":4,"size":1}"#, vec![&newer], true),
            (r#"{"version":4}"#, vec![&classic, &one, &two], true),
            // Its parts are not all there, or are not what it says.
            (r#"{"version":4,"parts":2}"#, vec![&one], false),
            (r#"{"version":4,"parts":2}"#, vec![&classic], false),
            (r#"{"version":4}"#, vec![&one, &two], false),
            (r#"{"version":9}"#, vec![&classic], false),
            (r#"{"version":4}"#, vec![&commit], false),
        ] {
            let listing = log(&files.iter().map(|name| name.as_str()).collect::<Vec<_>>());
            let parsed = Hint::parse(hint.as_bytes()).unwrap();
            assert_eq!(parsed.is_kept_by(&listing), kept, "{hint} {files:?}");
        }
    }

    #[test]
    fn what_is_no_hint_is_none() {
        for bytes in [
            &b""[..],
            b"{",
            b"\0\0",
            b"{\"size\":1}",
            b"{\"version\":\"x\"}",
        ] {
            assert_eq!(Hint::parse(bytes), None, "{bytes:?}");
        }
    }
}
