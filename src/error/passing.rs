//! Whether an error may be gone a moment later, or once the table has the machine to itself.

use super::Error;
use crate::delta::LogError;
use crate::sort::is_disk_full;
use crate::store::StoreErrorKind;

impl Error {
    /// Whether the same command may do better a moment later, although nobody does anything about it: what a store, a
    /// network or a busy table did not allow just now. Whatever somebody has to mend is not passing.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "an error is for somebody to mend unless it is known better"
    )]
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Store(error) => !error.is_permanent(),
            Self::LockRefused { source, .. } => !source.is_permanent(),
            Self::HoldsUnread { source, .. } => source.is_passing(),
            // Others write to the table, or the run took too long for what it built on.
            Self::SourceMoving { .. } | Self::TookTooLong { .. } => true,
            _ => false,
        }
    }

    /// Whether the temporary folder was full. The same command may do better when it has the folder to itself.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "only what writes temporary files can lack room for them"
    )]
    pub fn lacks_scratch_space(&self) -> bool {
        match self {
            Self::Scratch(error) => is_disk_full(error),
            Self::Store(error) => matches!(error.kind, StoreErrorKind::NoScratchSpace),
            Self::Sort(error) | Self::Log(LogError::Sort(error)) => error.is_of_a_full_disk(),
            Self::LogUnreadable { source, .. } => {
                matches!(&**source, LogError::Sort(error) if error.is_of_a_full_disk())
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::sort::SortError;
    use crate::store::StoreError;

    #[test]
    fn only_what_nobody_has_to_mend_is_passing() {
        let store = |kind| StoreError {
            action: "read",
            uri: "s3://lake/a.parquet".to_owned(),
            kind,
        };
        let detail = || "the server answered 499 ClientDisconnected".to_owned();
        for kind in [
            StoreErrorKind::Interrupted,
            StoreErrorKind::Io { detail: detail() },
            StoreErrorKind::Unreachable {
                service: "http://minio:9000".to_owned(),
                detail: detail(),
            },
        ] {
            assert!(Error::Store(store(kind.clone())).is_passing(), "{kind:?}");
            let locked = Error::LockRefused {
                object: "blobs/a".to_owned(),
                until: crate::ids::Timestamp::UNIX_EPOCH,
                source: Box::new(store(kind)),
            };
            assert!(locked.is_passing());
        }
        for kind in [
            StoreErrorKind::NotFound,
            StoreErrorKind::NoBucket,
            StoreErrorKind::NoSpace,
            StoreErrorKind::Denied { detail: detail() },
            StoreErrorKind::Credentials { detail: detail() },
            StoreErrorKind::Unsupported { reason: detail() },
        ] {
            assert!(!Error::Store(store(kind.clone())).is_passing(), "{kind:?}");
            assert!(!Error::Store(store(kind)).lacks_scratch_space());
        }
        let gone = Error::SourceFileMissing {
            table: "orders".to_owned(),
            version: crate::ids::Version(7),
            files: vec!["a.parquet".to_owned()],
            held: None,
            lost: None,
        };
        assert!(!gone.is_passing());
        assert!(!Error::Interrupted.is_passing());
    }

    #[test]
    fn a_full_temporary_folder_is_known_wherever_it_was_met() {
        let full = || io::Error::from(io::ErrorKind::StorageFull);
        let sort = || SortError::Write(full());
        let met = [
            Error::Scratch(full()),
            Error::Sort(sort()),
            Error::Log(sort().into()),
            Error::LogUnreadable {
                table: "orders".to_owned(),
                held: None,
                source: Box::new(sort().into()),
            },
            Error::Store(StoreError {
                action: "read",
                uri: "s3://lake/a.parquet".to_owned(),
                kind: StoreErrorKind::NoScratchSpace,
            }),
        ];
        for error in met {
            assert!(error.lacks_scratch_space(), "{error:?}");
            assert!(!error.is_passing());
            assert!(error.hint().unwrap().contains("TMPDIR"), "{error:?}");
        }
        let denied = io::Error::from(io::ErrorKind::PermissionDenied);
        assert!(!Error::Scratch(denied).lacks_scratch_space());
    }
}
