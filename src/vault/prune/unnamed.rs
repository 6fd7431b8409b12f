//! Keeps what manifests lead to that no record names. A ledger whose newest records are gone is a shorter, valid one, and what
//! they alone named is an orphan like any other: only the manifest tells it from one.
//!
//! A run that ended just before it published leaves such a manifest too, and whoever may write can put one. Nothing in the
//! vault tells these from each other, so the owner has to.

use futures::{StreamExt as _, stream};

use super::facts::What;
use super::survey::{Reading, push};
use crate::error::Error;
use crate::format::{Manifest, Reference, VaultKey};
use crate::ids::{Digest, Generation, Timestamp, Version};
use crate::plan::prune::By;
use crate::store::Attributes;
use crate::vault::unnamed::{MANIFESTS_AHEAD, list_unnamed};
use crate::vault::walk::{OnDamage, Seen, each_object, walk_manifest};

/// Whoever plants manifests decides how many there are.
const TOLD: u64 = 20;

/// Manifests whose snapshots were never finished, by the owner's word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Forget {
    /// All that no record names.
    All,
    /// Those with these digests.
    These(Vec<Digest>),
}

impl Forget {
    fn has(&self, sha256: Digest) -> bool {
        match self {
            Self::All => true,
            Self::These(these) => these.contains(&sha256),
        }
    }

    /// The digests that are none of these manifests'.
    fn mistaken<'a>(&'a self, manifests: &[Attributes]) -> impl Iterator<Item = &'a Digest> {
        let known: Vec<_> = manifests.iter().filter_map(reference).collect();
        let these = match self {
            Self::All => &[][..],
            Self::These(these) => these,
        };
        these
            .iter()
            .filter(move |digest| !known.iter().any(|it| it.sha256 == **digest))
    }
}

impl Reading<'_, '_> {
    /// Takes note of what such manifests lead to. A run may be about to name one that was put after `young`, which is not reported.
    pub(super) async fn unnamed(&mut self, young: Timestamp) -> Result<(), Error> {
        let vault = self.vault.clone();
        let found = list_unnamed(vault.store(), &self.named, Timestamp::MIN, usize::MAX).await?;
        let forget = &self.pruner.forget;
        for digest in forget.mistaken(&found.manifests) {
            self.sums.findings.push(format!(
                "--forget {digest}: there is no such manifest, or a record names it; nothing was given up for it"
            ));
        }
        let unnamed = found.manifests.into_iter().filter_map(|object| {
            let reference = reference(&object)?;
            (!forget.has(reference.sha256)).then_some((object.last_modified, reference))
        });
        let mut manifests = stream::iter(unnamed)
            .map(|(put, reference)| {
                let vault = vault.clone();
                async move {
                    let manifest = vault.manifest_at(&reference).await;
                    (put, reference, manifest)
                }
            })
            .buffered(MANIFESTS_AHEAD);
        let mut seen = Seen::new();
        let mut told = 0;
        while let Some((put, reference, manifest)) = manifests.next().await {
            self.keeps_unnamed = true;
            let version = match self.follow(&reference, manifest, &mut seen).await {
                Ok(version) => version,
                // What else it leads to is not known, so nothing can be called useless.
                Err(error) if error.is_damage() => {
                    self.obstacle(format!(
                        "{}: no record names this manifest, and it cannot be followed: {error}; where its snapshot was never \
                         finished, `prune --forget {}`",
                        reference.key, reference.sha256
                    ));
                    continue;
                }
                Err(error) => return Err(error),
            };
            if put <= young {
                told += 1;
                if told <= TOLD {
                    self.sums.findings.push(format!(
                        "{}: no record names this manifest of version {version}: its record is lost, or its snapshot was \
                         never finished. What it leads to is kept. Where you know that it was never finished, \
                         `prune --forget {}`",
                        reference.key, reference.sha256
                    ));
                }
            }
        }
        if told > TOLD {
            self.sums.findings.push(format!(
                "{} more such manifests; `prune --forget all` gives all of them up",
                told - TOLD
            ));
        }
        Ok(())
    }

    /// Takes note of everything that a manifest leads to; returns its version.
    async fn follow(
        &mut self,
        reference: &Reference,
        manifest: Result<Manifest, Error>,
        seen: &mut Seen,
    ) -> Result<Version, Error> {
        let manifest = manifest?;
        let facts = &mut self.facts;
        let mut each = each_object(|reference| {
            let what = What::named(reference, By::BestEffort);
            push(facts, reference.key.clone(), what)
        });
        let refuse = OnDamage::Refuse;
        walk_manifest(&self.vault, reference, &manifest, refuse, seen, &mut each).await?;
        Ok(manifest.version)
    }
}

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
