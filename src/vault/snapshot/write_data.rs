//! Puts every data file that the vault lacks into it, with a journal, and says what that brought.
//!
//! Everything is tried before a file that is missing fails the snapshot, so that all of them are named, and what was placed
//! is journalled.

use std::sync::Arc;

use super::closure::Copies;
use super::data::{Copier, Ended, Outcome};
use super::failure::Failure;
use super::inputs::Inputs;
use super::journal::Journal;
use super::past::Past;
use super::planned::Plan;
use super::snapshotter::Snapshotter;
use crate::count::{are, counted};
use crate::error::Error;
use crate::format::{Change, Entry, Placement, Scope};
use crate::ids::{Location, ObjectKey, Version};
use crate::plan::retention::lock_phases;
use crate::plan::snapshot::{InDataOrder, NOT_AT_THE_SOURCE, Need, Span};
use crate::progress::{Phase, PlannedWork};
use crate::sort::Sorter;

/// How findings begin about files on which readers differ.
const OF_SOME_READERS: &str = "of the files that only some readers have live, by a spelling or by one of several ways through the log";

/// The data files, all in the vault.
pub(super) struct DataWritten {
    /// The entries of the data pages but for the base's that stay as they are.
    pub(super) entries: Sorter<InDataOrder>,
    pub(super) brought: Brought,
}

/// What copying brought, for the record.
pub(super) struct Brought {
    /// The versions that need files which are absent, or others by now.
    pub(super) absent: Vec<Span>,
    pub(super) findings: Vec<String>,
    pub(super) change: Change,
}

impl Snapshotter {
    /// Copies what the vault lacks; `journals` counts those of the run.
    pub(super) async fn write_data(
        &self,
        inputs: Inputs<'_>,
        plan: &Plan,
        missing: Copies,
        journals: &mut u32,
    ) -> Result<DataWritten, Failure> {
        let copier = Arc::new(Copier {
            run: self.clone(),
            source: inputs.source.clone(),
            terms: plan.terms.clone(),
            lock_phases: lock_phases(missing.needs.len()),
            folder: plan.scratch.path().to_owned(),
        });
        let request = inputs.request;
        self.progress.phase(&request.table.name, Phase::Copy);
        let placer = self.placer(&plan.terms);
        let mut journal = Journal::start(placer, self.journal, inputs, plan.delta_id(), *journals);
        let done = copy(
            &copier,
            missing,
            &mut journal,
            plan.pinned.version,
            request.scope,
        )
        .await;
        *journals = journal.written();
        done.map(|copied| copied.into_written(plan.pinned.base.as_ref().map(|base| &base.past)))
    }
}

/// The data files, and what was odd about them.
struct Copied {
    entries: Sorter<InDataOrder>,
    absent: Vec<Span>,
    /// What the source lacks of the files on which readers differ.
    gone: Named,
    /// What has other bytes at the source than the base holds under the same description.
    others: Named,
    /// What has another size than the readers expect who have it live.
    resized: Named,
    change: Change,
}

impl Copied {
    fn into_written(self, base: Option<&Past>) -> DataWritten {
        let others = base.and_then(|base| self.others.finding_of_others(base));
        let findings = [
            self.gone.finding(),
            self.resized.finding_of_resized(),
            others,
        ];
        DataWritten {
            entries: self.entries,
            brought: Brought {
                absent: self.absent,
                findings: findings.into_iter().flatten().collect(),
                change: self.change,
            },
        }
    }
}

async fn copy(
    copier: &Arc<Copier>,
    missing: Copies,
    journal: &mut Journal<'_>,
    version: Version,
    scope: Scope,
) -> Result<Copied, Failure> {
    let Copies {
        kept,
        known: mut entries,
        needs,
        bytes,
        mut change,
        replaced: mut absent,
        ..
    } = missing;
    let planned = PlannedWork {
        files: needs.len(),
        bytes,
    };
    let known = kept + entries.len();
    copier.run.progress.planned(planned);
    let mut trouble = Trouble::default();
    let mut gone = Named::default();
    let mut others = Named::default();
    let mut resized = Named::default();
    let needs = needs.finish()?.map(|need| Ok(need?.row));
    let result = copier
        .copy_all(needs, journal, |outcome| {
            match outcome {
                Outcome::Placed {
                    entry,
                    is_other,
                    is_resized,
                } => {
                    if is_other {
                        others.note(&entry.file);
                    }
                    if is_resized {
                        resized.note(&entry.file);
                    }
                    change.new_files += 1;
                    change.new_bytes += entry.size;
                    entries.push(InDataOrder(*entry))?;
                }
                Outcome::Missing(need) if need.required => {
                    trouble.missing.push(need.file.to_string());
                    // Held once: its object was looked for before the file was called missing.
                    let held = need
                        .held
                        .and_then(|held| held.placement.reference().cloned());
                    trouble.lost = trouble.lost.take().or_else(|| held.map(|held| held.key));
                }
                // No version but this one is held, and not every reader has the file live in it.
                Outcome::Missing(need) if scope == Scope::Live => gone.note(&need.file),
                Outcome::Missing(need) => {
                    if !need.live.is_empty() {
                        gone.note(&need.file);
                    }
                    absent.extend(need.spans.iter().copied());
                    entries.push(InDataOrder(absent_entry(*need)))?;
                }
                Outcome::Archived { file } => trouble.archived.push(file),
                Outcome::WrongSize {
                    file,
                    expected,
                    or_more,
                    actual,
                } => {
                    trouble.wrong_size.get_or_insert(Error::SourceFileSize {
                        file,
                        expected,
                        or_more,
                        actual,
                    });
                }
            }
            Ok(())
        })
        .await;
    let mut ended = Ended::Whole;
    if !matches!(result, Ok(Ended::Whole)) || !trouble.is_none() {
        let flushed = journal.flush().await;
        // What stopped the copy stops the journal too, and is what its owner has to know.
        ended = result?;
        flushed?;
    }
    trouble.into_result(version)?;
    if let Ended::At(limit) = ended {
        return Err(Failure::Limit {
            version,
            limit,
            placed: PlannedWork {
                files: change.new_files,
                bytes: change.new_bytes,
            },
            planned,
            known,
        });
    }
    Ok(Copied {
        entries,
        absent,
        gone,
        others,
        resized,
        change,
    })
}

/// Files of one kind, of which the first is named.
#[derive(Debug, Default)]
struct Named {
    count: u64,
    first: Option<String>,
}

impl Named {
    fn note(&mut self, file: &Location) {
        self.count += 1;
        self.first.get_or_insert_with(|| file.to_string());
    }

    /// What to say of files whose bytes at the source are not those that a snapshot holds, which the log does not show.
    fn finding_of_others(&self, base: &Past) -> Option<String> {
        let first = self.first.as_ref()?;
        Some(format!(
            "{} {} other bytes than snapshot {} holds, under the same name, size and time, first {first}: this snapshot \
             holds what the source has now, which may be damage; that one keeps what was there",
            counted(self.count, "file"),
            self.have(),
            base.id.short()
        ))
    }

    /// What to say of files that are held as they are, with a size that the log does not give.
    fn finding_of_resized(&self) -> Option<String> {
        let first = self.first.as_ref()?;
        Some(format!(
            "{OF_SOME_READERS}, {} {} another size at the source than the log gives, first {first}: held as the source has it",
            self.count,
            self.have()
        ))
    }

    /// What to say of files that the source lacks.
    fn finding(&self) -> Option<String> {
        let first = self.first.as_ref()?;
        let (they_are, them) = if self.count == 1 {
            ("it is", "it")
        } else {
            ("they are", "them")
        };
        Some(format!(
            "{OF_SOME_READERS}, {} {} {NOT_AT_THE_SOURCE}, first {first}: {they_are} not held, and readers that have {them} \
             live cannot read the table",
            self.count,
            are(self.count),
        ))
    }

    fn have(&self) -> &'static str {
        if self.count == 1 { "has" } else { "have" }
    }
}

/// Files that stand in the way of a snapshot; the copy goes on, so that all of them are named and the rest is journalled.
#[derive(Debug, Default)]
struct Trouble {
    missing: Vec<String>,
    /// The first object that the vault has lost of what is missing.
    lost: Option<ObjectKey>,
    archived: Vec<String>,
    wrong_size: Option<Error>,
}

impl Trouble {
    fn is_none(&self) -> bool {
        self.missing.is_empty() && self.archived.is_empty() && self.wrong_size.is_none()
    }

    fn into_result(self, version: Version) -> Result<(), Failure> {
        match self.wrong_size {
            Some(error) => Err(Failure::Error(error)),
            None if self.missing.is_empty() && self.archived.is_empty() => Ok(()),
            // A newer version may do without them; what is missing may be of one that is over.
            None if self.missing.is_empty() => Err(Failure::Archived {
                version,
                files: self.archived,
            }),
            None => Err(Failure::Vanished {
                version,
                files: self.missing,
                lost: self.lost,
            }),
        }
    }
}

/// The entry of a file that only older versions name and the source no longer has.
fn absent_entry(need: Need) -> Entry {
    Entry {
        absolute: need.absolute,
        etag: None,
        file: need.file,
        kind: need.kind,
        last_modified: None,
        live: Vec::new(),
        mode: None,
        modification_time: need.modification_time,
        object_version: None,
        placement: Placement::Absent {},
        rows: need.rows,
        sha256: None,
        size: need.size.unwrap_or_default(),
        unreadable: false,
    }
}
