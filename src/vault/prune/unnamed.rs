//! Keeps what a record that was lost may have named. A ledger whose newest records are gone is a shorter, valid one, and what
//! they alone named is an orphan like any other: only its manifest tells it from one.
//!
//! A run that ended just before it published leaves such a manifest too, and whoever may write can put one. What it leads
//! to is kept until a newer snapshot of the table is there or the owner says that it never was one: it stops nothing.

use futures::{StreamExt as _, stream};

use super::facts::What;
use super::references::{Seen, each_reference_of};
use super::survey::{Reading, push};
use crate::error::Error;
use crate::format::{Manifest, Reference, VaultKey};
use crate::ids::{Generation, Timestamp};
use crate::store::Attributes;
use crate::vault::unnamed::{MANIFESTS_AHEAD, list_unnamed};

impl Reading<'_, '_> {
    /// Takes note of what such manifests lead to. A run may be about to name one that was put after `young`, which is kept
    /// in any case: of that nothing is told.
    pub(super) async fn unnamed(&mut self, young: Timestamp) -> Result<(), Error> {
        let vault = self.vault.clone();
        let named = &self.tables.named;
        let found = list_unnamed(vault.store(), named, Timestamp::MIN, usize::MAX).await?;
        let read = |object: Attributes| {
            let (vault, reference) = (vault.clone(), reference(&object));
            async move {
                let manifest = vault.manifest_at(reference.as_ref()?).await;
                Some((object.last_modified, reference?, manifest))
            }
        };
        let mut manifests = stream::iter(found.manifests)
            .map(read)
            .buffered(MANIFESTS_AHEAD);
        let mut seen = Seen::new();
        while let Some(read) = manifests.next().await {
            let Some((put, reference, manifest)) = read else {
                continue;
            };
            let manifest = match manifest {
                Ok(manifest) => manifest,
                // It leads nowhere.
                Err(Error::Damaged { .. } | Error::Format(_)) => continue,
                Err(error) => return Err(error),
            };
            let is_forgotten = self.pruner.forget.contains(&reference.sha256);
            if !is_forgotten && self.tables.may_have_lost(&manifest, put) {
                self.may_be_lost(&reference, &manifest, &mut seen, put <= young)
                    .await?;
            }
        }
        Ok(())
    }

    async fn may_be_lost(
        &mut self,
        reference: &Reference,
        manifest: &Manifest,
        seen: &mut Seen,
        is_told: bool,
    ) -> Result<(), Error> {
        let facts = &mut self.facts;
        let mut each = |reference: &Reference| {
            let (version, size) = (reference.version.clone(), reference.size);
            push(facts, reference, What::Spared { version, size })
        };
        let followed = each_reference_of(&self.vault, reference, manifest, seen, &mut each).await;
        let but = match followed {
            Ok(()) => String::new(),
            // Nobody waits for what no record names.
            Err(error @ (Error::Damaged { .. } | Error::Format(_))) => {
                format!(", as far as it can be followed ({error})")
            }
            Err(error) => return Err(error),
        };
        if is_told {
            let (key, version) = (&reference.key, manifest.version);
            self.sums.findings.push(format!(
                "{key}: no record names this manifest of version {version}, and none of its table is newer: its record may \
                 be lost, so what it leads to is kept{but}. `verify` says more; where its snapshot was never finished, \
                 `prune --forget {}`",
                reference.sha256
            ));
        }
        Ok(())
    }
}

/// The manifest as a record would name it.
fn reference(object: &Attributes) -> Option<Reference> {
    let Some(VaultKey::Content { sha256, .. }) = VaultKey::parse(object.key.as_str()) else {
        return None;
    };
    Some(Reference {
        generation: Generation(0),
        key: object.key.clone(),
        sha256,
        size: object.size,
        version: object.version.clone(),
    })
}
