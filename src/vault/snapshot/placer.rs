//! Puts content-addressed objects into the vault: every name is taken at most once, and an occupied name never
//! blocks a backup.

use std::sync::Arc;

use super::lock_terms::LockTerms;
use super::snapshotter::Snapshotter;
use crate::error::Error;
use crate::format::layout::Suffix;
use crate::format::{Reference, VaultKey};
use crate::ids::{Digest, ObjectKey, ObjectVersion};
use crate::plan::retention::{LockPhase, phase_of};
use crate::store::{Payload, StoreError, StoreErrorKind, WriteStore, local_path, read_all};
use crate::vault::oldest_version;

/// Puts objects with the locks and the generations of a run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Placer<'a> {
    pub(super) store: &'a Arc<dyn WriteStore>,
    pub(super) terms: &'a LockTerms,
    /// Into how many phases blobs are cut.
    pub(super) lock_phases: u64,
}

impl Snapshotter {
    /// Puts pages and manifests, which are few: all are in one phase.
    pub(super) fn placer<'a>(&'a self, terms: &'a LockTerms) -> Placer<'a> {
        Placer {
            store: &self.store,
            terms,
            lock_phases: 1,
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
        let reference = |key, version| Reference {
            generation: self.terms.generation(phase),
            key,
            sha256: payload.sha256,
            size: payload.size,
            version,
        };
        let key = name(payload.sha256, None).object_key()?;
        match self.store.put_new(&key, payload, lock_until).await {
            Ok(written) => Ok(reference(key, written.version)),
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
                    return Ok(reference(key, version));
                }
                let suffix = Suffix::from_bytes(rand::random());
                let key = name(payload.sha256, Some(suffix)).object_key()?;
                let written = self.store.put_new(&key, payload, lock_until).await?;
                Ok(reference(key, written.version))
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
}
