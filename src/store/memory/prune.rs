//! Deleting and holding, by S3's rules.

use async_trait::async_trait;

use super::{MemoryStore, find_mut};
use crate::ids::{ObjectKey, ObjectVersion};
use crate::store::prune::{DeleteTarget, Deletion, HoldStore, PruneStore};
use crate::store::{StoreError, StoreErrorKind};

#[async_trait]
impl HoldStore for MemoryStore {
    async fn set_hold(
        &self,
        key: &ObjectKey,
        version: Option<&ObjectVersion>,
        held: bool,
    ) -> Result<(), StoreError> {
        self.with_hold("hold", key, version, |hold| *hold = held)
    }
}

#[async_trait]
impl PruneStore for MemoryStore {
    async fn delete_versions(&self, objects: &[DeleteTarget]) -> Result<Vec<Deletion>, StoreError> {
        Ok(objects
            .iter()
            .map(|(key, version)| self.delete_one(key, version.as_ref()))
            .collect())
    }
}

impl MemoryStore {
    pub(super) fn with_hold<T>(
        &self,
        action: &'static str,
        key: &ObjectKey,
        version: Option<&ObjectVersion>,
        with: impl FnOnce(&mut bool) -> T,
    ) -> Result<T, StoreError> {
        if !self.locks {
            let reason = "this store has no legal holds".to_owned();
            return Err(self.failed(action, key, StoreErrorKind::Unsupported { reason }));
        }
        match find_mut(&mut self.state(), key, version) {
            Some(object) => Ok(with(&mut object.held)),
            None => Err(self.failed(action, key, StoreErrorKind::NotFound)),
        }
    }

    /// Deletes a version, or a delete marker, unless a lock or a hold keeps it.
    pub(super) fn delete_one(&self, key: &ObjectKey, version: Option<&ObjectVersion>) -> Deletion {
        let mut state = self.state();
        if self.versions != version.is_some() {
            let detail = "a store with versions deletes versions, another one objects".to_owned();
            return Deletion::Refused { detail };
        }
        let now = state.now;
        if let Some(object) = find_mut(&mut state, key, version) {
            if object.held {
                return Deletion::Held;
            }
            if let Some(until) = object.locked_until.filter(|until| *until > now) {
                return Deletion::Locked { until: Some(until) };
            }
        }
        if let Some(kept) = state.objects.get_mut(key.as_str()) {
            kept.retain(|kept| version.is_some_and(|version| kept.version != *version));
            if kept.is_empty() {
                state.objects.remove(key.as_str());
            }
        }
        Deletion::Deleted
    }
}
