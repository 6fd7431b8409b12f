//! Puts content-addressed objects into the vault: every name is taken at most once, and an occupied name never
//! blocks a backup.

use std::sync::Arc;

use super::oldest_version;
use super::snapshot::Terms;
use crate::error::Error;
use crate::format::layout::Suffix;
use crate::format::{Reference, VaultKey};
use crate::ids::{Digest, ObjectKey, ObjectVersion, Timestamp};
use crate::plan::retention::{LockPhase, phase_of};
use crate::store::{Payload, StoreError, StoreErrorKind, WriteStore, local_path, read_all};

/// Puts objects with the locks and the generations of a run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Placer<'a> {
    pub(super) store: &'a Arc<dyn WriteStore>,
    pub(super) terms: &'a Terms,
    /// Into how many phases blobs are cut.
    pub(super) lock_phases: u64,
}

/// Makes sure that an object version is locked for so long; returns until when it is.
///
/// # Errors
/// What the store says, and `Unsupported` when that does not show the lock.
pub(super) async fn extend_lock(
    store: &dyn WriteStore,
    key: &ObjectKey,
    version: Option<&ObjectVersion>,
    until: Timestamp,
) -> Result<Timestamp, StoreError> {
    match store.extend_lock(key, version, until).await? {
        Some(proven) if proven >= until => Ok(proven),
        Some(_) | None => {
            let reason = "the store does not say that it locked the object".to_owned();
            let kind = StoreErrorKind::Unsupported { reason };
            Err(StoreError::below("lock", store.uri(), key.as_str(), kind))
        }
    }
}

/// How a kind of object is named: its digest and, when the plain name is occupied, a suffix.
type Name = fn(Digest, Option<Suffix>) -> VaultKey;

impl Placer<'_> {
    pub(super) async fn blob(&self, payload: &Payload) -> Result<Reference, Error> {
        let [byte, ..] = *payload.sha256.as_bytes();
        let phase = phase_of(byte, self.lock_phases);
        self.put(VaultKey::blob, payload, phase).await
    }

    pub(super) async fn page(&self, payload: &Payload) -> Result<Reference, Error> {
        self.put(VaultKey::page, payload, LockPhase::default())
            .await
    }

    pub(super) async fn manifest(&self, payload: &Payload) -> Result<Reference, Error> {
        self.put(VaultKey::manifest, payload, LockPhase::default())
            .await
    }

    async fn put(
        &self,
        name: Name,
        payload: &Payload,
        phase: LockPhase,
    ) -> Result<Reference, Error> {
        let lock_until = self.terms.lock_until(phase);
        let content = (payload.sha256, payload.size);
        let key = name(payload.sha256, None).object_key()?;
        match self.store.put_new(&key, payload, lock_until).await {
            Ok(written) => Ok(self.reference((key, phase), written.version, content)),
            Err(StoreError {
                kind: StoreErrorKind::AlreadyExists,
                ..
            }) => {
                // What vanishes while it is looked at was just collected.
                let adopted = match self.adopt(&key, payload, phase).await {
                    Err(Error::Store(error)) if error.is_not_found() => None,
                    adopted => adopted?,
                };
                if let Some(version) = adopted {
                    return Ok(self.reference((key, phase), version, content));
                }
                let suffix = Suffix::from_bytes(rand::random());
                let key = name(payload.sha256, Some(suffix)).object_key()?;
                let written = self.store.put_new(&key, payload, lock_until).await?;
                Ok(self.reference((key, phase), written.version, content))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Looks at the oldest version under an occupied name; it serves when its whole content has the digest.
    async fn adopt(
        &self,
        key: &ObjectKey,
        payload: &Payload,
        phase: LockPhase,
    ) -> Result<Option<Option<ObjectVersion>>, Error> {
        let Some(oldest) = oldest_version(self.store.as_ref(), key).await? else {
            return Ok(None);
        };
        if oldest.size != payload.size {
            return Ok(None);
        }
        let there = self.store.attributes(key, oldest.version.as_ref()).await?;
        let actual = if let Some(digest) = there.sha256 {
            digest
        } else {
            let read = read_all(
                self.store.as_ref(),
                key,
                oldest.version.as_ref(),
                payload.size,
            )
            .await?;
            Digest::of(&read.1)
        };
        if actual != payload.sha256 {
            return Ok(None);
        }
        // The lock on a whole folder keeps every prune out.
        let is_alone = local_path(self.store.uri()).is_some();
        let until = self.terms.lock_until(phase);
        let adopted = is_alone
            || self
                .terms
                .take_over(self.store.as_ref(), &there, until)
                .await?;
        Ok(adopted.then_some(oldest.version))
    }

    /// What is to be written down of an object that was put, or adopted, in a phase.
    pub(super) fn reference(
        &self,
        (key, phase): (ObjectKey, LockPhase),
        version: Option<ObjectVersion>,
        (sha256, size): (Digest, u64),
    ) -> Reference {
        Reference {
            generation: self.terms.generation(phase),
            key,
            sha256,
            size,
            version,
        }
    }
}
