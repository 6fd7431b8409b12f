//! Manifest pages: slices of a manifest, one entry a line, JSON lines under zstd, named by their SHA-256.
//!
//! This file says what an entry is and which rules hold between its fields; [`codec`] cuts and packs pages and
//! unpacks hostile ones, [`order`] says which entry comes first.

use std::fmt;
use std::marker::PhantomData;

use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, de};

use super::{FormatError, Reference};
use crate::delta::DeletionVector;
use crate::ids::{Digest, ETag, FileMode, Generation, Location, ObjectVersion, Timestamp, Version};

pub mod codec;
pub mod order;

pub use codec::{
    CutPage, ENTRIES_MAX, EncodedPage, PAGE_LIMIT, PageWriter, decode_page, encode_line,
    unpacked_size,
};
pub use order::{DataOrder, LogOrder, data_order, log_order, log_order_of};

/// Log files up to this many bytes are held inside their page.
pub const INLINE_LIMIT: u64 = 64 * 1024;
/// Files up to this many bytes are packed several to a blob.
pub const PACKED_FILE_LIMIT: u64 = 1024 * 1024;
/// A pack ends before it would grow past this many bytes.
pub const PACK_LIMIT: u64 = 16 * 1024 * 1024;

/// The most live files of an entry, and the most spellings of one.
const USES_MAX: usize = 4096;

/// What a file is for its table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EntryKind {
    /// A Parquet file with rows.
    Data,
    /// A file of deletion vectors.
    DeletionVector,
    /// A file of the change data feed.
    ChangeData,
    /// A part of a V2 checkpoint, under `_delta_log/_sidecars/`.
    Sidecar,
    /// A checkpoint, a part of a multi-part one, or the top file of a V2 one.
    Checkpoint,
    /// One version's actions, `N.json`.
    Commit,
    /// A log compaction.
    Compaction,
    /// A version checksum, `N.crc`.
    Checksum,
    /// A file of the log that this tool does not know, with a version in its name.
    Other,
    /// The hint `_last_checkpoint`.
    LastCheckpoint,
}

impl EntryKind {
    /// Whether the file belongs to the transaction log.
    pub fn is_log(self) -> bool {
        match self {
            Self::Data | Self::DeletionVector | Self::ChangeData => false,
            Self::Sidecar
            | Self::Checkpoint
            | Self::Compaction
            | Self::Checksum
            | Self::Other
            | Self::Commit
            | Self::LastCheckpoint => true,
        }
    }

    /// The kind as the format spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Data => "data",
            Self::DeletionVector => "deletion-vector",
            Self::ChangeData => "change-data",
            Self::Sidecar => "sidecar",
            Self::Checkpoint => "checkpoint",
            Self::Compaction => "compaction",
            Self::Checksum => "checksum",
            Self::Other => "other",
            Self::Commit => "commit",
            Self::LastCheckpoint => "last-checkpoint",
        }
    }
}

/// One file of one snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Whether V's log names the file by an absolute path although it lies below the table's own root: a copy of the
    /// table elsewhere would read the original's file.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub absolute: bool,
    /// The source's tag of the content when it was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<ETag>,
    /// `{"key": …}` below the table's root, decoded, or `{"uri": …}` elsewhere.
    pub file: Location,
    /// What it is for the table.
    pub kind: EntryKind,
    /// When the source store took it, as first seen; absent for an absent file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_modified: Option<Timestamp>,
    /// The logical files of V that this data file carries: one, rarely more; none when only history or the
    /// change feed needs it. Empty for other kinds than data.
    #[serde(
        default,
        deserialize_with = "at_most::<_, _, USES_MAX>",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub live: Vec<LiveUse>,
    /// The file's permissions, as first seen; absent for a file that does not come from a folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<FileMode>,
    /// The log's own `modificationTime` of a data file: milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modification_time: Option<i64>,
    /// The source's object version that was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object_version: Option<ObjectVersion>,
    /// Where the bytes are.
    pub placement: Placement,
    /// Rows in the file by the log's statistics (`numRecords`), before deletion vectors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
    /// SHA-256 of the file; absent for an absent file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<Digest>,
    /// Bytes of the file.
    pub size: u64,
    /// Whether the file is a checkpoint's, or a sidecar, that could not be decoded when it was taken. Its bytes are held,
    /// and no way to V goes through it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unreadable: bool,
}

impl Entry {
    /// The version that a file of the log belongs to, by its name; none for a sidecar, the hint and files of the table.
    pub fn log_version(&self) -> Option<Version> {
        match self.kind {
            EntryKind::Commit
            | EntryKind::Checkpoint
            | EntryKind::Compaction
            | EntryKind::Checksum
            | EntryKind::Other => log_order(self).version(),
            EntryKind::Sidecar
            | EntryKind::LastCheckpoint
            | EntryKind::Data
            | EntryKind::DeletionVector
            | EntryKind::ChangeData => None,
        }
    }

    /// Whether it is a file of the log above a version: with it, readers would see another one.
    pub fn is_above(&self, version: Version) -> bool {
        self.log_version() > Some(version)
    }

    /// Its live files and their spellings.
    fn uses(&self) -> usize {
        let uses = self.live.iter();
        uses.map(|live| live.spelled.len().saturating_add(1)).sum()
    }

    /// Checks the rules between the fields: a file that is held has a SHA-256, and its placement holds `size`
    /// bytes of it.
    ///
    /// # Errors
    /// [`FormatError::Invalid`] with the rule.
    pub fn check(&self) -> Result<(), FormatError> {
        let invalid = |rule| FormatError::Invalid {
            what: "entry",
            rule,
        };
        if self.live.len() > USES_MAX || self.live.iter().any(|it| it.spelled.len() > USES_MAX) {
            return Err(invalid("at most 4096 live files, and spellings of each"));
        }
        let Some(sha256) = self.sha256 else {
            return match self.placement {
                Placement::Absent {} => Ok(()),
                Placement::Blob { .. } | Placement::Copy { .. } | Placement::Inline(_) => {
                    Err(invalid("a file that is held has a SHA-256"))
                }
            };
        };
        match &self.placement {
            Placement::Absent {} => Err(invalid("an absent file has no SHA-256")),
            Placement::Inline(bytes) => {
                if bytes.len() as u64 != self.size {
                    return Err(invalid("inlined bytes are as many as the file's size"));
                }
                Ok(())
            }
            Placement::Blob {
                offset: Some(offset),
                reference,
            } => match offset.checked_add(self.size) {
                Some(end) if end <= reference.size => Ok(()),
                _ => Err(invalid("a packed file ends inside its pack")),
            },
            Placement::Blob {
                offset: None,
                reference,
            }
            | Placement::Copy { reference } => {
                if reference.size != self.size {
                    return Err(invalid("an object that is the file has the file's size"));
                }
                if reference.sha256 != sha256 {
                    return Err(invalid("an object that is the file has the file's SHA-256"));
                }
                Ok(())
            }
        }
    }
}

/// Reads a list, and no more of it than it may have: an element of three bytes takes a hundred in memory.
fn at_most<'de, T: Deserialize<'de>, D: Deserializer<'de>, const MAX: usize>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    struct AtMost<T, const MAX: usize>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>, const MAX: usize> de::Visitor<'de> for AtMost<T, MAX> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "a list of at most {MAX} elements")
        }

        fn visit_seq<A: de::SeqAccess<'de>>(self, mut elements: A) -> Result<Vec<T>, A::Error> {
            let mut list = Vec::new();
            while let Some(element) = elements.next_element()? {
                if list.len() == MAX {
                    return Err(de::Error::invalid_length(MAX + 1, &self));
                }
                list.push(element);
            }
            Ok(list)
        }
    }

    deserializer.deserialize_seq(AtMost::<T, MAX>(PhantomData))
}

/// One logical file (path and deletion vector) that is live at V.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LiveUse {
    /// Whether only readers that compare paths as text have it live: the log removed it under another spelling.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub by_text: bool,
    /// Its deletion vector, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dv: Option<DeletionVector>,
    /// How the log spells its path, in order; empty where the one spelling is the file's own key or URI.
    #[serde(
        default,
        deserialize_with = "at_most::<_, _, USES_MAX>",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub spelled: Vec<String>,
}

impl LiveUse {
    /// A logical file whose path the log spells as the file's own key or URI.
    pub fn plain(dv: Option<DeletionVector>) -> Self {
        Self {
            by_text: false,
            dv,
            spelled: Vec::new(),
        }
    }

    /// Whether readers differ on it: they compare paths as text, or what the paths stand for.
    pub fn is_respelled(&self) -> bool {
        self.by_text || self.spelled.len() > 1
    }
}

/// Where the vault holds a file's bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Placement {
    /// Not held: older versions name it, the source no longer has it. Only with scope `history`.
    Absent {},
    /// In a blob: all of it, or, in a pack, the entry's `size` bytes from `offset`.
    Blob {
        /// Where the file begins in a pack, bytes; absent when the blob is the file.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        offset: Option<u64>,
        /// The blob or pack.
        reference: Reference,
    },
    /// An object that the store copied itself, or a file above 5 GiB.
    Copy {
        /// The copy.
        reference: Reference,
    },
    /// In the page itself, base64.
    Inline(#[serde(with = "base64_text")] Bytes),
}

impl Placement {
    /// The vault object that holds the bytes, where they are not in the page.
    pub fn reference(&self) -> Option<&Reference> {
        match self {
            Self::Blob { reference, .. } | Self::Copy { reference } => Some(reference),
            Self::Inline(_) | Self::Absent {} => None,
        }
    }

    /// Says in which generation the bytes were adopted.
    pub(crate) fn adopt(&mut self, generation: Generation) {
        if let Self::Blob { reference, .. } | Self::Copy { reference } = self {
            reference.generation = generation;
        }
    }
}

mod base64_text {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use bytes::Bytes;
    use serde::de::{Deserialize as _, Error as _};
    use serde::{Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(
        bytes: &Bytes,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Bytes, D::Error> {
        let text = String::deserialize(deserializer)?;
        STANDARD
            .decode(text)
            .map(Bytes::from)
            .map_err(D::Error::custom)
    }
}
