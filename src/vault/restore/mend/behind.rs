//! Checkpoints that were written while a commit below them was empty.
//!
//! Readers start from the newest checkpoint: once the commit has its bytes again, they would still not see what it did.
//! Such a checkpoint says exactly what the log with the empty commit leads to, and not what the mended log does.

use std::collections::{HashMap, HashSet};

use super::super::content::{Content, LogReader};
use super::super::held::nothing_held;
use super::super::planning::Planning;
use crate::delta::segment::{CheckpointFiles, LogListing, Segment};
use crate::error::Error;
use crate::ids::{ObjectKey, Version};
use crate::store::Attributes;

impl Planning<'_> {
    /// Plans to set those checkpoints aside, where the log leads to its newest version without them.
    pub(super) async fn set_checkpoints_behind_aside(
        &mut self,
        skip: &HashSet<ObjectKey>,
    ) -> Result<(), Error> {
        let after = self.after(skip);
        let Some((tip, first)) = self.tip().zip(self.refilled(&after).first().copied()) else {
            return Ok(());
        };
        let mut live = LogReader::of_target(self.restorer, nothing_held())?;
        let mut mended = LogReader::of_target(self.restorer, &after.from_vault)?;
        let now = self.held.live();
        let above = now.checkpoints().iter();
        let above: Vec<_> = above.filter(|found| found.version >= first).collect();
        let mut behind = Vec::new();
        for checkpoint in &above {
            let version = checkpoint.version;
            let said = live.checkpoint(checkpoint).await?;
            let commits = way_below(&self.held.listed, &above, version);
            let mended_commits = way_below(&after.files, &above, version);
            if let (Some(commits), Some(mended_commits)) = (commits, mended_commits)
                && said.trouble().is_none()
                && live.way(&commits).await? == said
                && let Content::Says(right) = mended.way(&mended_commits).await?
                && said != Content::Says(right)
            {
                behind.push(*checkpoint);
            }
        }
        if behind.is_empty() || way_below(&after.files, &behind, tip).is_none() {
            return Ok(());
        }
        for checkpoint in behind {
            if let Some(file) = checkpoint.files.first() {
                let what = format!(
                    "checkpoint {} was written while commit {first} was empty, and lacks what that did",
                    checkpoint.version
                );
                self.held.broken.insert(file.key.clone(), what);
            }
            self.plan.set_aside(checkpoint, &self.held.listed);
        }
        Ok(())
    }
}

/// The way to a version through a log without some of its checkpoints.
fn way_below(
    log: &HashMap<ObjectKey, Attributes>,
    out: &[&CheckpointFiles],
    version: Version,
) -> Option<Segment> {
    let files = out.iter().flat_map(|checkpoint| &checkpoint.files);
    let out: HashSet<&ObjectKey> = files.map(|file| &file.key).collect();
    let rest = log.values().filter(|file| !out.contains(&file.key));
    let rest = LogListing::new(rest.cloned());
    rest.candidates(version).ok()?.next()
}
