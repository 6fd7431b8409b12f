//! Damage as a disk does it, and locks changed by an identity that may bypass them.

use super::{MemoryStore, find_mut};
use crate::ids::{ObjectKey, ObjectVersion, Timestamp};
use crate::store::{StoreError, StoreErrorKind};

impl MemoryStore {
    /// Flips one bit of a version's bytes (`None`: the newest), counted from the lowest bit of the first byte. `ETag` and
    /// attested SHA-256 stay as they were, as on a disk that decays.
    ///
    /// # Errors
    /// [`StoreErrorKind::NotFound`], and [`StoreErrorKind::InvalidRange`] when it has no such bit.
    pub fn flip_bit(
        &self,
        key: &ObjectKey,
        version: Option<&ObjectVersion>,
        bit: usize,
    ) -> Result<(), StoreError> {
        self.damage(key, version, |bytes| {
            let byte = bytes.get_mut(bit / 8)?;
            *byte ^= 1 << (bit % 8);
            Some(())
        })
    }

    /// Cuts a version (`None`: the newest) down to its first `size` bytes.
    ///
    /// # Errors
    /// [`StoreErrorKind::NotFound`], and [`StoreErrorKind::InvalidRange`] when it is not longer than that.
    pub fn truncate(
        &self,
        key: &ObjectKey,
        version: Option<&ObjectVersion>,
        size: usize,
    ) -> Result<(), StoreError> {
        self.damage(key, version, |bytes| {
            let longer = size < bytes.len();
            bytes.truncate(size);
            longer.then_some(())
        })
    }

    /// Sets a version's lock to any time or to none, as an identity that may bypass GOVERNANCE can.
    ///
    /// # Errors
    /// [`StoreErrorKind::NotFound`].
    pub fn force_lock(
        &self,
        key: &ObjectKey,
        version: Option<&ObjectVersion>,
        until: Option<Timestamp>,
    ) -> Result<(), StoreError> {
        let mut state = self.state();
        let object = find_mut(&mut state, key, version)
            .ok_or_else(|| self.failed("lock", key, StoreErrorKind::NotFound))?;
        object.locked_until = until;
        Ok(())
    }

    fn damage(
        &self,
        key: &ObjectKey,
        version: Option<&ObjectVersion>,
        how: impl FnOnce(&mut Vec<u8>) -> Option<()>,
    ) -> Result<(), StoreError> {
        let mut state = self.state();
        let object = find_mut(&mut state, key, version)
            .ok_or_else(|| self.failed("damage", key, StoreErrorKind::NotFound))?;
        let mut bytes = object.bytes.to_vec();
        how(&mut bytes).ok_or_else(|| self.failed("damage", key, StoreErrorKind::InvalidRange))?;
        object.bytes = bytes.into();
        Ok(())
    }
}
