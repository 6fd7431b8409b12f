//! Whether an error may be gone a moment later.

use super::Error;

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
}

#[cfg(test)]
mod tests {
    use crate::store::{StoreError, StoreErrorKind};

    use super::*;

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
}
