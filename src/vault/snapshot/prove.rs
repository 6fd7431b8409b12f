//! Replays V once more, from the bytes that the vault holds: what was planned and what was written must be equal.

use futures::TryStreamExt;

use super::log::{Bodies, Body};
use super::pin::Pinned;
use super::replayed::{self, Fingerprint};
use super::ways::LogRead;
use super::{Failure, Snapshotter};
use crate::delta::path::TableRoot;
use crate::error::Error;
use crate::format::PageRef;
use crate::ids::Location;
use crate::spool::{Scratch, Spool};

impl Snapshotter {
    /// Reads the log files that V was planned from back from the vault and replays them.
    pub(super) async fn prove(
        &self,
        pinned: &Pinned,
        log: &LogRead,
        log_pages: &[PageRef],
        root: &TableRoot,
        planned: Fingerprint,
        scratch: &Scratch,
    ) -> Result<(), Failure> {
        let mut held = self.bodies_in_vault(log, log_pages, scratch).await?;
        let mut proof = LogRead {
            way: log.way.clone(),
            bodies: Bodies::new(),
            replayed_sidecars: log.replayed_sidecars.clone(),
            sidecars: log.sidecars.clone(),
            info: log.info.clone(),
        };
        for key in log.replayed_files() {
            let body = held.remove(key).ok_or_else(|| Error::Damaged {
                object: key.to_string(),
                what: "it was read for the plan, but the vault does not hold it".to_owned(),
            })?;
            proof.bodies.insert(key.clone(), body);
        }
        let base = pinned.base.as_ref();
        let (replay, _) =
            replayed::replay_version(&self.vault, base, &proof, root, scratch.path()).await?;
        if replayed::fingerprint(replay)? == planned {
            return Ok(());
        }
        Err(Failure::Error(Error::Damaged {
            object: format!("version {}", pinned.version),
            what: "replayed from the vault's own bytes it is another table than was planned"
                .to_owned(),
        }))
    }

    async fn bodies_in_vault(
        &self,
        log: &LogRead,
        log_pages: &[PageRef],
        scratch: &Scratch,
    ) -> Result<Bodies, Failure> {
        let mut spool = Spool::create(scratch).map_err(Error::Scratch)?;
        let mut bodies = Bodies::new();
        let mut entries = self.vault.entries(log_pages);
        while let Some(entry) = entries.try_next().await? {
            let Location::Inside(key) = &entry.file else {
                continue;
            };
            let Some(read) = log.bodies.get(key) else {
                continue;
            };
            let payload = self.vault.payload(&entry, scratch.path()).await?;
            let spooled = spool.append(&payload).map_err(Error::Scratch)?;
            bodies.insert(
                key.clone(),
                Body {
                    attributes: read.attributes.clone(),
                    spooled,
                },
            );
        }
        Ok(bodies)
    }
}
