//! Whether a file of V may be put back under a newer live table: never where a newer version uses its name for another
//! file.
//!
//! A name is enough to read a file, so bytes of V that stand under a name of a newer version are read as that version's.
//! What the log says of a file (size, modification time, place of a vector) and what newer snapshots hold tell whether
//! the newer version means V's file. Where nothing tells, a free place may be filled; bytes that are there stay.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::delta::Add;
use crate::format::{Entry, EntryKind};
use crate::ids::{Digest, Location, Version};
use crate::plan::snapshot::Span;

/// How versions of the live log use a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NameUse {
    /// The versions that do.
    pub span: Span,
    /// What they take it for.
    pub what: FileUse,
}

/// What a log takes a name for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FileUse {
    /// A data file.
    Data {
        /// Its bytes.
        size: u64,
        /// The log's `modificationTime`, milliseconds since 1970.
        modification_time: Option<i64>,
    },
    /// A file of deletion vectors, by one of those in it.
    Vector {
        /// Where the vector begins, in bytes.
        offset: Option<u64>,
        /// The vector's bytes.
        size: u64,
    },
}

impl FileUse {
    /// Whether a file of so many bytes can be what is meant: one that was cut off is nobody's.
    fn may_have(&self, bytes: u64) -> bool {
        match *self {
            Self::Data { size, .. } => bytes == size,
            Self::Vector { offset, size } => bytes >= offset.unwrap_or(0).saturating_add(size),
        }
    }
}

impl NameUse {
    /// The names that a logical file uses, with the versions in which it is live.
    pub fn of(add: Add, span: Span) -> impl Iterator<Item = (Location, Self)> {
        let vector = add.dv.and_then(|dv| {
            let what = FileUse::Vector {
                offset: dv.offset,
                size: dv.size,
            };
            Some((dv.file?, Self { span, what }))
        });
        let what = FileUse::Data {
            size: add.size,
            modification_time: add.modification_time,
        };
        std::iter::once((add.file, Self { span, what })).chain(vector)
    }

    /// The bytes of the file, where the log tells: a vector's file may hold several.
    pub fn size(&self) -> Option<u64> {
        match self.what {
            FileUse::Data { size, .. } => Some(size),
            FileUse::Vector { .. } => None,
        }
    }

    /// Whether the newest version does.
    pub fn is_newest(&self) -> bool {
        self.span.1.is_none()
    }

    /// Whether a version does.
    pub fn has(&self, version: Version) -> bool {
        let (from, until) = self.span;
        from <= version && until.is_none_or(|until| until > version)
    }

    /// Whether a version or a newer one does.
    pub fn is_from(&self, version: Version) -> bool {
        self.span.1.is_none_or(|until| until > version)
    }

    /// The first version above another one that does.
    fn first_above(&self, version: Version) -> Option<Version> {
        let (from, until) = self.span;
        let first = from.max(version.next());
        until.is_none_or(|until| until > first).then_some(first)
    }
}

/// How a newer snapshot of the same history holds a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaterCopy {
    /// The snapshot's version.
    pub version: Version,
    /// SHA-256 of the file.
    pub sha256: Digest,
    /// Its bytes.
    pub size: u64,
    /// The log's `modificationTime` of it.
    pub modification_time: Option<i64>,
}

/// Why a file of V is not put under the newer live table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameConflict {
    /// A newer version uses the name for another file.
    AnotherFile(Version),
    /// The snapshot of a newer version holds other bytes under the name.
    HeldOtherwise(Version),
    /// Other bytes are there, and nothing proves that the newer version, which uses the name, needs V's.
    Unproven(Version),
    /// The live log cannot be read, so that nobody knows what newer versions use the name for.
    LogUnread,
}

impl fmt::Display for NameConflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AnotherFile(version) => {
                write!(f, "v{version} uses that name for another file")
            }
            Self::HeldOtherwise(version) => {
                write!(f, "the snapshot of v{version} holds other bytes under that name")
            }
            Self::Unproven(version) => {
                write!(f, "other bytes are there, and v{version} may need them")
            }
            Self::LogUnread => {
                f.write_str("the live log cannot be read, and newer versions may use that name for another file")
            }
        }
    }
}

/// How surely a newer version means V's file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Likeness {
    Other,
    Alike,
    Proven,
}

/// Decides whether a file of V is put that is missing, or in whose place so many other bytes are `there`. `uses` are those
/// by the live log, `later` is how newer snapshots hold its name. Says whether the newest version needs it.
///
/// # Errors
/// Why it is not put.
pub fn judge_name(
    entry: &Entry,
    there: Option<u64>,
    version: Version,
    uses: &[NameUse],
    later: &[LaterCopy],
) -> Result<bool, NameConflict> {
    let above = |it: &NameUse| Some((it.first_above(version)?, it.clone()));
    let newer: Vec<(Version, NameUse)> = uses.iter().filter_map(above).collect();
    let likeness = |it: &NameUse| likeness(entry, version, it, uses, later);
    if let Some((first, _)) = newer.iter().find(|(_, it)| likeness(it) == Likeness::Other) {
        return Err(NameConflict::AnotherFile(*first));
    }
    if let Some(other) = later.iter().find(|it| Some(it.sha256) != entry.sha256) {
        return Err(NameConflict::HeldOtherwise(other.version));
    }
    let may_be_its_own = |it: &NameUse| there.is_some_and(|bytes| it.what.may_have(bytes));
    let unproven = |it: &NameUse| may_be_its_own(it) && likeness(it) != Likeness::Proven;
    if let Some((first, _)) = newer.iter().find(|(_, it)| unproven(it)) {
        return Err(NameConflict::Unproven(*first));
    }
    Ok(newer.iter().any(|(_, it)| it.is_newest()))
}

/// What a log says of a data file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LoggedFile {
    /// Its bytes.
    pub size: u64,
    /// Its `modificationTime`, milliseconds since 1970.
    pub time: Option<i64>,
}

impl LoggedFile {
    /// Whether nothing tells the two apart.
    pub fn is_like(self, other: Self) -> bool {
        let times = self.time.zip(other.time);
        self.size == other.size && times.is_none_or(|(one, two)| one == two)
    }
}

impl LaterCopy {
    /// Whether it is how a snapshot held the file that a log speaks of.
    fn is_of(&self, newer: &NameUse, said: LoggedFile) -> bool {
        let held = LoggedFile {
            size: self.size,
            time: self.modification_time,
        };
        said.is_like(held) && newer.has(self.version)
    }
}

fn likeness(
    entry: &Entry,
    version: Version,
    newer: &NameUse,
    uses: &[NameUse],
    later: &[LaterCopy],
) -> Likeness {
    let mut same_bytes = later.iter().filter(|it| Some(it.sha256) == entry.sha256);
    // A version that goes on to use what V used has V's file. One that came back may be another, even of the same size
    // and time: there are writers that give every file the same time.
    let goes_on = newer.has(version);
    match newer.what {
        FileUse::Data {
            size,
            modification_time: time,
        } => {
            let said = LoggedFile { size, time };
            let own = LoggedFile {
                size: entry.size,
                time: entry.modification_time,
            };
            if same_bytes.any(|it| it.is_of(newer, said)) {
                Likeness::Proven
            } else if entry.kind != EntryKind::Data || !said.is_like(own) {
                Likeness::Other
            } else if goes_on {
                Likeness::Proven
            } else {
                Likeness::Alike
            }
        }
        FileUse::Vector { offset, size } => {
            let is_other = |it: &NameUse| {
                let moved = matches!(it.what, FileUse::Vector { offset: at, size: bytes }
                    if at == offset && bytes != size);
                moved && it.has(version)
            };
            if entry.kind != EntryKind::DeletionVector || uses.iter().any(is_other) {
                Likeness::Other
            } else if goes_on || same_bytes.any(|it| newer.has(it.version)) {
                Likeness::Proven
            } else {
                Likeness::Alike
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::samples::data_entry;

    const V: Version = Version(3);
    const TIME: i64 = 1_767_225_600_000;

    /// Versions from one on, up to another exclusive: `2-4`, or `2-`.
    fn span(text: &str) -> Span {
        let (from, until) = text.split_once('-').unwrap();
        (
            Version(from.parse().unwrap()),
            until.parse().ok().map(Version),
        )
    }

    fn vector(versions: &str, offset: u64, size: u64) -> NameUse {
        let offset = Some(offset);
        NameUse {
            span: span(versions),
            what: FileUse::Vector { offset, size },
        }
    }

    /// What follows the `@`: so much later, `0` for the epoch, `?` where no time is known.
    fn split_time(word: &str) -> (&str, Option<i64>) {
        match word.split_once('@') {
            None => (word, Some(TIME)),
            Some((word, "?")) => (word, None),
            Some((word, "0")) => (word, Some(0)),
            Some((word, later)) => (word, Some(TIME + later.parse::<i64>().unwrap())),
        }
    }

    /// Data files of `size` bytes by their versions, those with `+` a byte longer; `v` is a vector's file.
    fn uses(text: &str, size: u64) -> Vec<NameUse> {
        let one = |word: &str| {
            if let Some(versions) = word.strip_prefix('v') {
                return vector(versions, 1, 9);
            }
            let (word, modification_time) = split_time(word);
            let versions = word.trim_end_matches('+');
            let what = FileUse::Data {
                size: size + u64::from(word != versions),
                modification_time,
            };
            let span = span(versions);
            NameUse { span, what }
        };
        text.split_whitespace().map(one).collect()
    }

    /// Snapshots by their version: `=` with the entry's bytes, `!` with others.
    fn held(text: &str, entry: &Entry) -> Vec<LaterCopy> {
        let one = |word: &str| {
            let (word, modification_time) = split_time(word);
            LaterCopy {
                version: Version(word.trim_end_matches(['=', '!']).parse().unwrap()),
                sha256: if word.contains('!') {
                    Digest::of(b"other")
                } else {
                    entry.sha256.unwrap()
                },
                size: entry.size,
                modification_time,
            }
        };
        text.split_whitespace().map(one).collect()
    }

    fn verdict(text: &str) -> Result<bool, NameConflict> {
        match text.split_once(' ') {
            None => Ok(text == "needed"),
            Some((word, version)) => {
                let version = Version(version.parse().unwrap());
                Err(match word {
                    "another" => NameConflict::AnotherFile(version),
                    "held" => NameConflict::HeldOtherwise(version),
                    _ => NameConflict::Unproven(version),
                })
            }
        }
    }

    /// The uses of the name, how later snapshots hold it, and the verdict where the place is free and where other bytes
    /// are there.
    const NAMES: &str = "
        only V has it                | 2-4    |       | put       | put
        no log tells of it           |        |       | put       | put
        it goes on                   | 2-     |       | needed    | needed
        it goes on a while           | 2-6    |       | put       | put
        it came back                 | 5-     |       | needed    | unproven 5
        it came back, held before    | 5-     | 4=    | needed    | unproven 5
        another time                 | 5-@1   |       | another 5 | another 5
        another time at once         | 2-@1   |       | another 4 | another 4
        another size                 | 5-+    |       | another 5 | another 5
        another one for a while      | 5-6+   |       | another 5 | another 5
        one before V                 | 1-3+   |       | put       | put
        another time, the epoch      | 5-@0   |       | another 5 | another 5
        a time that nobody gave      | 5-@?   |       | needed    | unproven 5
        held with its bytes          | 5-@?   | 6=    | needed    | needed
        held before it came back     | 5-@?   | 4=@0  | needed    | unproven 5
        touched, held with its bytes | 5-@9   | 6=@9  | needed    | needed
        held with other bytes        | 2-     | 6= 6! | held 6    | held 6
        held otherwise, not used     |        | 6!    | held 6    | held 6
        a vector's file              | v5-    |       | another 5 | another 5";

    #[test]
    fn a_name_that_a_newer_version_gives_another_file_is_neither_filled_nor_replaced() {
        let entry = data_entry("a.parquet", None);
        let size = entry.size;
        for line in NAMES.lines().skip(1) {
            let columns: Vec<_> = line.split('|').map(str::trim).collect();
            let (uses, later) = (uses(columns[1], size), held(columns[2], &entry));
            let (free, full) = (verdict(columns[3]), verdict(columns[4]));
            let judged = |there| judge_name(&entry, there, V, &uses, &later);
            assert_eq!((judged(None), judged(Some(size))), (free, full), "{line}");
            // Cut off, it is no version's file.
            assert_eq!(judged(Some(size - 1)), free, "{line}");
        }
    }

    #[test]
    fn a_vectors_file_that_came_back_is_replaced_only_where_a_newer_snapshot_holds_it() {
        let entry = Entry {
            kind: EntryKind::DeletionVector,
            modification_time: None,
            ..data_entry("v.bin", None)
        };
        let own = vector("2-4", 1, 40);
        let same = held("6=@?", &entry);
        let unproven = Err(NameConflict::Unproven(Version(5)));
        let another = Err(NameConflict::AnotherFile(Version(5)));
        for (newer, later, free, full) in [
            (vector("5-", 1, 40), &[][..], Ok(true), unproven),
            (vector("5-", 1, 40), &same[..], Ok(true), Ok(true)),
            (vector("3-", 1, 40), &[][..], Ok(true), Ok(true)),
            (vector("5-", 49, 12), &[][..], Ok(true), unproven),
            (vector("5-", 1, 41), &[][..], another, another),
        ] {
            let uses = [own.clone(), newer];
            let judged = |there| judge_name(&entry, there, V, &uses, later);
            assert_eq!((judged(None), judged(Some(100))), (free, full), "{uses:?}");
            assert_eq!(judged(Some(20)), free, "{uses:?}");
        }
    }
}
