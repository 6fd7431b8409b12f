//! Replays V once more, from the bytes that the vault holds: what was planned and what was written must be equal.

use std::collections::HashSet;

use futures::TryStreamExt;

use super::closure::Expected;
use super::log::{Bodies, Body};
use super::pin::Pinned;
use super::replayed::{self, Replayed, Touched, adds_of};
use super::ways::LogRead;
use super::{Failure, Snapshotter};
use crate::delta::path::TableRoot;
use crate::error::Error;
use crate::format::PageRef;
use crate::ids::{Location, ObjectKey};
use crate::spool::{Scratch, Spool};

impl Snapshotter {
    /// Reads the log files that V was planned from back from the vault and replays them.
    pub(super) async fn prove(
        &self,
        pinned: &Pinned,
        log: &LogRead,
        log_pages: &[PageRef],
        root: &TableRoot,
        expected: Expected,
        scratch: &Scratch,
    ) -> Result<(), Failure> {
        let base = pinned.base.as_ref();
        let known = base.map_or(&[][..], |base| &base.manifest.log_pages);
        let mut held = self.bodies_in_vault(log, known, log_pages, scratch).await?;
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
        let Replayed {
            mut replay,
            touched,
            ..
        } = replayed::replay_log(base, &proof, root, scratch.path())?;
        let touched = match base {
            Some(base) if base.reuse && log.way.from_base => touched,
            Some(_) | None => Touched::all(),
        };
        for entry in expected.base.read().map_err(Error::Scratch)? {
            for add in adds_of(entry.map_err(Error::Scratch)?) {
                replay.start_file(
                    base.map_or(pinned.version, |base| base.past.record.version),
                    add,
                )?;
            }
        }
        if replayed::fingerprint(replay, &touched)? == expected.fingerprint {
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
        known: &[PageRef],
        log_pages: &[PageRef],
        scratch: &Scratch,
    ) -> Result<Bodies, Failure> {
        let mut spool = Spool::create(scratch).map_err(Error::Scratch)?;
        let mut bodies = Bodies::new();
        let mut missing: HashSet<&ObjectKey> = log.replayed_files().collect();
        // What a page kept on this machine says is no proof.
        let vault = self.vault.without_pages();
        // What is new lies in the new pages, so the others are rarely read.
        let known: HashSet<_> = known.iter().map(|page| page.page.sha256).collect();
        let (old, new): (Vec<_>, Vec<_>) = log_pages
            .iter()
            .cloned()
            .partition(|page| known.contains(&page.page.sha256));
        for pages in [new, old] {
            if missing.is_empty() {
                break;
            }
            let mut entries = vault.entries(&pages);
            while let Some(entry) = entries.try_next().await? {
                let Location::Inside(key) = &entry.file else {
                    continue;
                };
                let Some(read) = log.bodies.get(key).filter(|_| missing.remove(key)) else {
                    continue;
                };
                let payload = vault.payload(&entry, scratch.path()).await?;
                let spooled = spool.append(&payload).map_err(Error::Scratch)?;
                bodies.insert(
                    key.clone(),
                    Body {
                        attributes: read.attributes.clone(),
                        spooled,
                    },
                );
            }
        }
        Ok(bodies)
    }
}
