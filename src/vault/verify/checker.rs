//! Reads objects once, and holds what came of a key.

use std::collections::HashSet;

use futures::TryStreamExt;
use sha2::{Digest as _, Sha256};

use super::losses::Lost;
use super::parts::PartHasher;
use super::wanted::Want;
use crate::ids::{Digest, ObjectKey, ObjectVersion, Timestamp};
use crate::plan::verify::{Problem, VerifyPlan};
use crate::progress::Progress;
use crate::store::StoreError;
use crate::vault::Vault;

/// What came of one key.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) key: ObjectKey,
    /// What is wrong, and which units are concerned.
    pub(super) problems: Vec<(Vec<usize>, Problem)>,
    /// What is lost, and which units need it; who that is has yet to be filled in.
    pub(super) lost: Vec<(Vec<usize>, Lost)>,
    /// Objects in whose place something serves that a repair put, and which units need them.
    pub(super) repaired: Vec<(Vec<usize>, Vec<Lost>)>,
    /// Units whose object is held in another object version than recorded.
    pub(super) moved: Vec<usize>,
    /// Units whose object may be held in another object version, which was not read.
    pub(super) unproven: Vec<usize>,
    /// Until when object versions are locked that were looked at, and which units rest on it.
    pub(super) locks: Vec<(Vec<usize>, Option<Timestamp>)>,
    /// Units whose object has no legal hold, though a snapshot on hold needs it.
    pub(super) unheld: Vec<Vec<usize>>,
    pub(super) objects_read: u64,
    pub(super) bytes_read: u64,
}

/// Checks keys.
#[derive(Debug)]
pub(super) struct Checker<'a> {
    pub(super) vault: &'a Vault,
    pub(super) plan: VerifyPlan,
    pub(super) sampled: &'a HashSet<Digest>,
    /// The units that snapshots on hold use.
    pub(super) held: &'a HashSet<usize>,
    pub(super) locks: bool,
    pub(super) progress: &'a dyn Progress,
}

/// Bytes that were read once.
pub(super) struct Hashed {
    pub(super) sha256: Digest,
    pub(super) wrong_parts: Vec<usize>,
    pub(super) locked_until: Option<Timestamp>,
}

impl Checker<'_> {
    /// Hashes an object, and the files in it, as it streams by.
    pub(super) async fn hash(
        &self,
        key: &ObjectKey,
        version: Option<&ObjectVersion>,
        want: &Want,
        outcome: &mut Outcome,
    ) -> Result<Hashed, StoreError> {
        let mut reader = self.vault.store().open(key, version, None).await?;
        let mut hasher = Sha256::new();
        let mut parts = PartHasher::new(&want.parts);
        let mut size = 0_u64;
        while let Some(chunk) = reader.body.try_next().await? {
            size = size.saturating_add(chunk.len() as u64);
            outcome.bytes_read = outcome.bytes_read.saturating_add(chunk.len() as u64);
            self.progress.moved(chunk.len() as u64);
            hasher.update(&chunk);
            parts.update(&chunk);
            if size > want.size {
                // Longer than it was recorded: whatever follows, it is not the object.
                break;
            }
        }
        Ok(Hashed {
            sha256: Digest::from_hasher(hasher),
            wrong_parts: parts.finish(),
            locked_until: reader.attributes.locked_until,
        })
    }
}
