//! Looks for what serves in place of an object that is gone or damaged.

use super::checker::{Checker, Outcome};
use super::losses::Substitute;
use super::wanted::{Bad, Want};
use crate::format::layout::Area;
use crate::ids::Digest;
use crate::plan::verify::Listed;
use crate::store::StoreError;
use crate::vault::substitutes::substitutes;
use crate::vault::walk::Place;

/// Whether something else serves in place of what is bad.
pub(super) enum Rescue {
    /// Another version of the same key.
    Serves,
    /// What a repair put.
    Repaired(Vec<Substitute>),
    /// Another version of the same key has the right size; its bytes were not read.
    Unproven,
    /// Nothing serves for these.
    Lost(Bad),
}

impl Checker<'_> {
    /// Looks for what could serve in place of what is bad. Without `reads`, what the store attests has to do.
    pub(super) async fn rescue(
        &self,
        want: &Want,
        mut bad: Bad,
        listed: &Listed,
        reads: bool,
        outcome: &mut Outcome,
    ) -> Result<Rescue, StoreError> {
        let key = outcome.key.clone();
        let store = self.vault.store();
        let mut is_unproven = false;
        for version in listed.others(want.version.as_ref(), want.size) {
            let attested = match store.attributes(&key, version).await {
                Ok(attributes) => attributes.sha256,
                Err(error) if error.is_not_found() => continue,
                Err(error) => return Err(error),
            };
            match attested {
                Some(sha256) if sha256 != want.sha256 => continue,
                Some(_) if !reads => return Ok(Rescue::Serves),
                None if !reads => {
                    is_unproven = true;
                    continue;
                }
                Some(_) | None => {}
            }
            if let Some(hashed) = readable(self.hash(&key, version, want, outcome).await)? {
                bad.whole &= hashed.sha256 != want.sha256;
                bad.parts.retain(|part| hashed.wrong_parts.contains(part));
            }
            if bad.is_nothing() {
                return Ok(Rescue::Serves);
            }
        }
        let mut substitutes = Vec::new();
        if bad.whole
            && let Some(substitute) = self.named_by(want.sha256, want.size, outcome).await?
        {
            bad.whole = false;
            substitutes.push(substitute);
        }
        if !bad.parts.is_empty() {
            substitutes.extend(self.packs(want, &mut bad, outcome).await?);
        }
        let mut still_bad = Vec::new();
        for index in std::mem::take(&mut bad.parts) {
            let Some(part) = want.parts.get(index) else {
                continue;
            };
            match self.named_by(part.sha256, part.size, outcome).await? {
                Some(substitute) => substitutes.push(substitute),
                None => still_bad.push(index),
            }
        }
        bad.parts = still_bad;
        Ok(if bad.is_nothing() {
            Rescue::Repaired(substitutes)
        } else if is_unproven {
            Rescue::Unproven
        } else {
            Rescue::Lost(bad)
        })
    }

    /// Looks for a pack under its own name, and takes the files that it has from those that are bad.
    async fn packs(
        &self,
        want: &Want,
        bad: &mut Bad,
        outcome: &mut Outcome,
    ) -> Result<Vec<Substitute>, StoreError> {
        let mut whole: Option<Substitute> = None;
        let mut partly = Vec::new();
        for (key, version) in self.blobs(want.sha256, want.size, outcome).await? {
            let hashed = self.hash(&key, version.as_ref(), want, outcome).await;
            let Some(hashed) = readable(hashed)? else {
                continue;
            };
            let substitute = Substitute {
                key,
                version,
                locked_until: hashed.locked_until,
            };
            let wrong = |part: &usize| hashed.wrong_parts.contains(part);
            if !bad.parts.iter().any(wrong) {
                whole = longer_locked(whole, substitute);
            } else if !bad.parts.iter().all(wrong) {
                partly.push((substitute, hashed.wrong_parts));
            }
        }
        if let Some(whole) = whole {
            bad.parts.clear();
            return Ok(vec![whole]);
        }
        let mut substitutes = Vec::new();
        for (substitute, wrong_parts) in partly {
            bad.parts.retain(|part| wrong_parts.contains(part));
            substitutes.push(substitute);
        }
        Ok(substitutes)
    }

    /// Looks for bytes under their own name, where a repair puts them; of several the one that is locked for longest.
    async fn named_by(
        &self,
        sha256: Digest,
        size: u64,
        outcome: &mut Outcome,
    ) -> Result<Option<Substitute>, StoreError> {
        let whole = Want {
            version: None,
            sha256,
            size,
            is_structure: false,
            units: Vec::new(),
            parts: Vec::new(),
        };
        let mut found = None;
        for (key, version) in self.blobs(sha256, size, outcome).await? {
            let hashed = self.hash(&key, version.as_ref(), &whole, outcome).await;
            if let Some(hashed) = readable(hashed)?.filter(|hashed| hashed.sha256 == sha256) {
                let substitute = Substitute {
                    key,
                    version,
                    locked_until: hashed.locked_until,
                };
                found = longer_locked(found, substitute);
                if !self.locks {
                    break;
                }
            }
        }
        Ok(found)
    }

    /// The blobs under a digest's own name; those of the key that is checked were considered already.
    async fn blobs(
        &self,
        sha256: Digest,
        size: u64,
        outcome: &Outcome,
    ) -> Result<Vec<Place>, StoreError> {
        substitutes(self.vault, &outcome.key, (Area::Blobs, sha256, size)).await
    }
}

/// What was read of a candidate. One that cannot be read for good serves for nothing; a passing fault decides nothing.
fn readable<T>(read: Result<T, StoreError>) -> Result<Option<T>, StoreError> {
    match read {
        Ok(read) => Ok(Some(read)),
        Err(error) if error.is_permanent() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Of two objects with the same bytes, the one that is locked for longer.
pub(super) fn longer_locked(one: Option<Substitute>, other: Substitute) -> Option<Substitute> {
    let other_is_longer = one
        .as_ref()
        .is_none_or(|one| one.locked_until < other.locked_until);
    if other_is_longer { Some(other) } else { one }
}
