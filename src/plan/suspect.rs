//! Which version did the damage: what each version of a live table did to its rows, and which of them look wrong.
//!
//! A version is suspect when the table lost at least half of its rows (or, where nobody counted rows, of its files)
//! by it, or when it overwrote at least half of them in a table that is not usually overwritten. A loss stays suspect
//! until the table has nearly all that it had before: new rows alone do not clear it soon. A RESTORE above it that
//! brought the rows back clears both.

use crate::plan::restore::LiveVersion;

/// Operations that rewrite files and leave every row as it was.
const REWRITES: [&str; 4] = ["OPTIMIZE", "REORG", "CLUSTER", "VACUUM"];

/// Operations that put new content in the place of the old.
const REPLACES: [&str; 3] = ["OVERWRITE", "REPLACE", "CREATE OR REPLACE"];

/// Operations that only take rows out.
const REMOVES: [&str; 2] = ["DELETE", "TRUNCATE"];

/// The name of an operation as people know it: a `WRITE` in mode `Overwrite` is an `OVERWRITE`.
pub fn operation_name(operation: &str, mode: Option<&str>) -> String {
    match (operation, mode) {
        ("WRITE" | "STREAMING UPDATE", Some(mode)) if mode.eq_ignore_ascii_case("overwrite") => {
            "OVERWRITE".to_owned()
        }
        ("STREAMING UPDATE", Some(mode)) if mode.eq_ignore_ascii_case("complete") => {
            "OVERWRITE".to_owned()
        }
        ("WRITE", Some(mode)) if mode.eq_ignore_ascii_case("append") => "APPEND".to_owned(),
        _ => operation.to_owned(),
    }
}

/// Whether a version is a part of a VACUUM; engines name its commits `VACUUM START` and `VACUUM END`.
pub fn is_vacuum(version: &LiveVersion) -> bool {
    is_one_of(version, &["VACUUM"])
}

/// Whether an operation rewrites files and leaves every row as it was.
pub fn is_rewrite(operation: &str) -> bool {
    REWRITES
        .iter()
        .any(|rewrite| operation.starts_with(rewrite))
}

/// Whether a version took rows out and put none in, by its operation.
pub fn is_removal(version: &LiveVersion) -> bool {
    is_one_of(version, &REMOVES)
}

fn is_replacement(version: &LiveVersion) -> bool {
    is_one_of(version, &REPLACES)
}

fn is_one_of(version: &LiveVersion, beginnings: &[&str]) -> bool {
    version.operation.as_deref().is_some_and(|operation| {
        beginnings
            .iter()
            .any(|beginning| operation.starts_with(beginning))
    })
}

/// Whether a version changed what a reader sees, as far as its operation and files tell.
fn changes_rows(version: &LiveVersion) -> bool {
    let operation = version.operation.as_deref();
    !operation.is_some_and(is_rewrite) && version.files_added + version.files_removed > 0
}

/// The suspect versions of a table, newest first, as indices into `versions`, which are newest first and without
/// gaps as far as they go.
pub fn suspects(versions: &[LiveVersion]) -> Vec<usize> {
    let changing = || versions.iter().filter(|version| changes_rows(version));
    let overwritten = changing().filter(|version| is_replacement(version)).count();
    // A table that every job overwrites is not suspect for it.
    let usual = overwritten * 2 > changing().count();
    let mut found = Vec::new();
    // The sizes that the table has reached above the version that is looked at.
    let mut best = Size::default();
    // And those that a RESTORE brought back.
    let mut restored = Size::default();
    for (index, version) in versions.iter().enumerate() {
        let after = Size::after(version);
        best = best.or_more(after);
        let before = Size::before(version);
        let lost_half = before.at_least_twice(after);
        let replaced = is_replacement(version) && !usual && removes_half(version, before);
        let recovered = lost_half && best.is_nearly(before);
        let taken_back = restored.is_nearly(before);
        if changes_rows(version) && !taken_back && ((lost_half && !recovered) || replaced) {
            found.push(index);
        }
        if is_one_of(version, &["RESTORE"]) {
            restored = restored.or_more(after);
        }
    }
    found
}

/// Rows and logical files of a table, where they are known.
#[derive(Debug, Clone, Copy, Default)]
struct Size {
    rows: Option<u64>,
    files: Option<u64>,
}

impl Size {
    fn after(version: &LiveVersion) -> Self {
        Self {
            rows: version.rows_after,
            files: version.files_after,
        }
    }

    fn before(version: &LiveVersion) -> Self {
        let back = |after: Option<u64>, change: Option<i64>| {
            let change = change?.checked_neg()?;
            after?.checked_add_signed(change)
        };
        let files = i64::try_from(version.files_added)
            .ok()
            .zip(i64::try_from(version.files_removed).ok())
            .map(|(added, removed)| added - removed);
        Self {
            rows: back(version.rows_after, version.rows),
            files: back(version.files_after, files),
        }
    }

    fn or_more(self, other: Self) -> Self {
        Self {
            rows: self.rows.max(other.rows),
            files: self.files.max(other.files),
        }
    }

    /// Whether `self` is not empty and at least twice `other`: by rows, and by files only where rows are not known.
    fn at_least_twice(self, other: Self) -> bool {
        let twice = |more: u64, less: u64| more > 0 && less <= more / 2;
        match (self.rows, other.rows, self.files, other.files) {
            (Some(more), Some(less), _, _) | (_, _, Some(more), Some(less)) => twice(more, less),
            _ => false,
        }
    }

    /// Whether `self` has at least nine tenths of `before`: by rows, and by files only where rows are not known.
    fn is_nearly(self, before: Self) -> bool {
        let nearly = |now: u64, before: u64| now >= before - before / 10;
        match (self.rows, before.rows, self.files, before.files) {
            (Some(now), Some(before), _, _) | (_, _, Some(now), Some(before)) => {
                nearly(now, before)
            }
            _ => false,
        }
    }
}

/// Whether a version took out at least half of what was there, whatever it put in.
fn removes_half(version: &LiveVersion, before: Size) -> bool {
    match (version.rows_removed, before.rows, before.files) {
        (Some(removed), Some(before), _) => before > 0 && removed >= before.div_ceil(2),
        (_, _, Some(before)) => before > 0 && version.files_removed >= before.div_ceil(2),
        _ => false,
    }
}

/// The version above the one that is wanted that is the likely reason for wanting it back: the newest suspect one,
/// else the one that took out most. `versions` are newest first.
pub fn cause(versions: &[LiveVersion]) -> Option<&LiveVersion> {
    if let Some(version) = suspects(versions)
        .first()
        .and_then(|index| versions.get(*index))
    {
        return Some(version);
    }
    let removing = versions.iter().filter(|version| {
        changes_rows(version) && (is_removal(version) || is_replacement(version))
    });
    removing.max_by_key(|version| (version.rows_removed, version.files_removed))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Version;

    /// A history, oldest first: operation, rows in, rows out; a file for each row.
    fn history(steps: &[(&str, u64, u64)]) -> Vec<LiveVersion> {
        let mut rows = 0;
        let mut versions: Vec<LiveVersion> = (0..)
            .zip(steps)
            .map(|(version, (operation, added, removed))| {
                rows = rows + added - removed;
                LiveVersion {
                    operation: Some((*operation).to_owned()),
                    rows: Some(added.cast_signed() - removed.cast_signed()),
                    rows_removed: Some(*removed),
                    rows_after: Some(rows),
                    files_added: *added,
                    files_removed: *removed,
                    files_after: Some(rows),
                    ..LiveVersion::unread(Version(version))
                }
            })
            .collect();
        versions.reverse();
        versions
    }

    /// The same without any count of rows.
    fn without_rows(steps: &[(&str, u64, u64)]) -> Vec<LiveVersion> {
        let versions = history(steps).into_iter();
        versions
            .map(|version| LiveVersion {
                rows: None,
                rows_removed: None,
                rows_after: None,
                ..version
            })
            .collect()
    }

    fn named(versions: &[LiveVersion]) -> Vec<u64> {
        let found = suspects(versions);
        found
            .iter()
            .map(|index| versions[*index].version.0)
            .collect()
    }

    const APPENDS: [(&str, u64, u64); 3] =
        [("APPEND", 10, 0), ("APPEND", 10, 0), ("MERGE", 12, 10)];

    fn then(more: &[(&'static str, u64, u64)]) -> Vec<(&'static str, u64, u64)> {
        APPENDS.iter().chain(more).copied().collect()
    }

    #[test]
    fn a_version_that_removes_most_rows_is_suspect_whatever_it_is_called() {
        for operation in [
            "DELETE",
            "TRUNCATE",
            "MERGE",
            "OVERWRITE",
            "REPLACE TABLE",
            "RESTORE",
            "?",
        ] {
            let steps = then(&[(operation, 0, 15), ("APPEND", 2, 0)]);
            assert_eq!(named(&history(&steps)), [3], "{operation}");
            assert_eq!(named(&without_rows(&steps)), [3], "{operation} by files");
        }
        assert_eq!(
            named(&history(&then(&[("DELETE", 0, 8)]))),
            [0_u64; 0],
            "less than half"
        );
    }

    #[test]
    fn an_overwrite_by_as_many_rows_is_suspect_unless_the_table_lives_by_overwrites() {
        let garbage = then(&[("OVERWRITE", 20, 22), ("APPEND", 2, 0)]);
        assert_eq!(named(&history(&garbage)), [3]);
        let refreshed = [
            ("CREATE", 10, 0),
            ("OVERWRITE", 11, 10),
            ("OVERWRITE", 12, 11),
            ("OVERWRITE", 12, 12),
        ];
        assert_eq!(named(&history(&refreshed)), [0_u64; 0]);
        let emptied = [&refreshed[..], &[("OVERWRITE", 1, 12)]].concat();
        assert_eq!(named(&history(&emptied)), [4]);
    }

    #[test]
    fn what_leaves_the_rows_as_they_were_is_not_suspect() {
        for operation in ["OPTIMIZE", "REORG", "VACUUM END"] {
            let steps = then(&[(operation, 1, 22)]);
            assert_eq!(named(&without_rows(&steps)), [0_u64; 0], "{operation}");
        }
        let updated = then(&[("UPDATE", 22, 22)]);
        assert_eq!(named(&history(&updated)), [0_u64; 0]);
    }

    #[test]
    fn rows_that_came_back_clear_the_version_that_lost_them() {
        let mended = then(&[("DELETE", 0, 22), ("RESTORE", 22, 0), ("APPEND", 1, 0)]);
        assert_eq!(named(&history(&mended)), [0_u64; 0]);
        let grown = then(&[("DELETE", 0, 22), ("APPEND", 5, 0), ("APPEND", 10, 0)]);
        assert_eq!(
            named(&history(&grown)),
            [3],
            "new rows are not the old ones"
        );
        let again = then(&[("DELETE", 0, 22), ("RESTORE", 22, 0), ("OVERWRITE", 1, 22)]);
        assert_eq!(named(&history(&again)), [5]);
        // As many rows appended are other rows.
        for (operation, suspect) in [("RESTORE", None), ("APPEND", Some(3))] {
            let replaced = then(&[("OVERWRITE", 22, 22), (operation, 22, 22), ("APPEND", 1, 0)]);
            assert_eq!(named(&history(&replaced)).first().copied(), suspect);
        }
    }

    #[test]
    fn the_cause_is_the_newest_suspect_or_what_removed_most() {
        let cause_of =
            |steps: &[(&str, u64, u64)]| cause(&history(steps)).map(|version| version.version.0);
        assert_eq!(
            cause_of(&then(&[("OVERWRITE", 1, 22), ("APPEND", 1, 0)])),
            Some(3)
        );
        let partition = then(&[("DELETE", 0, 3), ("APPEND", 1, 0), ("DELETE", 0, 1)]);
        assert_eq!(cause_of(&partition), Some(3), "the larger of two");
        assert_eq!(
            cause_of(&then(&[("VACUUM END", 0, 0), ("APPEND", 1, 0)])),
            None
        );
        assert_eq!(cause_of(&APPENDS), None);
    }

    #[test]
    fn operations_are_named_as_people_know_them() {
        for (operation, mode, name) in [
            ("WRITE", Some("Overwrite"), "OVERWRITE"),
            ("WRITE", Some("Append"), "APPEND"),
            ("WRITE", None, "WRITE"),
            ("STREAMING UPDATE", Some("Complete"), "OVERWRITE"),
            ("STREAMING UPDATE", Some("Append"), "STREAMING UPDATE"),
            (
                "CREATE OR REPLACE TABLE AS SELECT",
                Some("Append"),
                "CREATE OR REPLACE TABLE AS SELECT",
            ),
        ] {
            assert_eq!(operation_name(operation, mode), name);
        }
    }
}
