//! Plans one attempt at a snapshot: pins V, replays it by the ways that its log has, and finds out what must be copied.
//!
//! Every complete way through the log has to give the same table. Where a checkpoint gives another one the plan holds
//! the union of both, the record names the checkpoint, and its owner reads it as a finding.

use std::collections::{HashSet, VecDeque};

use super::closure::{self, Closure, Matching, Stored};
use super::failure::Failure;
use super::inputs::Inputs;
use super::left::Left;
use super::lock_terms::LockTerms;
use super::log_files::Bodies;
use super::past::Past;
use super::pin;
use super::pinned::Pinned;
use super::planned::{Plan, Planned};
use super::replayed::{self, Touched};
use super::since::StartDiffers;
use super::snapshotter::Snapshotter;
use super::streams;
use super::ways::{self, FailedCheckpoint, LogRead, LogReader, Way};
use crate::count::counted;
use crate::delta::path::TableRoot;
use crate::delta::replay::{Comparison, FilesCompared};
use crate::delta::segment::{CheckpointFiles, Segment};
use crate::delta::{LogError, check_protocol};
use crate::error::Error;
use crate::format::{Disagreement, Scope};
use crate::ids::{Id128, Location, ObjectKey};
use crate::plan::snapshot::{BaseUse, NOT_AT_THE_SOURCE};
use crate::progress::Phase;
use crate::spool::{Scratch, Spool};

/// Disagreements that a record names: it may not grow past its limit by them.
const DISAGREEMENTS_MAX: usize = 64;

/// Disagreements and unreadable checkpoints that findings name one by one.
const FINDINGS_MAX: usize = 5;

/// What an attempt came to before anything was written.
pub(super) enum Attempt {
    /// The head's manifest serves.
    Unchanged(Box<Pinned>, Past),
    Planned(Box<Planned>),
}

/// What all ways of one attempt work on.
struct Work<'a> {
    inputs: Inputs<'a>,
    terms: &'a LockTerms,
    root: TableRoot,
    scratch: Scratch,
    spool: Spool,
    bodies: Bodies,
}

/// The plan along one way.
struct Along {
    log: LogRead,
    start_differs: Option<StartDiffers>,
    terms: LockTerms,
    closure: Closure,
    journals: Vec<Id128>,
}

impl Snapshotter {
    pub(super) async fn attempt_plan(
        &self,
        inputs: Inputs<'_>,
        terms: &LockTerms,
    ) -> Result<Attempt, Failure> {
        let Inputs {
            source, request, ..
        } = inputs;
        self.progress.phase(&request.table.name, Phase::ReadLog);
        let scratch = Scratch::create(&self.temp).map_err(Error::Scratch)?;
        let mut pinned = pin::pin(&self.vault, inputs, scratch.path()).await?;
        if let Some(past) = pinned.unchanged.take() {
            return Ok(Attempt::Unchanged(Box::new(pinned), past));
        }
        if request.scope == Scope::History {
            pinned.compare_respelled(&self.vault).await?;
        }
        let mut work = Work {
            inputs,
            terms,
            root: TableRoot::new(source.uri())?,
            spool: Spool::create(&scratch).map_err(Error::Scratch)?,
            scratch,
            bodies: Bodies::new(),
        };
        let mut failures: Vec<FailedWay> = Vec::new();
        let mut ways = VecDeque::from(ways::ways(&pinned, request.scope)?);
        while let Some(way) = ways.pop_front() {
            if failures.iter().any(|failed| failed.closes(&way)) {
                continue;
            }
            let planned = Box::pin(self.plan_along(&mut work, &mut pinned, way.clone())).await;
            match planned {
                Ok(along) if is_refuted(&mut pinned, &along.closure) => {
                    work.bodies = along.log.bodies;
                    ways = ways::ways(&pinned, request.scope)?.into();
                }
                Ok(along) => {
                    if !along.closure.state.txns.is_empty() {
                        let found = streams::find_checkpoint(source).await?;
                        pinned.findings.extend(found);
                    }
                    let planned = along.into_planned(work, pinned, failures)?;
                    return Ok(Attempt::Planned(Box::new(planned)));
                }
                Err(Failure::Error(Error::Log(error))) if ends_only_its_way(&error) => {
                    failures.push(FailedWay { way, error });
                }
                Err(failure) => return Err(failure),
            }
        }
        let first = failures.into_iter().next();
        Err(first
            .map_or(LogError::NoLog { files: 0 }, |failed| failed.error)
            .into())
    }

    /// Reads and replays one way to V and closes over its live set.
    async fn plan_along(
        &self,
        work: &mut Work<'_>,
        pinned: &mut Pinned,
        way: Way,
    ) -> Result<Along, Failure> {
        let folder = work.scratch.path();
        let mut reader = LogReader {
            vault: &self.vault,
            source: work.inputs.source,
            pinned,
            root: &work.root,
            folder,
            spool: &mut work.spool,
            bodies: std::mem::take(&mut work.bodies),
        };
        let read = reader.read(way).await;
        work.bodies = reader.bodies;
        let log = read?;
        self.progress
            .phase(&work.inputs.request.table.name, Phase::Plan);
        let mut closely: Vec<CheckpointFiles> = Vec::new();
        loop {
            let planned = self.plan_closure(work, pinned, &log, &closely).await;
            let (terms, journals, closure) = match planned {
                Ok(planned) => planned,
                Err(failure) => {
                    work.bodies = log.bodies;
                    return Err(failure);
                }
            };
            // Sums that differ say that, and no more: the rows of those checkpoints say which files.
            let unequal = closure.unequal();
            if unequal.is_empty() {
                let compared = self.compare_with_base(pinned, &log, &work.root, &work.scratch);
                let start_differs = compared.await?;
                if let Some(differs) = &start_differs {
                    pinned.note_doubt(differs.finding.clone());
                    // The log that is held is then the one that was listed: the base's would lead to other files.
                    pinned.ended = true;
                }
                return Ok(Along {
                    log,
                    start_differs,
                    terms,
                    closure,
                    journals,
                });
            }
            // The rows of one may make another's sum differ: none is compared by its sum again.
            closely.extend(unequal);
        }
    }

    async fn plan_closure(
        &self,
        work: &Work<'_>,
        pinned: &mut Pinned,
        log: &LogRead,
        closely: &[CheckpointFiles],
    ) -> Result<(LockTerms, Vec<Id128>, Closure), Failure> {
        let Inputs {
            source, request, ..
        } = work.inputs;
        let folder = work.scratch.path();
        let mut replayed = replayed::replay_log(pinned, log, &work.root, folder, closely)?;
        let (protocol, metadata) = replayed.replay.state().required(pinned.version)?;
        check_protocol(protocol)?;
        let delta_id = metadata.id.clone().unwrap_or_default();
        if let Some(base) = &pinned.base
            && base.using == BaseUse::HeldOnly
            && base.past.record.table.delta_id != delta_id
        {
            let left = pinned.base.take();
            pinned.left = left.map(|base| Left::all(base.past));
            replayed.touched = Touched::all();
        }
        if let Some(left) = pinned.left.take() {
            let finding = left.finding(&delta_id, pinned.version, pinned.base.as_ref());
            pinned.findings.push(finding);
            pinned.emptied = pinned.emptied.or(left.emptied(&delta_id));
        }
        let mut held = Stored::new(folder)?;
        let base = pinned.reused();
        let terms = work.terms.clone().on(base.map(|base| &base.past));
        let journals = self
            .take_journals(work.inputs, &terms, &delta_id, &mut held)
            .await?;
        let matching = Matching {
            pinned,
            from_base: log.way.from_base,
            history: request.scope == Scope::History,
            outside: &request.outside,
            held,
        };
        let closed = closure::close(&self.vault, source, replayed, matching, &work.scratch).await?;
        Ok((terms, journals, closed))
    }
}

/// Whether a base without its own commit is of another table than the checkpoint that came since: it lends only what it
/// holds then.
fn is_refuted(pinned: &mut Pinned, closure: &Closure) -> bool {
    let likely = pinned.base.as_mut();
    let likely = likely.filter(|base| base.using == BaseUse::Likely);
    let of_another = closure
        .compared
        .iter()
        .any(|(_, found)| found.state_differs);
    if let Some(base) = likely.filter(|_| of_another) {
        base.using = BaseUse::HeldOnly;
        return true;
    }
    false
}

fn disagreement(checkpoint: &CheckpointFiles, found: &Comparison) -> Option<Disagreement> {
    let (adds, lacks) = match found.files {
        FilesCompared::Counted { adds, lacks } => (adds, lacks),
        FilesCompared::Same | FilesCompared::Differ => (0, 0),
    };
    Some(Disagreement {
        adds,
        checkpoint: checkpoint.version,
        empty: None,
        file: checkpoint.files.first()?.key.clone(),
        lacks,
        sizes: found.resized,
        state: found.state_differs,
        unnamed: 0,
    })
}

/// How a checkpoint's files differ from what the other ways name.
pub(super) fn said_difference(
    (adds, lacks): (u64, u64),
    resized: u64,
    example: Option<&Location>,
) -> String {
    let sizes = match resized {
        1 => "gives 1 live file, or its deletion vector, another size".to_owned(),
        several => {
            format!("gives {several} live files, or their deletion vectors, another size")
        }
    };
    if (adds, lacks) == (0, 0) && resized > 0 {
        return sizes;
    }
    let example = example.map_or_else(String::new, |file| format!(", one of them {file}"));
    let lacks = counted(lacks, "live file");
    let names = format!("lacks {lacks} that they name and has {adds} that they do not{example}");
    match resized {
        0 => names,
        _ => format!("{names}, and {sizes}"),
    }
}

/// Whether another way to V may do without what is wrong. Commits without a protocol or metadata serve no
/// reader, and a checkpoint may have both.
pub(super) fn ends_only_its_way(error: &LogError) -> bool {
    error.is_about_content()
        || matches!(
            error,
            LogError::NoProtocol { .. } | LogError::NoMetadata { .. }
        )
}

/// A way that could not be taken for what a log file has in it.
struct FailedWay {
    way: Way,
    error: LogError,
}

impl FailedWay {
    /// Whether another way needs the same log file.
    fn closes(&self, way: &Way) -> bool {
        self.error.file().is_some_and(|file| way.needs(file))
    }

    /// The checkpoint that is to blame, or else what its owner has to know.
    fn into_blame(self) -> Result<FailedCheckpoint, String> {
        let Self { way, error } = self;
        let Segment {
            checkpoint,
            commits,
            ..
        } = way.segment;
        let blamed: Option<ObjectKey> = error.file().and_then(|file| file.parse().ok());
        let blamed = blamed.filter(|file| commits.iter().all(|commit| commit.key != *file));
        match (checkpoint, blamed) {
            (Some(start), Some(file)) => {
                let unnamed = format!("another way to the version was taken: {error}");
                FailedCheckpoint::of(&start, Some(file), error).ok_or(unnamed)
            }
            _ => Err(format!("another way to the version was taken: {error}")),
        }
    }
}

impl Along {
    fn into_planned(
        mut self,
        work: Work<'_>,
        mut pinned: Pinned,
        failures: Vec<FailedWay>,
    ) -> Result<Planned, LogError> {
        let mut failed = std::mem::take(&mut self.log.failed);
        failed.append(&mut self.closure.failed);
        for failure in failures {
            match failure.into_blame() {
                Ok(checkpoint) => failed.push(checkpoint),
                Err(finding) => pinned.findings.push(finding),
            }
        }
        let mut seen = HashSet::new();
        failed.retain(|it| seen.insert((it.version, it.file.clone())));
        pinned.findings.extend(self.missing_before(&pinned));
        if work.inputs.request.scope == Scope::History {
            pinned.findings.extend(self.below_a_gap(&pinned));
        }
        pinned.findings.extend(self.doubled().take(FINDINGS_MAX));
        let (disagreements, unlisted) = self.disagreements(&pinned);
        let findings = failed.iter().map(FailedCheckpoint::finding);
        let disagreeing = self.findings(&disagreements, &pinned);
        pinned.doubt = pinned.doubt.take().or(disagreeing.first().cloned());
        pinned
            .findings
            .extend(findings.chain(disagreeing).take(FINDINGS_MAX));
        let all = failed.len() + disagreements.len() + unlisted;
        let unnamed = all.saturating_sub(FINDINGS_MAX);
        if unnamed > 0 {
            let more =
                format!("{unnamed} more checkpoints are unreadable or differ from the commits");
            pinned.findings.push(more);
        }
        self.log.failed = failed;
        let Self {
            log,
            terms,
            closure,
            journals,
            ..
        } = self;
        let (protocol, metadata) = closure.state.required(pinned.version)?;
        Ok(Planned {
            plan: Plan {
                terms,
                pinned,
                log,
                protocol: protocol.clone(),
                metadata: metadata.clone(),
                closely: closure.compared_closely(),
                touched: closure.touched,
                disagreements,
                findings: closure.findings,
                journals,
                root: work.root,
                scratch: work.scratch,
            },
            copies: closure.copies,
            expected: closure.expected,
        })
    }

    /// What the base says of files that readers differ on and the source lacks: they do until they all start from a
    /// checkpoint that was written since.
    fn missing_before(&self, pinned: &Pinned) -> Vec<String> {
        let base = pinned.base.as_ref();
        let Some(base) = base.filter(|_| self.log.way.from_base) else {
            return Vec::new();
        };
        let record = &base.past.record;
        if pin::newest_checkpoint(&pinned.listing, pinned.version) != record.checkpoint {
            return Vec::new();
        }
        let before = record
            .findings
            .iter()
            .filter(|finding| finding.contains(NOT_AT_THE_SOURCE));
        before.take(FINDINGS_MAX).cloned().collect()
    }

    /// What the owner should know of versions that readers can still open, and that no way leads on from.
    fn below_a_gap(&self, pinned: &Pinned) -> Option<String> {
        let first = self.log.way.first_version();
        let versions = pinned.listing.versions();
        let mut below = versions.range(..first).rev();
        let readable = below.find(|version| pinned.listing.candidates(**version).is_ok())?;
        Some(format!(
            "the log has a gap between version {readable} and version {first}: the versions before it are not held, although \
             readers can open them"
        ))
    }

    /// What the owner should know of checkpoints that name a file more than once.
    fn doubled(&self) -> impl Iterator<Item = String> {
        let compared = self.closure.compared.iter().rev();
        let doubled = compared.filter(|(_, found)| found.doubled > 0);
        doubled.map(|(checkpoint, found)| {
            format!(
                "checkpoint {} names live files again in {} rows: readers that do not look for that count their rows twice",
                checkpoint.version, found.doubled
            )
        })
    }

    /// The checkpoints that differ, newest first, and how many more there are than a record lists.
    ///
    /// Where the start differs from the base, it is to blame for what sets it apart from a checkpoint that the base found to
    /// agree, or that has what the base has.
    fn disagreements(&self, pinned: &Pinned) -> (Vec<Disagreement>, usize) {
        let start = self.log.way.segment.checkpoint.as_ref();
        let start = start.zip(self.start_differs.as_ref());
        let is_agreed = |checkpoint: &CheckpointFiles| {
            pinned.base.as_ref().is_some_and(|base| {
                let mut then = base.past.record.disagreements.iter();
                let is_file =
                    |it: &Disagreement| checkpoint.files.iter().any(|file| file.key == it.file);
                pinned.inherited.knows(checkpoint) && !then.any(is_file)
            })
        };
        let way = &self.log.way;
        let has_all_commits = !way.from_base && way.segment.checkpoint.is_none();
        let differing = self.closure.compared.iter().rev();
        let differing = differing.filter(|(_, found)| !found.agrees());
        let mut all: Vec<_> = differing
            .filter_map(|(checkpoint, found)| match start {
                Some((start, differs)) => {
                    let itself = disagreement(checkpoint, found)?;
                    let (adds, lacks) = (itself.lacks, itself.adds);
                    let has_the_bases = differs.base_has == Some((itself.adds, itself.lacks));
                    if !is_agreed(checkpoint) && !has_the_bases {
                        return Some(itself);
                    }
                    let of_start = disagreement(start, found)?;
                    Some(Disagreement {
                        adds,
                        lacks,
                        ..of_start
                    })
                }
                None => disagreement(checkpoint, found).map(|itself| Disagreement {
                    unnamed: if has_all_commits { found.unmet } else { 0 },
                    ..itself
                }),
            })
            .collect();
        let mut seen = HashSet::new();
        all.retain(|found| seen.insert(found.file.clone()));
        for found in &mut all {
            found.empty = pinned.listing.empty_commits(found.checkpoint).next_back();
        }
        let unlisted = all.len().saturating_sub(DISAGREEMENTS_MAX);
        all.truncate(DISAGREEMENTS_MAX);
        (all, unlisted)
    }

    fn findings(&self, disagreements: &[Disagreement], pinned: &Pinned) -> Vec<String> {
        let others = match &pinned.base {
            Some(base) if self.log.way.from_base => {
                format!("snapshot {} and the commits after it", base.past.id.short())
            }
            Some(_) | None => "the commits".to_owned(),
        };
        // Of several, nothing tells whose it is.
        let example = self.closure.disputed.as_ref();
        let example = example.filter(|_| disagreements.len() == 1);
        let newest = pin::newest_checkpoint(&pinned.listing, pinned.version);
        let findings = disagreements.iter().map(|found| {
            let version = found.checkpoint;
            let state = if found.state {
                "has another protocol or table id, or none, "
            } else {
                ""
            };
            let difference = said_difference((found.adds, found.lacks), found.sizes, example);
            let readers = match newest.filter(|newest| *newest > version) {
                Some(newest) => format!("readers start from checkpoint {newest} by now"),
                None => "readers see the checkpoint's".to_owned(),
            };
            let keep = match (found.empty, found.unnamed) {
                (Some(empty), _) => format!(
                    "; commit {empty} is empty, so keep the checkpoint: it may be all that is left of what that commit did"
                ),
                (None, 0) => String::new(),
                (None, unnamed) => format!(
                    "; no commit names {}, so keep the checkpoint: it may be all that is left of a commit that was lost or \
                     overwritten",
                    counted(unnamed, "file")
                ),
            };
            format!(
                "checkpoint {version} disagrees with {others}: it {state}{difference}; this snapshot holds both sides, and \
                 {readers}{keep}"
            )
        });
        findings.collect()
    }
}
