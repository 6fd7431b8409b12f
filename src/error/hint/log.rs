//! What to do about a log that cannot be read: each hint says whether it is damaged, or beyond this tool, and names a
//! snapshot only where the vault holds one.

use crate::delta::LogError;
use crate::delta::path::PathError;
use crate::error::HeldSnapshot;
use crate::shell::operand;

/// This tool, by its version.
const TOOL: &str = concat!("deltavault ", env!("CARGO_PKG_VERSION"));

/// What is known of the snapshots of the table whose log it is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Known<'a> {
    /// Nothing: the command did not look.
    Nothing,
    /// The newest one; `None` when the vault holds none.
    Newest(&'a str, Option<&'a HeldSnapshot>),
}

/// What to do about a log that cannot be read.
pub(super) fn log_hint(error: &LogError, known: Known<'_>) -> String {
    match error {
        LogError::NoLog { .. } => {
            let table = match known {
                Known::Newest(table, _) => operand(table),
                Known::Nothing => "TABLE".into(),
            };
            format!(
                "name the table's root folder, the one that holds _delta_log/; if it was dropped, `deltavault restore {table}`"
            )
        }
        LogError::NoSuchVersion { .. } => "choose a version that the log has".into(),
        LogError::FarFuture {
            version,
            last_before,
            can_be_rebuilt: true,
        } => format!(
            "if {version} is the table's newest version, run again with --accept-tip {version}; if its files \
             (_delta_log/{version:020}.*) were put there by mistake, with --accept-tip {last_before}"
        ),
        LogError::FarFuture {
            version,
            last_before,
            can_be_rebuilt: false,
        } => format!(
            "no reader can open the table while _delta_log/{version:020}.* is there without the versions before it; \
             --accept-tip {last_before} takes version {last_before} as the newest"
        ),
        LogError::UnknownReaderFeature { .. } | LogError::UnsupportedReaderVersion { .. } => {
            format!(
                "this is {TOOL}: use a version that knows it; a copy made without that could miss files"
            )
        }
        LogError::Sort(_) | LogError::Read { .. } => super::SCRATCH.into(),
        LogError::ValueTooLong { limit, .. } => format!(
            "that is a limit of {TOOL}, not a fault of the table: it reads actions of up to {} MiB. Let the table's \
             writer make a checkpoint and one more commit, so that newer versions do not need this file, and run \
             again",
            limit / (1024 * 1024)
        ),
        LogError::Path { source, .. } => path_hint(source, known),
        LogError::CheckpointUnreadable { .. } | LogError::MissingColumn { .. } => format!(
            "where readers open the table, this checkpoint is beyond {TOOL}: let its writer make another one. Where they \
             do not, it is damaged{}",
            bring_back(known)
        ),
        LogError::Gap { first_missing, .. } => {
            let before = first_missing.0.checked_sub(1);
            let stray = before.map_or_else(String::new, |before| {
                format!(
                    "; where what stands above version {before} was put there by mistake, take it out of the log, or pass \
                     --accept-tip {before} to `snapshot`"
                )
            });
            format!("the table's log is damaged{}{stray}", bring_back(known))
        }
        LogError::TornCheckpoint { .. }
        | LogError::NoProtocol { .. }
        | LogError::NoMetadata { .. }
        | LogError::BadJson { .. }
        | LogError::NotUtf8 { .. }
        | LogError::BadAction { .. }
        | LogError::BadNumber { .. }
        | LogError::FileTooLarge { .. }
        | LogError::StateTooLarge { .. }
        | LogError::MissingSidecar { .. }
        | LogError::MissingSize { .. }
        | LogError::BadVector { .. }
        | LogError::OutOfOrder { .. } => format!("the table's log is damaged{}", bring_back(known)),
    }
}

fn path_hint(error: &PathError, known: Known<'_>) -> String {
    match error {
        PathError::NotUtf8 { .. } => format!(
            "that is a limit of {TOOL}: like S3, it holds only files whose names are UTF-8. Rewrite that file under \
             another name (OPTIMIZE does), and run again"
        ),
        PathError::VectorStorage { .. } => format!(
            "{TOOL} knows the storage types u, i and p: use a newer one; a copy made without the vector's file would \
             bring deleted rows back"
        ),
        PathError::NotAKey { .. }
        | PathError::Reserved { .. }
        | PathError::ClimbsOut { .. }
        | PathError::RelativeRoot { .. }
        | PathError::VectorName { .. } => {
            format!("the table's log is damaged{}", bring_back(known))
        }
    }
}

/// How what is damaged comes back, as far as the vault can help.
fn bring_back(known: Known<'_>) -> String {
    let elsewhere =
        "bring what is named back from another copy or an older object version, and run again";
    match known {
        Known::Nothing => {
            format!(": {elsewhere}; `deltavault snapshots` lists what the vault holds of it")
        }
        Known::Newest(table, Some(HeldSnapshot { id, version })) => format!(
            ": {elsewhere}; or put version {version} back, which the vault holds: `deltavault restore {} --snapshot \
             {}`",
            operand(table),
            id.short()
        ),
        Known::Newest(_, None) => {
            format!(", and the vault holds no snapshot of the table yet: {elsewhere}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Digest, SnapshotId, Version};

    fn bad_json() -> LogError {
        LogError::BadJson {
            file: "3.json".to_owned(),
            line: 3,
            byte: 7,
            detail: "EOF".to_owned(),
        }
    }

    #[test]
    fn a_snapshot_is_named_only_where_there_is_one() {
        let held = HeldSnapshot {
            id: SnapshotId(Digest::of(b"x")),
            version: Version(7),
        };
        let hint = |known| log_hint(&bad_json(), known);
        let with = hint(Known::Newest("orders", Some(&held)));
        assert!(with.contains("put version 7 back"), "{with}");
        assert!(
            with.contains("restore orders --snapshot 2d711642"),
            "{with}"
        );
        let without = hint(Known::Newest("orders", None));
        assert!(without.contains("holds no snapshot"), "{without}");
        assert!(!without.contains("restore"), "{without}");
        assert!(hint(Known::Nothing).contains("deltavault snapshots"));
    }

    #[test]
    fn a_limit_and_a_feature_are_called_so_and_never_damage() {
        let path = |source| LogError::Path {
            file: "3.json".to_owned(),
            line: Some(1),
            source,
        };
        for error in [
            LogError::ValueTooLong {
                file: "3.json".to_owned(),
                line: 1,
                limit: 64 << 20,
            },
            path(PathError::NotUtf8 {
                path: "%E9".to_owned(),
            }),
            path(PathError::VectorStorage {
                storage: "x".to_owned(),
            }),
            LogError::UnknownReaderFeature {
                features: vec!["x".to_owned()],
            },
            LogError::UnsupportedReaderVersion {
                version: 4,
                newest_known: 3,
            },
        ] {
            let hint = log_hint(&error, Known::Nothing);
            assert!(!hint.contains("damaged"), "{error}: {hint}");
            assert!(hint.contains(TOOL), "{error}: {hint}");
        }
        assert!(log_hint(&bad_json(), Known::Nothing).contains("damaged"));
    }

    #[test]
    fn a_lone_version_asks_and_never_for_a_deletion() {
        for can_be_rebuilt in [true, false] {
            let error = LogError::FarFuture {
                version: Version(9999),
                last_before: Version(2),
                can_be_rebuilt,
            };
            let hint = log_hint(&error, Known::Nothing);
            assert!(hint.contains("--accept-tip 2"), "{hint}");
            assert_eq!(hint.contains("--accept-tip 9999"), can_be_rebuilt, "{hint}");
            assert!(
                !hint.contains("remove") && !hint.contains("delete"),
                "{hint}"
            );
        }
    }
}
