//! Leaves checkpoints out of the log, where the rest of it leads to the version.

use std::collections::HashSet;

use futures::TryStreamExt;

use super::Out;
use crate::delta::segment::{LogListing, Segment};
use crate::error::{Error, RestoreError};
use crate::format::EntryKind;
use crate::ids::{Location, ObjectKey, Version};
use crate::vault::restore::content::{Content, LogReader};
use crate::vault::restore::held::nothing_held;
use crate::vault::restore::planning::Planning;
use crate::vault::restore::{LeftOut, LogWanted, WhyLeftOut};

/// The checkpoints of the version that is to be left out.
pub(super) fn asked(listing: &LogListing, version: Version) -> Result<Vec<Out>, Error> {
    let all = listing.checkpoints();
    let of_version = all.iter().filter(|found| found.version == version);
    let out: Vec<Out> = of_version
        .map(|checkpoint| Out::of(checkpoint, WhyLeftOut::Asked))
        .collect();
    if out.is_empty() {
        let mut held: Vec<Version> = all.iter().map(|found| found.version).collect();
        held.dedup();
        return Err(RestoreError::NoSuchCheckpoint { version, held }.into());
    }
    Ok(out)
}

impl Planning<'_> {
    /// Leaves checkpoints out where the snapshot's other log files suffice, and plans to set those at the target aside.
    pub(super) async fn leave_out(
        &mut self,
        listing: &LogListing,
        out: Vec<Out>,
    ) -> Result<HashSet<ObjectKey>, Error> {
        let mut skip = HashSet::new();
        if out.is_empty() {
            return Ok(skip);
        }
        let instead = match self.way_without(&out).await? {
            Ok(way) => way,
            Err(trouble) => {
                if let LogWanted::Without(checkpoint) = self.request.log {
                    return Err(RestoreError::NoWayWithout {
                        version: self.request.version,
                        checkpoint,
                        trouble,
                    }
                    .into());
                }
                let kept = out.into_iter();
                self.plan.kept_unreadable = kept.map(|out| out.checkpoint.version).collect();
                return Ok(skip);
            }
        };
        skip.extend(self.sidecars_of_none_else(listing, &out).await?);
        let files = out.iter().flat_map(|out| &out.checkpoint.files);
        skip.extend(files.map(|file| file.key.clone()));
        self.set_out_aside(&out).await?;
        self.plan
            .left_out
            .extend(out.into_iter().map(|out| LeftOut {
                checkpoint: out.checkpoint.version,
                why: out.why,
                from: instead.checkpoint.as_ref().map(|found| found.version),
                to: instead.version,
            }));
        Ok(skip)
    }

    /// The best way to the version through the snapshot's log without some checkpoints; why there is none.
    pub(super) async fn way_without(&self, out: &[Out]) -> Result<Result<Segment, String>, Error> {
        let files: HashSet<&ObjectKey> = out
            .iter()
            .flat_map(|out| &out.checkpoint.files)
            .map(|file| &file.key)
            .collect();
        let rest = self.held.files.iter().filter(|it| !files.contains(&it.key));
        self.first_readable(&LogListing::new(rest.cloned())).await
    }

    /// The best way to the version through some of the snapshot's log files that can be read from the vault.
    async fn first_readable(&self, rest: &LogListing) -> Result<Result<Segment, String>, Error> {
        let ways: Vec<Segment> = match rest.candidates(self.request.version) {
            Ok(ways) => ways.collect(),
            Err(error) => return Ok(Err(error.to_string())),
        };
        let mut reader = self.vault_reader(&self.held.special)?;
        let commits: HashSet<&ObjectKey> = ways
            .iter()
            .flat_map(|way| &way.commits)
            .map(|file| &file.key)
            .collect();
        let mut entries = self.restorer.log_entries(self.request, self.manifest);
        while let Some(entry) = entries.try_next().await? {
            if let Location::Inside(key) = &entry.file
                && commits.contains(key)
            {
                match reader.load(key, &entry).await {
                    // Its way cannot be read then, and the next one may do without it.
                    Ok(_) | Err(Error::Damaged { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        let mut trouble = String::new();
        for way in ways {
            match reader.way(&way).await? {
                Content::Says(_) => return Ok(Ok(way)),
                Content::Unreadable(why) => trouble = why,
                Content::Lost => "the vault has lost a part of it".clone_into(&mut trouble),
            }
        }
        Ok(Err(trouble))
    }

    /// The sidecars that checkpoints to be left out name, and no others.
    async fn sidecars_of_none_else(
        &self,
        listing: &LogListing,
        out: &[Out],
    ) -> Result<HashSet<ObjectKey>, Error> {
        let mut special = self.held.special.values();
        if !special.any(|entry| entry.kind == EntryKind::Sidecar) {
            return Ok(HashSet::new());
        }
        let mut reader = self.vault_reader(&self.held.special)?;
        let mut theirs = HashSet::new();
        let mut others = HashSet::new();
        for checkpoint in listing.checkpoints() {
            let is_out = out.iter().any(|out| out.checkpoint == *checkpoint);
            let named = reader.sidecars(checkpoint).await?;
            if is_out { &mut theirs } else { &mut others }.extend(named);
        }
        theirs.retain(|key| !others.contains(key));
        Ok(theirs)
    }

    /// What is left out is set aside where it stands in the live log: because it was asked for, or because nobody can read
    /// it. One that a writer has written again since, and that can be read, stays.
    async fn set_out_aside(&mut self, out: &[Out]) -> Result<(), Error> {
        let Some(tip) = self.tip() else {
            return Ok(());
        };
        let mut target = LogReader::of_target(self.restorer, nothing_held())?;
        let mut aside = Vec::new();
        for out in out {
            let files = &out.checkpoint.files;
            let is_live = files
                .iter()
                .any(|file| self.held.listed.contains_key(&file.key));
            let goes = match out.why {
                WhyLeftOut::Asked => is_live,
                WhyLeftOut::Disagrees => false,
                WhyLeftOut::UnreadableWhenTaken | WhyLeftOut::Unreadable(_) => {
                    is_live
                        && target
                            .checkpoint(&out.checkpoint)
                            .await?
                            .trouble()
                            .is_some()
                }
            };
            if goes {
                aside.push(out);
            }
        }
        // Under a newer live table the live log has to lead to its tip by itself.
        if !self.puts_all() {
            let mut rest = self.held.listed.clone();
            for out in &aside {
                rest.retain(|key, _| !out.checkpoint.files.iter().any(|file| file.key == *key));
            }
            if let Err(error) = LogListing::new(rest.into_values())
                .candidates(tip)
                .map(drop)
            {
                if let LogWanted::Without(checkpoint) = self.request.log {
                    return Err(RestoreError::NoWayWithout {
                        version: tip,
                        checkpoint,
                        trouble: error.to_string(),
                    }
                    .into());
                }
                return Ok(());
            }
        }
        for out in aside {
            for file in &out.checkpoint.files {
                self.held.broken.remove(&file.key);
            }
            if let Some(why) = match &out.why {
                WhyLeftOut::Asked | WhyLeftOut::Disagrees => None,
                WhyLeftOut::UnreadableWhenTaken => Some(format!(
                    "checkpoint {} cannot be read",
                    out.checkpoint.version
                )),
                WhyLeftOut::Unreadable(why) => Some(why.clone()),
            } && let Some(first) = out.checkpoint.files.first()
            {
                self.held.broken.insert(first.key.clone(), why);
            }
            self.plan.set_aside(&out.checkpoint, &self.held.listed);
        }
        Ok(())
    }
}
