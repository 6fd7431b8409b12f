//! What a snapshot does not hold, although it is part of the table: reported with a table's first snapshot, and again
//! by a restore that cannot bring it back.
//!
//! By the record alone: the protocol's features, and those of the table's properties that matter here.

use std::collections::BTreeMap;

use crate::format::{Record, Scope};

/// Whether Delta writes a change feed.
const CHANGE_FEED: &str = "delta.enableChangeDataFeed";

/// The other formats that an engine writes metadata of beside the log: `iceberg`, `hudi`.
const UNIFORM: &str = "delta.universalFormat.enabledFormats";

/// Whether an engine keeps manifests for readers that know no Delta.
const SYMLINKS: &str = "delta.compatibility.symlinkFormatManifest.enabled";

/// A property's value is cut after this many characters: the table's writer chooses it.
const LONGEST_VALUE: usize = 60;

/// One thing that is not held.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unheld {
    /// Versions below V, and what they need.
    OlderVersions,
    /// The change data feed.
    ChangeFeed,
    /// The metadata of other formats.
    Uniform {
        /// Which formats.
        formats: String,
    },
    /// Manifests for readers that know no Delta.
    SymlinkManifests,
    /// What S3 keeps with an object besides its bytes.
    ObjectAttributes,
    /// Commits that only the catalog knows.
    CatalogCommits,
}

/// The properties of a table that a record keeps.
pub fn noted_properties(properties: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let printable = |value: &String| {
        let printable = value.chars().filter(|c| !c.is_control());
        printable.take(LONGEST_VALUE).collect()
    };
    let noted = [CHANGE_FEED, UNIFORM, SYMLINKS].into_iter();
    noted
        .filter_map(|name| Some((name.to_owned(), printable(properties.get(name)?))))
        .collect()
}

/// Whether the table's catalog, and not its log, decides what is committed.
pub fn is_catalog_managed(record: &Record) -> bool {
    let features = &record.protocol;
    let mut features = features
        .reader_features
        .iter()
        .chain(&features.writer_features);
    features.any(|feature| {
        [
            "catalogManaged",
            "catalogOwned",
            "coordinatedCommits",
            "managedCommit",
        ]
        .iter()
        .any(|known| feature.starts_with(known))
    })
}

/// What the snapshot of a record does not hold.
pub fn unheld(record: &Record) -> Vec<Unheld> {
    let property = |name: &str| record.properties.get(name).map(String::as_str);
    let is_on = |name: &str| property(name).is_some_and(|value| value.eq_ignore_ascii_case("true"));
    let live = record.scope == Scope::Live;
    let mut unheld = Vec::new();
    if live && record.version.0 > 0 {
        unheld.push(Unheld::OlderVersions);
    }
    if live && is_on(CHANGE_FEED) {
        unheld.push(Unheld::ChangeFeed);
    }
    if let Some(formats) = property(UNIFORM).filter(|formats| !formats.trim().is_empty()) {
        let formats = formats.to_owned();
        unheld.push(Unheld::Uniform { formats });
    }
    if is_on(SYMLINKS) {
        unheld.push(Unheld::SymlinkManifests);
    }
    if record.table.uri.starts_with("s3:") {
        unheld.push(Unheld::ObjectAttributes);
    }
    if is_catalog_managed(record) {
        unheld.push(Unheld::CatalogCommits);
    }
    unheld
}

/// Those that were not reported for the record before, if that was of the same table.
pub fn newly_unheld(record: &Record, before: Option<&Record>) -> Vec<Unheld> {
    let same = before.filter(|before| before.table.delta_id == record.table.delta_id);
    let told = same.map_or_else(Vec::new, unheld);
    let now = unheld(record).into_iter();
    now.filter(|it| {
        // New versions make older ones: that is not worth reporting.
        let expected = *it == Unheld::OlderVersions && same.is_some_and(has_live_scope);
        !(expected || told.contains(it))
    })
    .collect()
}

fn has_live_scope(record: &Record) -> bool {
    record.scope == Scope::Live
}

impl Unheld {
    /// A word for scripts.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::OlderVersions => "older-versions",
            Self::ChangeFeed => "change-feed",
            Self::Uniform { .. } => "uniform",
            Self::SymlinkManifests => "symlink-manifests",
            Self::ObjectAttributes => "object-attributes",
            Self::CatalogCommits => "catalog-commits",
        }
    }

    /// What it is, as a noun.
    pub fn what(&self) -> String {
        match self {
            Self::OlderVersions => "older versions".to_owned(),
            Self::ChangeFeed => "the change feed".to_owned(),
            Self::Uniform { formats } => format!("UniForm metadata ({formats})"),
            Self::SymlinkManifests => "symlink manifests".to_owned(),
            Self::ObjectAttributes => "tags and user metadata of S3 objects".to_owned(),
            Self::CatalogCommits => "commits that only the catalog has".to_owned(),
        }
    }

    /// What follows from it, and what can be done.
    pub fn advice(&self) -> &'static str {
        match self {
            Self::OlderVersions => {
                "`scope = \"history\"` holds those that the log can still rebuild"
            }
            Self::ChangeFeed => "it is on; `scope = \"history\"` holds it",
            Self::Uniform { .. } => {
                "the engine writes it again with the next commit after a restore"
            }
            Self::SymlinkManifests => {
                "after a restore run GENERATE symlink_format_manifest FOR TABLE"
            }
            Self::ObjectAttributes => "restored objects have none",
            Self::CatalogCommits => "the snapshot may lag behind the catalog",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::samples;
    use crate::ids::Version;

    fn record(scope: Scope, uri: &str, properties: &[(&str, &str)], features: &[&str]) -> Record {
        let mut record = samples::record();
        record.version = Version(3);
        record.scope = scope;
        record.table.uri = uri.to_owned();
        let properties = properties.iter();
        record.properties = properties
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        record.protocol.reader_features = Vec::new();
        record.protocol.writer_features = features.iter().map(|it| (*it).to_owned()).collect();
        record
    }

    #[test]
    fn what_is_not_held_follows_from_properties_features_scope_and_place() {
        let (live, history) = (Scope::Live, Scope::History);
        let local = |scope, properties: &[_]| record(scope, "file:///t", properties, &[]);
        let feed = (CHANGE_FEED, "TRUE");
        let both = [(UNIFORM, "iceberg"), (SYMLINKS, "true")];
        let catalog = record(history, "file:///t", &[], &["catalogOwned-preview"]);
        let on_s3 = record(history, "s3://b/t", &[], &[]);
        for (record, expected) in [
            (local(live, &[]), "older-versions"),
            (local(history, &[]), ""),
            (local(live, &[feed]), "older-versions change-feed"),
            (local(history, &[feed]), ""),
            (local(history, &[(CHANGE_FEED, "false")]), ""),
            (on_s3, "object-attributes"),
            (local(history, &both), "uniform symlink-manifests"),
            (local(history, &[(UNIFORM, " ")]), ""),
            (catalog, "catalog-commits"),
        ] {
            let words: Vec<_> = unheld(&record).iter().map(Unheld::as_str).collect();
            assert_eq!(words.join(" "), expected, "{:?}", record.properties);
        }
    }

    #[test]
    fn it_is_told_once_and_again_when_something_comes_to_it() {
        let first = record(Scope::Live, "s3://b/t", &[], &[]);
        let told = |now: &Record, before| -> Vec<&str> {
            let newly = newly_unheld(now, before);
            newly.iter().map(Unheld::as_str).collect()
        };
        assert_eq!(told(&first, None), ["older-versions", "object-attributes"]);
        assert_eq!(told(&first, Some(&first)), [] as [&str; 0]);
        let mut at_zero = first.clone();
        at_zero.version = Version(0);
        assert_eq!(told(&first, Some(&at_zero)), [] as [&str; 0]);
        let fed = record(Scope::Live, "s3://b/t", &[(CHANGE_FEED, "true")], &[]);
        assert_eq!(told(&fed, Some(&first)), ["change-feed"]);
        assert_eq!(told(&first, Some(&fed)), [] as [&str; 0]);
        let mut another = first.clone();
        another.table.delta_id = "another".to_owned();
        assert_eq!(
            told(&another, Some(&first)),
            ["older-versions", "object-attributes"]
        );
        let all = record(Scope::History, "s3://b/t", &[], &[]);
        assert_eq!(told(&first, Some(&all)), ["older-versions"]);
    }

    #[test]
    fn of_a_tables_properties_only_those_that_matter_are_kept_and_none_is_long() {
        let long = format!("iceberg\u{1b}[2J{}", "x".repeat(1000));
        let all = [("a", "b"), (UNIFORM, &long), (CHANGE_FEED, "true")];
        let all = all.into_iter();
        let noted = noted_properties(&all.map(|(n, v)| (n.to_owned(), v.to_owned())).collect());
        assert_eq!(noted.len(), 2);
        assert_eq!(noted[UNIFORM].chars().count(), LONGEST_VALUE);
        assert!(noted[UNIFORM].starts_with("iceberg[2J"));
    }
}
