//! The order of entries in a manifest. Frozen: another order would cut other pages from the same entries.

use super::Entry;
use crate::ids::{Location, Timestamp, Version};

/// Where a log entry stands: by the version in its name, then by its location.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct LogOrder<'a> {
    // Fields in the order in which they are compared: names without a version come last.
    has_none: bool,
    version: Option<Version>,
    file: &'a Location,
}

/// Where a data entry stands: by when it was first seen modified, unknown first, then by its location.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct DataOrder<'a> {
    // Fields in the order in which they are compared.
    last_modified: Option<Timestamp>,
    file: &'a Location,
}

/// Returns the place of a log entry among log entries.
pub fn log_order(entry: &Entry) -> LogOrder<'_> {
    log_order_of(&entry.file)
}

/// Returns the place that a log file has by its location alone.
pub fn log_order_of(file: &Location) -> LogOrder<'_> {
    let version = version_in_name(file.as_str());
    LogOrder {
        has_none: version.is_none(),
        version,
        file,
    }
}

impl LogOrder<'_> {
    /// The version in the name; for a compaction the one it ends with.
    pub fn version(&self) -> Option<Version> {
        self.version
    }
}

/// Returns the place of a data entry among data entries.
pub fn data_order(entry: &Entry) -> DataOrder<'_> {
    DataOrder {
        last_modified: entry.last_modified,
        file: &entry.file,
    }
}

/// The 20 digits that the last segment begins with; the second 20 of a compaction, whose content ends there.
///
/// The name decides and not the entry's kind, so that two tools that classify a file differently still sort it
/// alike.
fn version_in_name(location: &str) -> Option<Version> {
    let name = location.rsplit_once('/').map_or(location, |(_, name)| name);
    let (first, rest) = name.split_once('.')?;
    let digits = rest.strip_suffix(".compacted.json").unwrap_or(first);
    let is_version = |text: &str| text.len() == 20 && text.bytes().all(|b| b.is_ascii_digit());
    if !is_version(first) || !is_version(digits) {
        return None;
    }
    digits.parse().ok().map(Version)
}

#[cfg(test)]
mod tests {
    use super::super::super::samples::{data_entry, log_entry};
    use super::*;

    #[test]
    fn log_entries_sort_by_version_then_name() {
        let sorted = [
            "_delta_log/00000000000000000000.crc",
            "_delta_log/00000000000000000000.json",
            "_delta_log/00000000000000000002.checkpoint.0000000001.0000000002.parquet",
            "_delta_log/00000000000000000002.checkpoint.parquet",
            "_delta_log/00000000000000000002.json",
            // A compaction of 1 to 9 belongs to 9.
            "_delta_log/00000000000000000001.00000000000000000009.compacted.json",
            "_delta_log/00000000000000000009.json",
            "_delta_log/18446744073709551615.json",
            // Without a version, or with one that no table can reach.
            "_delta_log/0000000000000000003.json",
            "_delta_log/99999999999999999999.json",
            "_delta_log/_last_checkpoint",
            "_delta_log/_sidecars/016ae953-37a9-438e-8683-9a9a4a79a395.parquet",
        ];
        let entries: Vec<_> = sorted.iter().map(|name| log_entry(name)).collect();
        for pair in entries.windows(2) {
            assert!(log_order(&pair[0]) < log_order(&pair[1]), "{pair:?}");
        }
    }

    #[test]
    fn data_entries_sort_by_time_then_key_with_unknown_times_first() {
        let sorted = [
            data_entry("z", None),
            data_entry("b", Some("2026-01-01T00:00:00Z")),
            data_entry("c", Some("2026-01-01T00:00:00Z")),
            data_entry("a", Some("2026-01-01T00:00:00.5Z")),
        ];
        for pair in sorted.windows(2) {
            assert!(data_order(&pair[0]) < data_order(&pair[1]), "{pair:?}");
        }
    }
}
