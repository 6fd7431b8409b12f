//! Replays V once more, from the bytes that the vault holds: what was planned and what was written must be equal.

use std::collections::HashSet;

use futures::TryStreamExt;

use super::closure::Expected;
use super::failure::Failure;
use super::log_files::{Bodies, Body};
use super::planned::Plan;
use super::replayed::{self, Replayed, live_files_of};
use super::snapshotter::Snapshotter;
use super::ways::LogRead;
use crate::delta::segment::CheckpointFiles;
use crate::error::Error;
use crate::format::PageRef;
use crate::ids::{Location, ObjectKey};
use crate::spool::Spool;

/// That the log in the vault leads to the table that was planned.
pub(super) struct Proven(());

impl Snapshotter {
    /// Reads the log files that V was planned from back from the vault and replays them.
    ///
    /// Of a compared checkpoint that agrees the vault's digest is enough: it adds nothing to V, and its rows were compared
    /// from bytes with that digest.
    pub(super) async fn prove(
        &self,
        plan: &Plan,
        log_pages: &[PageRef],
        expected: Expected,
    ) -> Result<Proven, Failure> {
        let Plan {
            pinned,
            log,
            closely,
            ..
        } = plan;
        let base = pinned.base.as_ref();
        let mut way = log.way.clone();
        way.compared.clone_from(closely);
        let proof = LogRead {
            way,
            bodies: self.bodies_in_vault(plan, log_pages).await?,
            aside: Vec::new(),
            failed: Vec::new(),
            replayed_sidecars: log.replayed_sidecars.clone(),
            sidecars: log.sidecars.clone(),
            info: log.info.clone(),
        };
        let Replayed {
            mut replay,
            touched,
            ..
        } = replayed::replay_log(pinned, &proof, &plan.root, plan.scratch.path(), closely)?;
        let touched = match base {
            Some(base) if base.reuse && log.way.from_base => touched,
            Some(_) | None => touched.and_all(),
        };
        for entry in expected.base.read().map_err(Error::Scratch)? {
            let from = base.map_or(pinned.version, |base| base.past.record.version);
            for known in live_files_of(entry.map_err(Error::Scratch)?, from) {
                replay.start_file(known)?;
            }
        }
        if replayed::fingerprint(replay, &touched)? == expected.fingerprint {
            return Ok(Proven(()));
        }
        Err(Failure::Error(Error::Damaged {
            object: format!("version {}", pinned.version),
            what: "replayed from the vault's own bytes it is another table than was planned"
                .to_owned(),
        }))
    }

    /// Reads the wanted log files from the vault, and compares the digests of the others.
    async fn bodies_in_vault(&self, plan: &Plan, log_pages: &[PageRef]) -> Result<Bodies, Failure> {
        let Plan { log, scratch, .. } = plan;
        let mut wanted = Wanted::of(log, &plan.closely);
        let base = plan.pinned.base.as_ref();
        let known = base.map_or(&[][..], |base| &base.manifest.log_pages);
        let mut spool = Spool::create(scratch).map_err(Error::Scratch)?;
        let mut bodies = Bodies::new();
        // A page kept on this machine proves nothing about the vault.
        let vault = self.vault.without_pages();
        // What is new lies in the new pages, so the others are rarely read.
        let known: HashSet<_> = known.iter().map(|page| page.page.sha256).collect();
        let (old, new): (Vec<_>, Vec<_>) = log_pages
            .iter()
            .cloned()
            .partition(|page| known.contains(&page.page.sha256));
        for pages in [new, old] {
            if wanted.first().is_none() {
                break;
            }
            let mut entries = vault.entries(&pages);
            while let Some(entry) = entries.try_next().await? {
                let Location::Inside(key) = &entry.file else {
                    continue;
                };
                let Some(read) = log.bodies.get(key) else {
                    continue;
                };
                if entry.sha256 == Some(read.spooled.sha256) {
                    wanted.by_digest.remove(key);
                }
                if wanted.bytes.remove(key) {
                    let payload = vault.payload(&entry, scratch.path()).await?;
                    let spooled = spool.append(&payload).map_err(Error::Scratch)?;
                    let attributes = read.attributes.clone();
                    let body = Body {
                        attributes,
                        spooled,
                    };
                    bodies.insert(key.clone(), body);
                }
            }
        }
        match wanted.first() {
            None => Ok(bodies),
            Some(key) => Err(Failure::Error(Error::Damaged {
                object: key.to_string(),
                what: "it was read for the plan, but the vault does not hold those bytes"
                    .to_owned(),
            })),
        }
    }
}

/// The log files that a proof looks up in the vault.
struct Wanted<'a> {
    /// To be read.
    bytes: HashSet<&'a ObjectKey>,
    /// Only to be held under the digest that they had.
    by_digest: HashSet<&'a ObjectKey>,
}

impl<'a> Wanted<'a> {
    fn of(log: &'a LogRead, closely: &'a [CheckpointFiles]) -> Self {
        let mut bytes: HashSet<_> = log.replayed_files().collect();
        let mut by_digest: HashSet<_> = log.compared_files().chain(&log.sidecars).collect();
        if !closely.is_empty() {
            bytes.extend(&log.sidecars);
            let files = closely.iter().flat_map(|found| &found.files);
            bytes.extend(files.map(|file| &file.key));
        }
        // Kept checkpoints name sidecars that the base holds.
        let is_read = |key: &&ObjectKey| log.bodies.contains_key(*key);
        bytes.retain(is_read);
        by_digest.retain(|key| is_read(key) && !bytes.contains(*key));
        Self { bytes, by_digest }
    }

    fn first(&self) -> Option<&'a ObjectKey> {
        self.bytes.iter().chain(&self.by_digest).next().copied()
    }
}
