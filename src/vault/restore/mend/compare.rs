//! Which checkpoints and sidecars cannot be read, or say something else than those that were held.

use std::collections::HashSet;

use super::Out;
use crate::delta::segment::{CheckpointFiles, LogListing};
use crate::error::Error;
use crate::format::EntryKind;
use crate::format::record::Disagreement;
use crate::ids::{ObjectKey, Version};
use crate::plan::restore::FileState;
use crate::vault::restore::WhyLeftOut;
use crate::vault::restore::content::{Content, LogReader};
use crate::vault::restore::held::nothing_held;
use crate::vault::restore::planning::Planning;

impl Planning<'_> {
    /// The checkpoints that were marked unreadable when they were taken, or that name a sidecar that was.
    pub(super) async fn marked(&self, listing: &LogListing) -> Result<Vec<Out>, Error> {
        let marked: HashSet<&ObjectKey> = self
            .held
            .special
            .iter()
            .filter(|(_, entry)| entry.unreadable)
            .map(|(key, _)| key)
            .collect();
        if marked.is_empty() {
            return Ok(Vec::new());
        }
        let of_sidecar = marked
            .iter()
            .any(|key| self.held.special.get(*key).map(|it| it.kind) == Some(EntryKind::Sidecar));
        let mut reader = self.vault_reader(&self.held.special)?;
        let mut out = Vec::new();
        for checkpoint in listing.checkpoints() {
            let mut is_marked = checkpoint.files.iter().any(|it| marked.contains(&it.key));
            if !is_marked && of_sidecar {
                let named = reader.sidecars(checkpoint).await?;
                is_marked = named.iter().any(|key| marked.contains(key));
            }
            if is_marked {
                out.push(Out::of(checkpoint, WhyLeftOut::UnreadableWhenTaken));
            }
        }
        Ok(out)
    }

    /// Leaves out each disagreeing checkpoint that somebody took out of a live log which leads to its tip without it.
    pub(super) fn leave_out_disagreeing(&self, listing: &LogListing, out: &mut Vec<Out>) {
        let live = self.held.live();
        if self.tip().is_none_or(|tip| live.candidates(tip).is_err()) {
            return;
        }
        let gone = self.disagreeing(listing, out, &WhyLeftOut::Disagrees);
        let gone = gone.into_iter().filter(|found| {
            let mut files = found.checkpoint.files.iter();
            files.all(|file| !self.held.listed.contains_key(&file.key))
                && !self.may_be_right(found.checkpoint.version)
        });
        out.extend(gone);
    }

    /// Where one checkpoint that disagrees is left out, leaves the others that do out, too, if the rest suffices: readers
    /// would start from them.
    pub(super) async fn with_disagreeing(
        &self,
        listing: &LogListing,
        out: &mut Vec<Out>,
    ) -> Result<(), Error> {
        let mut versions = out.iter().map(|out| out.checkpoint.version);
        if !versions.any(|version| self.is_disagreeing(version)) {
            return Ok(());
        }
        let others = self.disagreeing(listing, out, &WhyLeftOut::Asked);
        let all = [out.as_slice(), &others].concat();
        if !others.is_empty() && self.way_without(&all).await?.is_ok() {
            *out = all;
        }
        Ok(())
    }

    /// The checkpoints that disagree and are not left out yet, to be left out for a reason.
    fn disagreeing(&self, listing: &LogListing, out: &[Out], why: &WhyLeftOut) -> Vec<Out> {
        let disagreeing = listing.checkpoints().iter().filter(|checkpoint| {
            self.is_disagreeing(checkpoint.version)
                && !out.iter().any(|out| out.checkpoint == **checkpoint)
        });
        let leave_out = |checkpoint: &CheckpointFiles| Out::of(checkpoint, why.clone());
        disagreeing.map(leave_out).collect()
    }

    /// Compares checkpoints whose files have other bytes than the snapshot's by what they say.
    pub(super) async fn compare_checkpoints(
        &mut self,
        listing: &LogListing,
        out: &mut Vec<Out>,
    ) -> Result<(), Error> {
        let special = self.held.special.clone();
        let mut vault = self.vault_reader(&special)?;
        let mut target = LogReader::of_target(self.restorer, nothing_held())?;
        for checkpoint in listing.checkpoints() {
            let wrong: Vec<_> = checkpoint
                .files
                .iter()
                .filter(|file| self.state(&file.key) == FileState::Wrong)
                .map(|file| file.key.clone())
                .collect();
            let is_out = |out: &Out| out.checkpoint.files == checkpoint.files;
            if wrong.is_empty() || out.iter().any(is_out) {
                continue;
            }
            // Where the snapshot's own ways disagree it does not tell which is right.
            let is_doubtful = self.is_disagreeing(checkpoint.version);
            let now = target.checkpoint(checkpoint).await?;
            let then = vault.checkpoint(checkpoint).await?;
            let trouble = match (&now, &then) {
                (Content::Unreadable(why), Content::Says(_) | Content::Lost) => why.clone(),
                (Content::Says(now), Content::Says(then)) if now != then && !is_doubtful => {
                    format!(
                        "checkpoint {} names other files than the one that was held",
                        checkpoint.version
                    )
                }
                (Content::Unreadable(_), Content::Unreadable(why)) => {
                    out.push(Out::of(checkpoint, WhyLeftOut::Unreadable(why.clone())));
                    continue;
                }
                (Content::Says(_) | Content::Lost, _) => continue,
            };
            for key in wrong {
                self.mark_broken(key, trouble.clone());
            }
        }
        Ok(())
    }

    fn may_be_right(&self, version: Version) -> bool {
        let disagreements = &self.request.record.disagreements;
        let mut of_version = disagreements.iter().filter(|it| it.checkpoint == version);
        of_version.any(Disagreement::may_be_right)
    }

    fn is_disagreeing(&self, version: Version) -> bool {
        let disagreements = &self.request.record.disagreements;
        disagreements.iter().any(|it| it.checkpoint == version)
    }

    /// Sidecars are never rewritten: one with other bytes is replaced unless it says the same.
    pub(super) async fn compare_sidecars(&mut self) -> Result<(), Error> {
        let sidecars: Vec<ObjectKey> = self
            .held
            .special
            .iter()
            .filter(|(key, entry)| {
                entry.kind == EntryKind::Sidecar
                    && !entry.unreadable
                    && self.state(key) == FileState::Wrong
            })
            .map(|(key, _)| key.clone())
            .collect();
        if sidecars.is_empty() {
            return Ok(());
        }
        let special = self.held.special.clone();
        let mut vault = self.vault_reader(&special)?;
        let mut target = LogReader::of_target(self.restorer, nothing_held())?;
        for key in sidecars {
            let now = target.file(&key).await?;
            let then = vault.file(&key).await?;
            let trouble = match (now, then) {
                (Content::Unreadable(why), Content::Says(_) | Content::Lost) => why,
                (Content::Says(now), Content::Says(then)) if now != then => {
                    format!("{key} names other files than the one that was held")
                }
                (Content::Unreadable(_), Content::Unreadable(_))
                | (Content::Says(_) | Content::Lost, _) => continue,
            };
            self.mark_broken(key, trouble);
        }
        Ok(())
    }

    /// Reads the checkpoint that readers will begin with, where it is about to be put back; the next one where it cannot
    /// be read.
    pub(super) async fn check_newest(
        &self,
        listing: &LogListing,
        out: &mut Vec<Out>,
    ) -> Result<(), Error> {
        if !self.puts_all() {
            return Ok(());
        }
        let mut reader = self.vault_reader(&self.held.special)?;
        for checkpoint in listing.checkpoints() {
            if out.iter().any(|out| out.checkpoint == *checkpoint) {
                continue;
            }
            let mut files = checkpoint.files.iter();
            if files.all(|file| self.state(&file.key) == FileState::Right) {
                return Ok(());
            }
            match reader.checkpoint(checkpoint).await? {
                Content::Unreadable(why) => {
                    out.push(Out::of(checkpoint, WhyLeftOut::Unreadable(why)));
                }
                Content::Says(_) | Content::Lost => return Ok(()),
            }
        }
        Ok(())
    }
}
