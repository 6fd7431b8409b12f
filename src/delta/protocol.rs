//! The gate: which protocols leave the rule "live files are the reconciled adds plus their vectors" as it is.
//!
//! An allow-list by name. A feature that is not known may move the list of files elsewhere, and a backup made without
//! knowing it would be a lie; writer features never change what a version consists of.

use super::LogError;

/// The newest reader version that is understood.
pub const MAX_READER_VERSION: u32 = 3;

/// Reader features under which the closure of a version is what this module computes.
pub const READER_FEATURES: &[&str] = &[
    "catalogManaged",
    "catalogOwned",
    "catalogOwned-preview",
    "collations",
    "collations-preview",
    "columnMapping",
    "deletionVectors",
    "geoType",
    "geospatial",
    "geospatial-preview",
    "materializePartitionColumns",
    // A type alone, as `timestampNtz`.
    "timestampNanos",
    "timestampNtz",
    // Another name of `timestampNtz`, which some writers put into tables: delta-kernel-rs#2557.
    "timestampWithoutTimezone",
    "typeWidening",
    "typeWidening-preview",
    "v2Checkpoint",
    "vacuumProtocolCheck",
    "variantShredding",
    "variantShredding-preview",
    "variantType",
    "variantType-preview",
];

/// What the table asks of its readers and writers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Protocol {
    /// The version that a reader must implement.
    pub min_reader_version: u32,
    /// The version that a writer must implement; 0 where the log does not say.
    pub min_writer_version: u32,
    /// Features that a reader must know.
    pub reader_features: Vec<String>,
    /// Features that a writer must know.
    pub writer_features: Vec<String>,
}

impl Protocol {
    /// Whether the table's commits may say with authority when they were made. Without the feature `commitInfo` is free
    /// text, and a field of it that is called `inCommitTimestamp` means nothing.
    pub fn has_in_commit_timestamps(&self) -> bool {
        have_in_commit_timestamps(&self.writer_features)
    }
}

/// Whether in-commit timestamps are among the writer features.
pub(crate) fn have_in_commit_timestamps(features: &[String]) -> bool {
    let mut features = features.iter();
    features.any(|feature| IN_COMMIT_TIMESTAMPS.contains(&feature.as_str()))
}

/// The writer feature of in-commit timestamps, and its name while it was a preview.
const IN_COMMIT_TIMESTAMPS: &[&str] = &["inCommitTimestamp", "inCommitTimestamp-preview"];

/// Makes sure that every reader feature is one that leaves the closure as it is.
///
/// # Errors
/// [`LogError::UnknownReaderFeature`] naming all that are unknown, [`LogError::UnsupportedReaderVersion`].
pub fn check_protocol(protocol: &Protocol) -> Result<(), LogError> {
    let mut features: Vec<_> = protocol
        .reader_features
        .iter()
        .filter(|feature| !READER_FEATURES.contains(&feature.as_str()))
        .cloned()
        .collect();
    if !features.is_empty() {
        features.sort();
        return Err(LogError::UnknownReaderFeature { features });
    }
    if protocol.min_reader_version > MAX_READER_VERSION {
        return Err(LogError::UnsupportedReaderVersion {
            version: protocol.min_reader_version,
            newest_known: MAX_READER_VERSION,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn protocol(min_reader_version: u32, features: &[&str]) -> Protocol {
        Protocol {
            min_reader_version,
            min_writer_version: 7,
            reader_features: features.iter().map(ToString::to_string).collect(),
            writer_features: vec!["invented".to_owned()],
        }
    }

    #[test]
    fn known_features_pass_and_unknown_writer_features_do_not_matter() {
        check_protocol(&protocol(1, &[])).unwrap();
        check_protocol(&protocol(3, READER_FEATURES)).unwrap();
    }

    #[test]
    fn all_unknown_reader_features_are_named_in_order() {
        let error = check_protocol(&protocol(
            9,
            &["zebra", "deletionVectors", "adaptiveMetadata"],
        ))
        .unwrap_err();
        assert_eq!(
            error.to_string(),
            "unknown reader features: adaptiveMetadata, zebra"
        );
    }

    #[test]
    fn of_many_unknown_features_eight_are_named() {
        let names: Vec<_> = ('a'..='k').map(String::from).collect();
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        let error = check_protocol(&protocol(3, &names)).unwrap_err();
        let text = "unknown reader features: a, b, c, d, e, f, g, h and 3 more";
        assert_eq!(error.to_string(), text);
    }

    #[test]
    fn in_commit_timestamps_count_by_the_writer_feature_alone() {
        let with = |features: &[&str]| Protocol {
            writer_features: features.iter().map(ToString::to_string).collect(),
            ..protocol(3, &["inCommitTimestamp"])
        };
        assert!(!with(&["invented"]).has_in_commit_timestamps());
        assert!(!with(&["inCommitTimestamps", "rowTracking"]).has_in_commit_timestamps());
        assert!(with(&["rowTracking", "inCommitTimestamp"]).has_in_commit_timestamps());
        assert!(with(&["inCommitTimestamp-preview"]).has_in_commit_timestamps());
    }

    #[test]
    fn reader_version_past_the_newest_is_refused() {
        let error = check_protocol(&protocol(4, &[])).unwrap_err();
        assert!(matches!(
            error,
            LogError::UnsupportedReaderVersion {
                version: 4,
                newest_known: 3
            }
        ));
    }
}
