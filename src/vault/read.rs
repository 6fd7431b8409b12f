//! Reads what references point at: the object version that is named, else whatever has the right bytes.

use std::path::Path;

use bytes::Bytes;
use futures::TryStreamExt;

use crate::error::Error;
use crate::format::layout;
use crate::format::layout::Area;
use crate::format::{Entry, Placement, Reference};
use crate::ids::{Digest, ObjectKey, ObjectVersion};
use crate::spool;
use crate::spool::IN_MEMORY_LIMIT;
use crate::store::{ListedVersion, Payload, StoreError, StoreErrorKind, read_all, read_range};

use super::Vault;

impl Vault {
    /// Reads the object that a reference points at, whatever version of its key has the right digest; nothing that is
    /// larger than its kind may be.
    ///
    /// # Errors
    /// [`Error::Damaged`] when no version has it, naming what was found instead.
    pub(super) async fn read(&self, reference: &Reference, limit: u64) -> Result<Bytes, Error> {
        if reference.size > limit {
            return Err(Error::Damaged {
                object: reference.key.to_string(),
                what: format!(
                    "it is said to have {} bytes, of {limit} allowed",
                    reference.size
                ),
            });
        }
        let named = self
            .read_version(reference, reference.version.as_ref())
            .await?;
        let what = match named {
            Some(bytes) if Digest::of(&bytes) == reference.sha256 => return Ok(bytes),
            Some(bytes) => format!("its bytes have SHA-256 {}", Digest::of(&bytes).short()),
            None => "it is gone".to_owned(),
        };
        for version in self.other_versions(&reference.key, reference).await? {
            if let Some(bytes) = self.read_version(reference, version.as_ref()).await?
                && Digest::of(&bytes) == reference.sha256
            {
                return Ok(bytes);
            }
        }
        for (key, version) in self.repaired(reference).await? {
            let repaired = Reference {
                key,
                version,
                ..reference.clone()
            };
            let version = repaired.version.as_ref();
            if let Some(bytes) = self.read_version(&repaired, version).await?
                && Digest::of(&bytes) == reference.sha256
            {
                return Ok(bytes);
            }
        }
        Err(Error::Damaged {
            object: reference.key.to_string(),
            what,
        })
    }

    /// Reads one version of a key whole; `None` when it is not there or has another size.
    pub(super) async fn read_version(
        &self,
        reference: &Reference,
        version: Option<&ObjectVersion>,
    ) -> Result<Option<Bytes>, Error> {
        match read_all(self.store(), &reference.key, version, reference.size).await {
            Ok((_, bytes)) => Ok(Some(bytes)),
            Err(StoreError {
                kind:
                    StoreErrorKind::NotFound
                    | StoreErrorKind::InvalidRange
                    | StoreErrorKind::TooLarge { .. },
                ..
            }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The versions of a key that could serve in place of the one that a reference names.
    pub(super) async fn other_versions(
        &self,
        key: &ObjectKey,
        reference: &Reference,
    ) -> Result<Vec<Option<ObjectVersion>>, Error> {
        let mut others = Vec::new();
        let mut listing = self.store.list_versions(key.as_str(), None);
        while let Some(found) = listing.try_next().await? {
            if let ListedVersion::Object(object) = found
                && object.key == *key
                && object.size == reference.size
                && (object.version != reference.version || object.version.is_none())
            {
                others.push(object.version);
            }
        }
        Ok(others)
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
            } => self.read_blob(reference, entry, expected, folder).await?,
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

    /// Reads a blob that is one file, whatever version of its key has the right digest.
    pub(super) async fn read_blob(
        &self,
        reference: &Reference,
        entry: &Entry,
        expected: Digest,
        folder: &Path,
    ) -> Result<Payload, Error> {
        let key = &reference.key;
        let mut what = "it is gone".to_owned();
        let mut candidates = vec![(key.clone(), reference.version.clone())];
        let mut looked_elsewhere = false;
        while let Some((key, version)) = candidates.pop() {
            match self.store.open(&key, version.as_ref(), None).await {
                Ok(reader) => {
                    let uri = || format!("{}/{key}", self.uri());
                    let payload = spool::collect(reader, IN_MEMORY_LIMIT, folder, uri).await?;
                    if payload.sha256 == expected {
                        return Ok(payload);
                    }
                    what = format!("its bytes have SHA-256 {}", payload.sha256.short());
                }
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error.into()),
            }
            if candidates.is_empty() && !looked_elsewhere {
                looked_elsewhere = true;
                candidates = self.elsewhere(reference, expected, entry.size).await?;
            }
        }
        Err(Error::Damaged {
            object: key.to_string(),
            what,
        })
    }

    /// Where else the bytes of a file could be: other versions of its key, and `blobs/` under its own digest.
    pub(super) async fn elsewhere(
        &self,
        reference: &Reference,
        sha256: Digest,
        size: u64,
    ) -> Result<Vec<(ObjectKey, Option<ObjectVersion>)>, Error> {
        let mut found: Vec<_> = self
            .other_versions(&reference.key, reference)
            .await?
            .into_iter()
            .map(|version| (reference.key.clone(), version))
            .collect();
        found.extend(self.under_own_name(sha256, size).await?);
        found.retain(|(key, version)| *key != reference.key || *version != reference.version);
        Ok(found)
    }

    pub(super) async fn read_from_pack(
        &self,
        entry: &Entry,
        offset: u64,
        pack: &Reference,
        expected: Digest,
    ) -> Result<Bytes, Error> {
        let range = offset..offset.saturating_add(entry.size);
        if range.end > pack.size {
            let what = format!("{} would lie past its end", entry.file);
            return Err(Error::Damaged {
                object: pack.key.to_string(),
                what,
            });
        }
        let part = read_range(
            self.store(),
            &pack.key,
            pack.version.as_ref(),
            range.clone(),
        )
        .await;
        match part {
            Ok(bytes) if Digest::of(&bytes) == expected => return Ok(bytes),
            Ok(_) => {}
            Err(error)
                if matches!(
                    error.kind,
                    StoreErrorKind::NotFound | StoreErrorKind::InvalidRange
                ) => {}
            Err(error) => return Err(error.into()),
        }
        // The object version named is gone or wrong: another version of the pack, else the file by its own name.
        for version in self.other_versions(&pack.key, pack).await? {
            let part = read_range(self.store(), &pack.key, version.as_ref(), range.clone()).await?;
            if Digest::of(&part) == expected {
                return Ok(part);
            }
        }
        for (key, version) in self.repaired(pack).await? {
            let part = read_range(self.store(), &key, version.as_ref(), range.clone()).await?;
            if Digest::of(&part) == expected {
                return Ok(part);
            }
        }
        self.read_by_name(expected, entry.size)
            .await?
            .ok_or_else(|| Error::Damaged {
                object: pack.key.to_string(),
                what: format!("{} is not in it", entry.file),
            })
    }

    pub(super) async fn read_by_name(
        &self,
        sha256: Digest,
        size: u64,
    ) -> Result<Option<Bytes>, Error> {
        for (key, version) in self.under_own_name(sha256, size).await? {
            let (_, bytes) = read_all(self.store(), &key, version.as_ref(), size).await?;
            if Digest::of(&bytes) == sha256 {
                return Ok(Some(bytes));
            }
        }
        Ok(None)
    }

    /// Lists `blobs/` under a file's own SHA-256, with any suffix: where a repair writes.
    pub(super) async fn under_own_name(
        &self,
        sha256: Digest,
        size: u64,
    ) -> Result<Vec<(ObjectKey, Option<ObjectVersion>)>, Error> {
        self.under_name(Area::Blobs, sha256, size).await
    }

    /// Lists the other names under which a repair may have put the object that a reference names.
    pub(super) async fn repaired(
        &self,
        reference: &Reference,
    ) -> Result<Vec<(ObjectKey, Option<ObjectVersion>)>, Error> {
        let area = super::substitutes::area_of(&reference.key);
        let mut found = self
            .under_name(area, reference.sha256, reference.size)
            .await?;
        found.retain(|(key, _)| *key != reference.key);
        Ok(found)
    }

    pub(super) async fn under_name(
        &self,
        area: Area,
        sha256: Digest,
        size: u64,
    ) -> Result<Vec<(ObjectKey, Option<ObjectVersion>)>, Error> {
        let prefix = layout::content_prefix(area, sha256);
        let mut listing = self.store.list_versions(&prefix, None);
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
}
