//! Puts content-addressed objects into the vault: every name is taken at most once, and an occupied name never
//! blocks a backup.

use futures::TryStreamExt;

use crate::error::Error;
use crate::format::layout::Suffix;
use crate::format::{Reference, VaultKey};
use crate::ids::{Digest, Generation, ObjectKey, ObjectVersion, Timestamp};
use crate::store::{ListedVersion, Payload, StoreError, StoreErrorKind, WriteStore, read_all};

/// Puts objects with one lock and one generation.
#[derive(Debug, Clone, Copy)]
pub(super) struct Placer<'a> {
    pub(super) store: &'a dyn WriteStore,
    pub(super) lock_until: Option<Timestamp>,
    pub(super) generation: Generation,
}

/// How a kind of object is named: its digest and, when the plain name is occupied, a suffix.
type Name = fn(Digest, Option<Suffix>) -> VaultKey;

impl Placer<'_> {
    pub(super) async fn blob(&self, payload: &Payload) -> Result<Reference, Error> {
        self.put(VaultKey::blob, payload).await
    }

    pub(super) async fn page(&self, payload: &Payload) -> Result<Reference, Error> {
        self.put(VaultKey::page, payload).await
    }

    pub(super) async fn manifest(&self, payload: &Payload) -> Result<Reference, Error> {
        self.put(VaultKey::manifest, payload).await
    }

    async fn put(&self, name: Name, payload: &Payload) -> Result<Reference, Error> {
        let key = name(payload.sha256, None).object_key()?;
        match self.store.put_new(&key, payload, self.lock_until).await {
            Ok(written) => Ok(self.reference(key, payload, written.version)),
            Err(StoreError {
                kind: StoreErrorKind::AlreadyExists,
                ..
            }) => {
                if let Some(version) = self.adopt(&key, payload).await? {
                    return Ok(self.reference(key, payload, version));
                }
                let suffix = Suffix::from_bytes(rand::random());
                let key = name(payload.sha256, Some(suffix)).object_key()?;
                let written = self.store.put_new(&key, payload, self.lock_until).await?;
                Ok(self.reference(key, payload, written.version))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Looks at the oldest version under an occupied name; it serves when its whole content has the digest.
    async fn adopt(
        &self,
        key: &ObjectKey,
        payload: &Payload,
    ) -> Result<Option<Option<ObjectVersion>>, Error> {
        let mut listing = self.store.list_versions(key.as_str(), None);
        let oldest = loop {
            match listing.try_next().await? {
                Some(ListedVersion::Object(object)) if object.key == *key => break object,
                Some(_) => {}
                None => return Ok(None),
            }
        };
        if oldest.size != payload.size {
            return Ok(None);
        }
        let attested = self
            .store
            .attributes(key, oldest.version.as_ref())
            .await?
            .sha256;
        let actual = if let Some(digest) = attested {
            digest
        } else {
            let read = read_all(self.store, key, oldest.version.as_ref(), payload.size).await?;
            Digest::of(&read.1)
        };
        if actual != payload.sha256 {
            return Ok(None);
        }
        if let Some(until) = self.lock_until {
            self.store
                .extend_lock(key, oldest.version.as_ref(), until)
                .await?;
        }
        Ok(Some(oldest.version))
    }

    fn reference(
        &self,
        key: ObjectKey,
        payload: &Payload,
        version: Option<ObjectVersion>,
    ) -> Reference {
        Reference {
            generation: self.generation,
            key,
            sha256: payload.sha256,
            size: payload.size,
            version,
        }
    }
}
