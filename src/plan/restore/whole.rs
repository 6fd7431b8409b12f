//! Whether a snapshot is what its record says. From one that is not, something else would be put back than was taken: it has
//! right digests everywhere, and was forged or written by a faulty tool.

use crate::format::{Entry, EntryKind, Manifest, Record, Tally, Totals};
use crate::ids::{Digest, Location};

/// What was read of a snapshot, to be compared with its record.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    sums: Tally,
    /// V's commit: its SHA-256 and its size.
    commit: Option<(Digest, u64)>,
    /// The first file of a log that goes on above V.
    above: Option<String>,
}

impl Seen {
    /// Takes note of an entry of the log or of a data page, each once.
    pub fn add(&mut self, record: &Record, entry: &Entry) {
        self.sums.add(entry);
        if entry.is_above(record.version) {
            self.above.get_or_insert_with(|| entry.file.to_string());
        }
        let is_own = |file: &Location| match file {
            Location::Inside(key) => {
                key.as_str() == format!("_delta_log/{:020}.json", record.version.0)
            }
            Location::Outside(_) => false,
        };
        if entry.kind == EntryKind::Commit && is_own(&entry.file) {
            self.commit = entry.sha256.map(|sha256| (sha256, entry.size));
        }
    }

    /// Adds what was read elsewhere.
    pub fn add_sums(&mut self, sums: &Tally) {
        self.sums.add_totals(&sums.totals());
    }

    /// How all entries together differ from what the record and the manifest say.
    pub fn trouble(&self, record: &Record, manifest: &Manifest) -> Option<String> {
        let named = record.commit.as_ref().map(|it| (it.sha256, it.size));
        if named.is_some() && named != self.commit {
            let version = record.version;
            let what = format!(
                "the commit of version {version} that it holds is not the one that its record names"
            );
            return Some(what);
        }
        if let Some(above) = &self.above {
            let version = record.version;
            return Some(format!(
                "it is of version {version}, and holds {above} of a newer one"
            ));
        }
        let sums = differences(&self.sums.totals(), &manifest.totals)?;
        Some(format!(
            "what it lists is not what its manifest says: {sums}"
        ))
    }
}

/// How a record differs from its manifest, where both are of one version and one table.
pub fn unlike_manifest(record: &Record, manifest: &Manifest) -> Option<String> {
    let sums = differences(&manifest.totals, &record.totals)?;
    Some(format!(
        "its manifest does not say what its record does: {sums}"
    ))
}

/// The sums that differ: `found`, not `said`.
fn differences(found: &Totals, said: &Totals) -> Option<String> {
    let rows = |totals: &Totals| {
        let rows = totals.rows.map(|rows| rows.to_string());
        rows.unwrap_or_else(|| "unknown".to_owned())
    };
    let number = |of: fn(&Totals) -> u64| (of(found).to_string(), of(said).to_string());
    let sums = [
        ("files", number(|it| it.files)),
        ("live files", number(|it| it.live_files)),
        ("data files", number(|it| it.data_files)),
        ("absent files", number(|it| it.absent_files)),
        ("bytes", number(|it| it.bytes)),
        ("bytes of data", number(|it| it.data_bytes)),
        ("rows", (rows(found), rows(said))),
    ];
    let differing = sums.into_iter().filter(|(_, (found, said))| found != said);
    let named: Vec<String> = differing
        .map(|(what, (found, said))| format!("{found} {what}, not {said}"))
        .collect();
    (!named.is_empty()).then(|| named.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::record::CommitFile;
    use crate::format::samples::{data_entry, log_entry, record};
    use crate::ids::{ETag, Version};

    #[test]
    fn each_sum_and_the_commit_are_compared() {
        type Change = fn(&mut Totals);
        let commit = log_entry("_delta_log/00000000000000000007.json");
        let entries = [commit.clone(), data_entry("a", None)];
        let mut tally = Tally::default();
        for entry in &entries {
            tally.add(entry);
        }
        let totals = tally.totals();
        let manifest = Manifest {
            data_pages: Vec::new(),
            delta_id: "x".to_owned(),
            format: 1,
            log_pages: Vec::new(),
            totals,
            version: Version(7),
        };
        let sound = Record {
            commit: Some(CommitFile {
                etag: ETag(String::new()),
                sha256: commit.sha256.unwrap(),
                size: commit.size,
            }),
            totals,
            version: Version(7),
            ..record()
        };
        let mut seen = Seen::default();
        for entry in &entries {
            seen.add(&sound, entry);
        }
        assert_eq!(seen.trouble(&sound, &manifest), None);
        assert_eq!(unlike_manifest(&sound, &manifest), None);
        let changes: [(&str, Change); 7] = [
            (" files, not ", |it| it.files += 1),
            (" live files, not ", |it| it.live_files += 1),
            (" data files, not ", |it| it.data_files += 1),
            (" absent files, not ", |it| it.absent_files += 1),
            (" bytes, not ", |it| it.bytes += 1),
            (" bytes of data, not ", |it| it.data_bytes += 1),
            (" rows, not ", |it| {
                it.rows = it.rows.map_or(Some(1), |_| None);
            }),
        ];
        for (what, change) in changes {
            let mut other = manifest.clone();
            change(&mut other.totals);
            let troubles = [
                seen.trouble(&sound, &other),
                unlike_manifest(&sound, &other),
            ];
            for trouble in troubles {
                let trouble = trouble.unwrap();
                assert!(trouble.contains(what), "{trouble}");
                assert!(!trouble.contains(';'), "{trouble}");
            }
        }
        for (sha256, size) in [
            (Digest::of(b"another"), commit.size),
            (commit.sha256.unwrap(), commit.size + 1),
        ] {
            let mut other = sound.clone();
            other.commit = Some(CommitFile {
                etag: ETag(String::new()),
                sha256,
                size,
            });
            let trouble = seen.trouble(&other, &manifest).unwrap();
            assert!(trouble.contains("the commit of version 7"), "{trouble}");
        }
        let without = Record {
            commit: None,
            ..sound
        };
        assert_eq!(seen.trouble(&without, &manifest), None);
    }
}
