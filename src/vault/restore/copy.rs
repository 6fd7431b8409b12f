//! Where a full copy may go: into an empty place, or into one that a run of the same snapshot has begun to fill. One that
//! holds the whole copy already is accepted: its owner may not have read how that run ended.

use futures::TryStreamExt;

use super::claim::Claims;
use super::held::HeldLog;
use super::{OWN_PREFIX, RestoreRequest, Restorer, live_tip};
use crate::error::Error;
use crate::plan::restore::FileState;

/// What the place for a copy holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CopyPlace {
    /// Nothing.
    Empty,
    /// What an interrupted run of the same snapshot has put, and its claim.
    Begun,
    /// The log of the same snapshot, without a claim: nothing is put here, and all of it is there or it is refused.
    Filled,
}

impl Restorer {
    /// Looks at the place for a copy.
    ///
    /// # Errors
    /// [`Error::TargetNotEmpty`]
    pub(super) async fn copy_place(
        &self,
        request: &RestoreRequest,
        claims: &Claims,
        held: &HeldLog,
    ) -> Result<CopyPlace, Error> {
        let mut claims = claims.found.iter().filter_map(|it| it.claim.as_ref());
        if claims.any(|claim| claim.snapshot == request.id) {
            return Ok(CopyPlace::Begun);
        }
        let foreign = self.target.list("", None).try_filter(|found| {
            let is_own = found.key.as_str().starts_with(OWN_PREFIX);
            futures::future::ready(!is_own)
        });
        if std::pin::pin!(foreign).try_next().await?.is_none() {
            return Ok(CopyPlace::Empty);
        }
        let mut states = held.states.values();
        let is_filled = live_tip(&held.listed) == Some(request.version)
            && held.right_commits > 0
            && states.all(|state| matches!(state, FileState::Right | FileState::Missing));
        if is_filled {
            Ok(CopyPlace::Filled)
        } else {
            Err(self.not_empty())
        }
    }

    pub(super) fn not_empty(&self) -> Error {
        Error::TargetNotEmpty {
            uri: self.target.uri().to_owned(),
        }
    }
}
