//! What an engine's own RESTORE has committed: whether a newer version has exactly the files of V.

use super::content::LogReader;
use super::held::nothing_held;
use super::{Counted, Restorer, live_tip};
use crate::delta::LogError;
use crate::delta::replay::LiveFile;
use crate::delta::segment::LogListing;
use crate::error::Error;
use crate::ids::{Location, Version};

/// Versions that are compared with V: the newest of those that were committed since.
const COMPARED: u64 = 16;

/// What was committed to a live table, beside V.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// The newest version.
    pub tip: Version,
    /// The newest of those committed since that has exactly the files of V.
    pub same: Option<Version>,
    /// The logical files of V.
    pub files: u64,
    /// Files of V that the newest version does not have.
    pub lacks: Counted,
    /// Files of the newest version that V does not have.
    pub adds: Counted,
}

impl Restorer {
    /// Replays the live log and compares what was committed after `before` with V. Files count by their names and their
    /// deletion vectors.
    ///
    /// # Errors
    /// [`LogError::Gap`] where the log leads to V no more; whatever is wrong with the log, and what the store says.
    pub async fn look_for_commit(
        &self,
        version: Version,
        before: Version,
    ) -> Result<Committed, Error> {
        let log = self.list_log().await?;
        let tip = live_tip(&log).unwrap_or(before);
        let listing = LogListing::new(log.into_values());
        // The way that begins with the oldest version.
        let way = listing.candidates(tip)?.last();
        let checkpoint = way.as_ref().and_then(|way| way.checkpoint.as_ref());
        let checkpoint = checkpoint.map(|found| found.version);
        let Some(way) = way.filter(|_| checkpoint <= Some(version)) else {
            return Err(LogError::Gap {
                version,
                first_missing: Version(0),
                checkpoint,
            }
            .into());
        };
        let mut reader = LogReader::of_target(self, nothing_held())?;
        let replay = reader.read_and_replay(&way).await?;
        let (_, files) = replay.finish_with_history()?;
        let oldest = before.0.max(tip.0.saturating_sub(COMPARED));
        let candidates: Vec<Version> = (oldest..tip.0).map(|it| Version(it + 1)).collect();
        let mut compared = Compared {
            version,
            unlike: vec![false; candidates.len()],
            candidates,
            files: 0,
            lacks: Counted::default(),
            adds: Counted::default(),
        };
        let mut spans: Vec<LiveFile> = Vec::new();
        for file in files {
            let file = file?;
            // The spans of one logical file follow each other.
            if spans.first().is_some_and(|it| name(it) != name(&file)) {
                compared.take(&spans);
                spans.clear();
            }
            spans.push(file);
        }
        compared.take(&spans);
        let pairs = compared.candidates.iter().zip(&compared.unlike);
        let same = pairs.rev().find(|(_, unlike)| !**unlike);
        Ok(Committed {
            tip,
            same: same.map(|(version, _)| *version),
            files: compared.files,
            lacks: compared.lacks,
            adds: compared.adds,
        })
    }
}

/// A logical file.
fn name(file: &LiveFile) -> (&Location, Option<&str>) {
    let dv = file.add.dv.as_ref();
    (&file.add.file, dv.map(|dv| dv.id.as_str()))
}

/// Versions beside V, as far as their files were seen.
struct Compared {
    version: Version,
    candidates: Vec<Version>,
    /// Which of the candidates have other files.
    unlike: Vec<bool>,
    files: u64,
    lacks: Counted,
    adds: Counted,
}

impl Compared {
    /// Takes a logical file with the spans of versions that have it.
    fn take(&mut self, spans: &[LiveFile]) {
        let Some(LiveFile { add, .. }) = spans.first() else {
            return;
        };
        let has = |version: Version| {
            let mut spans = spans.iter();
            spans.any(|it| it.from <= version && it.until.is_none_or(|until| until > version))
        };
        let in_v = has(self.version);
        self.files += u64::from(in_v);
        for (version, unlike) in self.candidates.iter().zip(&mut self.unlike) {
            *unlike |= has(*version) != in_v;
        }
        match (in_v, self.candidates.last().is_some_and(|tip| has(*tip))) {
            (true, false) => self.lacks.add(&add.file),
            (false, true) => self.adds.add(&add.file),
            (true, true) | (false, false) => {}
        }
    }
}
