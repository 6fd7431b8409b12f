//! What a verification found to be lost, and which snapshots need it: what a repair works on.

use crate::format::{Reference, TableKey};
use crate::ids::{Digest, Location, ObjectKey, ObjectVersion, SnapshotId, Timestamp};

/// Everything that was found to be lost in one verification.
#[derive(Debug, Default)]
pub struct Losses {
    /// The lost objects, each once for each digest that is expected of it.
    pub objects: Vec<Lost>,
    /// Every snapshot that was verified, by the ordinals that [`Lost::users`] has.
    pub snapshots: Vec<Hurt>,
}

/// An object, or files in it, whose bytes are lost: missing or wrong, and nothing in the vault serves in their place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lost {
    /// Where it was.
    pub key: ObjectKey,
    /// The object version that was.
    pub version: Option<ObjectVersion>,
    /// SHA-256 of the whole object.
    pub sha256: Digest,
    /// Bytes of the whole object.
    pub size: u64,
    /// What it was.
    pub what: LostKind,
    /// What an earlier repair put in its place. Where this is not empty the bytes are there, and only the locks of
    /// these objects end before the promises that rest on them.
    pub substitutes: Vec<Substitute>,
    /// The snapshots that need what is lost, by ordinal.
    pub users: Vec<usize>,
}

/// An object that serves in the place of a lost one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Substitute {
    /// Its key.
    pub key: ObjectKey,
    /// Its object version.
    pub version: Option<ObjectVersion>,
    /// Until when it is locked.
    pub locked_until: Option<Timestamp>,
}

/// What a lost object was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LostKind {
    /// A manifest.
    Manifest,
    /// A page of a manifest.
    Page,
    /// One file.
    File,
    /// A pack: every file in it that a manifest names, by its offset.
    Pack(Vec<PackedFile>),
}

/// A file in a pack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackedFile {
    /// Where it begins.
    pub offset: u64,
    /// Its bytes.
    pub size: u64,
    /// Its SHA-256.
    pub sha256: Digest,
    /// A file of a table that it is.
    pub file: Location,
    /// Whether it is lost.
    pub is_lost: bool,
}

/// A snapshot that may have lost something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hurt {
    /// Its table.
    pub table: TableKey,
    /// The table's name.
    pub name: String,
    /// Its id.
    pub id: SnapshotId,
    /// Until when it is promised.
    pub promise: Timestamp,
    /// Whether it must be whole: it is trusted, and its promise is not over.
    pub counts: bool,
}

impl Lost {
    pub(super) fn whole(what: LostKind, reference: &Reference, users: Vec<usize>) -> Self {
        Self {
            key: reference.key.clone(),
            version: reference.version.clone(),
            sha256: reference.sha256,
            size: reference.size,
            what,
            substitutes: Vec::new(),
            users,
        }
    }

    pub(super) fn with(self, substitutes: Vec<Substitute>) -> Self {
        Self {
            substitutes,
            ..self
        }
    }

    /// Until when all that serves in its place is locked.
    pub(super) fn substitutes_locked_until(&self) -> Option<Timestamp> {
        let locks = self
            .substitutes
            .iter()
            .map(|substitute| substitute.locked_until);
        locks.min().flatten()
    }
}

impl Losses {
    /// The snapshots that need a lost object and must be whole.
    pub fn hurt<'a>(&'a self, lost: &'a Lost) -> impl Iterator<Item = &'a Hurt> {
        let users = lost
            .users
            .iter()
            .filter_map(|user| self.snapshots.get(*user));
        users.filter(|snapshot| snapshot.counts)
    }

    /// The lost objects that a snapshot needs which must be whole.
    pub fn needed(&self) -> impl Iterator<Item = &Lost> {
        let objects = self.objects.iter();
        objects.filter(|lost| self.hurt(lost).next().is_some())
    }
}
