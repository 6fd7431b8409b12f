//! Reads what references point at: the object version that is named, else whatever has the right bytes.

use std::path::Path;
use std::vec;

use bytes::Bytes;
use futures::TryStreamExt;

use super::Vault;
use super::substitutes::{Name, name_of, substitutes};
use super::walk::{Place, place};
use crate::error::Error;
use crate::format::layout;
use crate::format::layout::Area;
use crate::format::{Entry, Placement, Reference};
use crate::ids::Digest;
use crate::progress::watched;
use crate::spool;
use crate::spool::IN_MEMORY_LIMIT;
use crate::store::{ListedVersion, Payload, StoreError, StoreErrorKind, read_all, read_range};

/// Where the bytes of an object may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum At {
    /// In the object version that its reference names.
    Named,
    /// In another version of its key.
    OtherVersion,
    /// Where a repair puts them: under their digest with a suffix.
    Substitute,
}

/// The places where the bytes of an object may be, the likeliest first. Others than the one that is named are listed only
/// when it comes to them.
pub(super) struct Places<'a> {
    vault: &'a Vault,
    reference: &'a Reference,
    at: Option<At>,
    /// What was found there and not yet taken.
    found: vec::IntoIter<Place>,
}

impl Places<'_> {
    pub(super) async fn next(&mut self) -> Result<Option<(At, Place)>, StoreError> {
        loop {
            if let Some((at, place)) = self.at.zip(self.found.next()) {
                return Ok(Some((at, place)));
            }
            let (vault, reference) = (self.vault, self.reference);
            let (at, found) = match self.at {
                None => (At::Named, vec![place(reference)]),
                Some(At::Named) => (At::OtherVersion, vault.other_versions(reference).await?),
                Some(At::OtherVersion) => {
                    let name = name_of(reference);
                    (
                        At::Substitute,
                        substitutes(vault, &reference.key, name).await?,
                    )
                }
                Some(At::Substitute) => return Ok(None),
            };
            (self.at, self.found) = (Some(at), found.into_iter());
        }
    }
}

/// What was read of an object; `None` where it is not there or has another size, and where nothing can be there: a forged record
/// may name any key.
fn if_there<T>(read: Result<T, StoreError>) -> Result<Option<T>, StoreError> {
    match read {
        Ok(read) => Ok(Some(read)),
        Err(error) if error.is_nowhere() => Ok(None),
        Err(StoreError {
            kind: StoreErrorKind::InvalidRange | StoreErrorKind::TooLarge { .. },
            ..
        }) => Ok(None),
        Err(error) => Err(error),
    }
}

impl Vault {
    pub(super) fn places<'a>(&'a self, reference: &'a Reference) -> Places<'a> {
        Places {
            vault: self,
            reference,
            at: None,
            found: Vec::new().into_iter(),
        }
    }

    /// Reads the object that a reference points at, from whatever place has the right digest; nothing that is larger than
    /// its kind may be.
    ///
    /// # Errors
    /// [`Error::Damaged`] when none has it, naming what was found where it should be.
    pub(super) async fn read(&self, reference: &Reference, limit: u64) -> Result<Bytes, Error> {
        let damaged = |what| Error::Damaged {
            object: reference.key.to_string(),
            what,
        };
        let size = reference.size;
        if size > limit {
            let what = format!("it is said to have {size} bytes, of {limit} allowed");
            return Err(damaged(what));
        }
        let mut wrong: Option<String> = None;
        let mut places = self.places(reference);
        while let Some((_, (key, version))) = places.next().await? {
            let read = read_all(self.store(), &key, version.as_ref(), size).await;
            match if_there(read)?.map(|(_, bytes)| (Digest::of(&bytes), bytes)) {
                Some((sha256, bytes)) if sha256 == reference.sha256 => return Ok(bytes),
                Some((sha256, _)) => {
                    wrong.get_or_insert(format!("its bytes have SHA-256 {}", sha256.short()));
                }
                None => {
                    wrong.get_or_insert("it is gone".to_owned());
                }
            }
        }
        Err(damaged(wrong.unwrap_or_default()))
    }

    /// The versions of its key that could serve in place of the one that a reference names.
    async fn other_versions(&self, reference: &Reference) -> Result<Vec<Place>, StoreError> {
        let mut found = self.listed(reference.key.as_str(), reference.size).await?;
        found.retain(|(key, version)| *key == reference.key && *version != reference.version);
        Ok(found)
    }

    /// The objects of a size under names that begin with `prefix`.
    async fn listed(&self, prefix: &str, size: u64) -> Result<Vec<Place>, StoreError> {
        let mut listing = self.store.list_versions(prefix, None);
        let mut found = Vec::new();
        while let Some(row) = listing.try_next().await? {
            if let ListedVersion::Object(object) = row
                && object.size == size
            {
                found.push((object.key, object.version));
            }
        }
        Ok(found)
    }

    /// The objects under a name, with any suffix.
    pub(super) async fn under_name(
        &self,
        (area, sha256, size): Name,
    ) -> Result<Vec<Place>, StoreError> {
        self.listed(&layout::content_prefix(area, sha256), size)
            .await
    }

    /// Reads the file that an entry describes, checked: in memory when it is small, else into `folder`.
    ///
    /// # Errors
    /// [`Error::Damaged`] when the vault does not hold the bytes that the entry names.
    pub async fn payload(&self, entry: &Entry, folder: &Path) -> Result<Payload, Error> {
        let damaged = |what: String| Error::Damaged {
            object: format!("the copy of {}", entry.file),
            what,
        };
        let expected = entry
            .sha256
            .ok_or_else(|| damaged("its digest is missing".to_owned()))?;
        let payload = match &entry.placement {
            Placement::Inline(bytes) => Payload::from_bytes(bytes.clone()),
            Placement::Absent {} => return Err(damaged("it was never held".to_owned())),
            Placement::Copy { reference }
            | Placement::Blob {
                offset: None,
                reference,
            } => self.read_blob(reference, expected, folder).await?,
            Placement::Blob {
                offset: Some(offset),
                reference,
            } => Payload::from_bytes(
                self.read_from_pack(entry, *offset, reference, expected)
                    .await?,
            ),
        };
        if payload.sha256 != expected {
            return Err(damaged(format!(
                "its bytes have SHA-256 {}",
                payload.sha256.short()
            )));
        }
        if payload.size != entry.size {
            return Err(damaged(format!(
                "it has {} bytes, not {}",
                payload.size, entry.size
            )));
        }
        Ok(payload)
    }

    /// Reads an object that is one file, from whatever place has the right digest.
    async fn read_blob(
        &self,
        reference: &Reference,
        expected: Digest,
        folder: &Path,
    ) -> Result<Payload, Error> {
        let mut what = "it is gone".to_owned();
        let mut places = self.places(reference);
        while let Some((_, (key, version))) = places.next().await? {
            let opened = self.store.open(&key, version.as_ref(), None).await;
            let Some(reader) = if_there(opened)? else {
                continue;
            };
            let reader = match &self.progress {
                Some(progress) => watched(reader, progress),
                None => reader,
            };
            let uri = || format!("{}/{key}", self.uri());
            let payload = spool::collect(reader, IN_MEMORY_LIMIT, folder, uri).await?;
            if payload.sha256 == expected {
                return Ok(payload);
            }
            what = format!("its bytes have SHA-256 {}", payload.sha256.short());
        }
        Err(Error::Damaged {
            object: reference.key.to_string(),
            what,
        })
    }

    /// Reads a file in a pack: from whatever place has the pack, else from where a repair put the file alone.
    async fn read_from_pack(
        &self,
        entry: &Entry,
        offset: u64,
        pack: &Reference,
        expected: Digest,
    ) -> Result<Bytes, Error> {
        let damaged = |what| Error::Damaged {
            object: pack.key.to_string(),
            what,
        };
        let range = offset..offset.saturating_add(entry.size);
        if range.end > pack.size {
            return Err(damaged(format!("{} would lie past its end", entry.file)));
        }
        let is_right = |bytes: &Bytes| Digest::of(bytes) == expected;
        let mut places = self.places(pack);
        while let Some((_, (key, version))) = places.next().await? {
            let part = read_range(self.store(), &key, version.as_ref(), range.clone()).await;
            if let Some(part) = if_there(part)?.filter(is_right) {
                return Ok(part);
            }
        }
        let name = (Area::Blobs, expected, entry.size);
        for (key, version) in self.under_name(name).await? {
            let read = read_all(self.store(), &key, version.as_ref(), entry.size).await;
            if let Some((_, bytes)) = if_there(read)?.filter(|(_, bytes)| is_right(bytes)) {
                return Ok(bytes);
            }
        }
        Err(damaged(format!("{} is not in it", entry.file)))
    }
}
