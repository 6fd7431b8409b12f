//! Claims the table that is being restored, so that two people do not restore different snapshots into one place.

use futures::TryStreamExt;
use jiff::SignedDuration;

use super::{OWN_PREFIX, RestoreRequest, Restorer};
use crate::error::Error;
use crate::format::{decode_json, encode_json};
use crate::ids::{ETag, ObjectKey};
use crate::plan::restore::{Claim, ClaimVerdict, judge_claim};
use crate::store::{Payload, StoreErrorKind, read_all};

/// A claim ends by itself after this long: a restore that died does not block the next one for the night.
const CLAIM_LENGTH: SignedDuration = SignedDuration::from_hours(1);

/// A claim has a few hundred bytes; more is somebody else's file.
const CLAIM_LIMIT: u64 = 64 * 1024;

impl Restorer {
    /// The claim with the highest number: the number, its key and tag, and what it says when it can be read.
    pub(super) async fn newest_claim(
        &self,
    ) -> Result<Option<(u64, (ObjectKey, ETag), Option<Claim>)>, Error> {
        let mut newest = None;
        let prefix = format!("{OWN_PREFIX}claim-");
        let mut listing = self.target.list(&prefix, None);
        while let Some(found) = listing.try_next().await? {
            let number = found
                .key
                .as_str()
                .strip_prefix(&prefix)
                .and_then(|n| n.parse().ok());
            if let Some(number) = number
                && newest.as_ref().is_none_or(|(top, _)| number > *top)
            {
                newest = Some((number, (found.key, found.etag)));
            }
        }
        let Some((number, (key, etag))) = newest else {
            return Ok(None);
        };
        let claim = match read_all(self.target.as_ref(), &key, None, CLAIM_LIMIT).await {
            Ok((_, body)) => decode_json("claim", &body).ok(),
            Err(error) if error.is_not_found() => None,
            Err(error) => return Err(error.into()),
        };
        Ok(Some((number, (key, etag), claim)))
    }

    /// Claims the table for this restore; returns the number of the claim.
    pub(super) async fn claim(&self, request: &RestoreRequest) -> Result<u64, Error> {
        let until = request.now.checked_add(CLAIM_LENGTH).unwrap_or(request.now);
        let ours = Claim {
            by: request.by.clone(),
            snapshot: request.id,
            until,
        };
        let found = self.newest_claim().await?;
        let newest = found.as_ref().and_then(|(_, _, claim)| claim.as_ref());
        let respected = |claim: &Claim| Error::ClaimedByOther {
            table: self.target.uri().to_owned(),
            by: claim.by.clone(),
            until: claim.until,
        };
        if let (ClaimVerdict::Respect, Some(claim)) =
            (judge_claim(newest, &ours, request.now), newest)
        {
            return Err(respected(claim));
        }
        let number = found.map_or(1, |(number, ..)| number + 1);
        let key: ObjectKey = format!("{OWN_PREFIX}claim-{number}").parse()?;
        let payload = Payload::from_bytes(encode_json("claim", &ours)?);
        match self.target.put_new(&key, &payload, None).await {
            Ok(_) => Ok(number),
            Err(error) if matches!(error.kind, StoreErrorKind::AlreadyExists) => {
                let other = self.newest_claim().await?.and_then(|(_, _, claim)| claim);
                Err(other.map_or(error.into(), |claim| respected(&claim)))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Takes one's own claim away again, and those that it superseded; who has taken it over since keeps theirs.
    pub(super) async fn release(&self, number: u64) -> Result<(), Error> {
        let prefix = format!("{OWN_PREFIX}claim-");
        let claims: Vec<_> = self.target.list(&prefix, None).try_collect().await?;
        for claim in claims {
            let found = claim.key.as_str().strip_prefix(&prefix);
            let found: Option<u64> = found.and_then(|found| found.parse().ok());
            if found.is_none_or(|found| found > number) {
                continue;
            }
            match self.target.remove(&claim.key, &claim.etag).await {
                Ok(()) => {}
                Err(error) if error.is_not_found() => {}
                Err(error) if matches!(error.kind, StoreErrorKind::Changed) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}
