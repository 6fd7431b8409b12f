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
        let failed = |kind| self.failed("hold", key, kind);
        if !self.locks {
            return Err(failed(no_holds()));
        }
        let mut state = self.state();
        let object =
            find_mut(&mut state, key, version).ok_or_else(|| failed(StoreErrorKind::NotFound))?;
        object.held = held;
        Ok(())
    }

    async fn is_held(
        &self,
        key: &ObjectKey,
        version: Option<&ObjectVersion>,
    ) -> Result<bool, StoreError> {
        let failed = |kind| self.failed("look at", key, kind);
        if !self.locks {
            return Err(failed(no_holds()));
        }
        let mut state = self.state();
        let object =
            find_mut(&mut state, key, version).ok_or_else(|| failed(StoreErrorKind::NotFound))?;
        Ok(object.held)
    }
}

fn no_holds() -> StoreErrorKind {
    StoreErrorKind::Unsupported {
        reason: "this store has no legal holds".to_owned(),
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
    fn delete_one(&self, key: &ObjectKey, version: Option<&ObjectVersion>) -> Deletion {
        let mut state = self.state();
        if self.versions != version.is_some() {
            let detail = "a store with versions deletes versions, another one objects".to_owned();
            return Deletion::Refused { detail };
        }
        let now = state.now;
        let Some(object) = find_mut(&mut state, key, version) else {
            return Deletion::Deleted;
        };
        if object.held {
            return Deletion::Held;
        }
        if let Some(until) = object.locked_until.filter(|until| *until > now) {
            return Deletion::Locked { until: Some(until) };
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
