//! Executes a plan: log, data, proof, pages, manifest, record, in this order.

use std::sync::Arc;

use futures::TryStreamExt;

use super::attempt::Planned;
use super::closure::Closure;
use super::data::{Copier, Ended, Outcome};
use super::failure::Failure;
use super::inputs::Inputs;
use super::journal::Journal;
use super::lock_terms::LockTerms;
use super::log::{self, LogWriter, LogWritten};
use super::pages::Pages;
use super::pin::{self, Past};
use super::placer::Placer;
use super::prove::Proof;
use super::record::Facts;
use super::replayed::Touched;
use super::request::SnapshotDone;
use super::snapshotter::Snapshotter;
use crate::count::{are, counted};
use crate::error::Error;
use crate::format::{
    Change, Entry, FORMAT, JournalHeader, Manifest, PageRef, Placement, Reference, Scope, Tally,
    data_order,
};
use crate::ids::{Location, ObjectKey, Version};
use crate::plan::price::Commitment;
use crate::plan::retention::{Slice, slices};
use crate::plan::snapshot::{InDataOrder, NOT_AT_THE_SOURCE, Need, Span, whole_versions};
use crate::plan::unheld::noted_properties;
use crate::progress::{Phase, PlannedWork};
use crate::sort::{SortError, Sorter};
use crate::source::Source;
use crate::spool::Scratch;
use crate::store::{Payload, StoreError, StoreErrorKind};
use crate::vault::Vault;

/// The data half of a snapshot, all of it in the vault.
struct Copied {
    entries: Sorter<InDataOrder>,
    /// The versions that files spoil which are absent, or others by now.
    absent: Vec<Span>,
    /// What the source lacks of the files on which readers differ.
    gone: Named,
    /// What has other bytes at the source than the base holds under the same description.
    others: Named,
    /// What has another size than the readers expect who have it live.
    resized: Named,
    change: Change,
}

impl Snapshotter {
    /// Copies, proves and publishes what was planned.
    #[expect(
        clippy::too_many_lines,
        reason = "the order of writes, told in one place"
    )]
    pub(super) async fn execute(
        &self,
        inputs: Inputs<'_>,
        mut planned: Planned,
        journals_written: &mut u32,
    ) -> Result<SnapshotDone, Failure> {
        let Inputs {
            source,
            request,
            view,
            ..
        } = inputs;
        let mut commitment = self.commitment_of(&planned).await?;
        request.check_commitment(&commitment)?;
        let terms = planned.terms.clone();
        let slices = slices(planned.closure.copy.len());
        // Manifests and pages are few, and read on every night: all are in one slice.
        let placer = Placer {
            store: &self.store,
            terms: &terms,
            slices: 1,
        };
        let table = &request.table.name;
        let mut tally = Tally::default();
        let log = self
            .write_log(source, placer, &mut planned, &mut tally)
            .await?;

        let Planned {
            mut pinned,
            log: read,
            mut closure,
            expected,
            disagreements,
            scratch,
            root,
            journals,
            ..
        } = planned;
        let closely: Vec<_> = closure.compared_closely();
        let state = closure.state.clone();
        let mut findings = std::mem::take(&mut closure.findings);
        let touched = std::mem::replace(&mut closure.touched, Touched::all());
        let (protocol, metadata) = state.required(pinned.version)?;
        let delta_id = metadata.id.clone().unwrap_or_default();
        let properties = noted_properties(&metadata.configuration);
        let mut journal = Journal::start(
            placer,
            self.journal,
            JournalHeader {
                delta_id: delta_id.clone(),
                format: FORMAT,
                principal: request.principal.clone(),
            },
            (request.key.hash(), view.head.next_free, request.run),
            *journals_written,
        );
        let copier = Arc::new(self.copier(source, &terms, slices, &scratch));
        self.progress.phase(table, Phase::Copy);
        let target = (pinned.version, request.scope);
        let data = copy(&copier, closure, &mut journal, target).await;
        *journals_written = journal.written();
        let Copied {
            entries,
            absent,
            gone,
            others,
            resized,
            mut change,
        } = data?;
        findings.extend(gone.finding());
        findings.extend(resized.finding_of_resized());
        let past = pinned.base.as_ref().map(|base| &base.past);
        findings.extend(past.and_then(|past| others.finding_of_others(past)));
        change.new_files += log.new_files;
        change.new_bytes += log.new_bytes;
        commitment.add_new(log.new_bytes, terms.kept());

        self.progress.phase(table, Phase::Check);
        let proof = Proof {
            closely,
            log_pages: &log.pages,
            expected,
        };
        self.prove(&pinned, &read, proof, &root, &scratch).await?;

        self.progress.phase(table, Phase::Publish);
        let base = pinned.base.as_ref().filter(|base| base.reuse);
        let base = DataOfBase {
            pages: base.map_or(&[][..], |base| &base.manifest.data_pages),
            touched,
        };
        let manifest = Manifest {
            data_pages: write_data_pages(&self.vault, placer, &base, entries, &mut tally).await?,
            delta_id: delta_id.clone(),
            format: FORMAT,
            log_pages: log.pages,
            totals: tally.totals(),
            version: pinned.version,
        };
        change.operation.clone_from(&read.info.operation);
        change.user.clone_from(&read.info.user);
        let whole_versions = match (request.scope, pinned.version.0.checked_sub(1)) {
            (Scope::History, Some(last)) => {
                whole_versions(read.way.first_version(), Version(last), &absent)
            }
            (Scope::History, None) | (Scope::Live, _) => Vec::new(),
        };
        let facts = Facts {
            manifest: placer
                .manifest(&Payload::from_bytes(manifest.encode()?))
                .await?,
            totals: manifest.totals,
            change,
            journals,
            whole_versions,
            findings,
            disagreements,
            properties,
        };
        self.check_lock(&terms, &facts.manifest).await?;
        let terms = terms.clone();
        let record = self.record(
            request,
            &terms,
            &mut pinned,
            &read,
            delta_id,
            protocol,
            facts,
        );
        let manifest = Some(&manifest);
        let done = self
            .publish(inputs, terms, &pinned, record, manifest)
            .await?;
        Ok(SnapshotDone { commitment, ..done })
    }

    fn copier(&self, source: &Source, terms: &LockTerms, slices: u64, scratch: &Scratch) -> Copier {
        Copier {
            vault: self.vault.clone(),
            source: source.clone(),
            store: Arc::clone(&self.bulk),
            terms: terms.clone(),
            slices,
            folder: scratch.path().to_owned(),
            budget: self.budget.clone(),
            limits: self.limits.clone(),
            days: terms.days(),
            pairs: self.pairs.clone(),
            interrupt: self.interrupt.clone(),
            progress: Arc::clone(&self.progress),
        }
    }

    /// What a plan newly commits to, as far as it is known before anything is copied.
    pub(super) async fn commitment_of(&self, planned: &Planned) -> Result<Commitment, Failure> {
        let base = planned.pinned.base.as_ref().filter(|base| base.reuse);
        let base = base.map(|base| (&*base.past.record, Some(&base.manifest)));
        self.commitment(&planned.terms, base, planned.closure.copy_bytes)
            .await
    }

    /// Looks whether the store keeps a lock that it was given with a put: the newest object's stands for the run's.
    async fn check_lock(&self, terms: &LockTerms, put: &Reference) -> Result<(), Failure> {
        let Some(until) = terms.lock_until(Slice::default()) else {
            return Ok(());
        };
        let store = self.store.as_ref();
        let there = store.attributes(&put.key, put.version.as_ref()).await?;
        if there.locked_until.is_none_or(|locked| locked < until) {
            // It may have been adopted, or the lock may not be ours to see.
            terms
                .extend(store, &put.key, put.version.as_ref(), until)
                .await?;
            let there = store.attributes(&put.key, put.version.as_ref()).await?;
            if there.locked_until.is_some_and(|locked| locked < until) {
                let reason = "the store does not keep the locks that it is given".to_owned();
                let kind = StoreErrorKind::Unsupported { reason };
                let source = Box::new(StoreError::below(
                    "lock",
                    store.uri(),
                    put.key.as_str(),
                    kind,
                ));
                let object = put.key.to_string();
                return Err(Failure::Error(Error::LockRefused {
                    object,
                    until,
                    source,
                }));
            }
        }
        Ok(())
    }

    /// Writes the log pages, and with them every log file that the base does not hold.
    async fn write_log(
        &self,
        source: &Source,
        placer: Placer<'_>,
        planned: &mut Planned,
        tally: &mut Tally,
    ) -> Result<LogWritten, Failure> {
        let writer = LogWriter {
            vault: &self.vault,
            source,
            placer,
            folder: planned.scratch.path(),
            bodies: &planned.log.bodies,
            sidecars: &planned.log.sidecars,
            unreadable: planned.log.unreadable(),
            stale_parts: planned
                .pinned
                .inherited
                .stale_parts(&planned.pinned.listing),
        };
        let pinned = &mut planned.pinned;
        let mut scope = pin::log_scope(pinned);
        // As long as ways differ, or one of them cannot be read, what each is made of stays: of what cannot be read, only
        // where the base's own commit shows that its log is of this table's past.
        let can_be_read = planned.log.failed.is_empty()
            && pinned.inherited.unreadable(&pinned.listing).is_empty();
        scope.whole &= pinned.ended || planned.disagreements.is_empty();
        scope.whole &= can_be_read || !pin::goes_on(pinned);
        let hint = writer.hint_is_true(pinned).await?;
        let hold = log::files_to_hold(pinned, hint);
        let base = pinned.base.as_ref().filter(|base| base.reuse);
        let known = base.map_or(&[][..], |base| &base.manifest.log_pages);
        let mut written = writer.write(pinned, hold, scope, known, tally).await?;
        written.leads_to(pinned.version, &mut planned.log.failed)?;
        Ok(written)
    }
}

/// Copies what the closure misses. Everything is tried before a file that is missing fails the snapshot, so that all of
/// them are named, and what was placed is journalled.
async fn copy(
    copier: &Arc<Copier>,
    closure: Closure,
    journal: &mut Journal<'_>,
    (version, scope): (Version, Scope),
) -> Result<Copied, Failure> {
    let Closure {
        kept,
        known: mut entries,
        copy,
        copy_bytes,
        mut change,
        replaced: mut absent,
        ..
    } = closure;
    let planned = PlannedWork {
        files: copy.len(),
        bytes: copy_bytes,
    };
    let known = kept + entries.len();
    copier.progress.planned(planned);
    let mut trouble = Trouble::default();
    let mut gone = Named::default();
    let mut others = Named::default();
    let mut resized = Named::default();
    let needs = copy.finish()?.map(|need| Ok(need?.row));
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

    /// What to say of files that the source has with other bytes than a snapshot holds, which nothing in the log tells.
    fn finding_of_others(&self, base: &Past) -> Option<String> {
        let first = self.first.as_ref()?;
        let have = if self.count == 1 { "has" } else { "have" };
        Some(format!(
            "{} {have} other bytes than snapshot {} holds, under the same name, size and time, first {first}: this snapshot \
             holds what the source has now, which may be damage; that one keeps what was there",
            counted(self.count, "file"),
            base.id.short()
        ))
    }

    /// What to say of files that are held as they are, with a size that the log does not give.
    fn finding_of_resized(&self) -> Option<String> {
        let first = self.first.as_ref()?;
        let have = if self.count == 1 { "has" } else { "have" };
        Some(format!(
            "of the files that only some readers have live, by a spelling or by one of several ways through the log, {} {have} \
             another size at the source than the log gives, first {first}: held as the source has it",
            self.count
        ))
    }

    fn finding(&self) -> Option<String> {
        let first = self.first.as_ref()?;
        let pronouns = if self.count == 1 {
            ("it is", "it")
        } else {
            ("they are", "them")
        };
        Some(format!(
            "of the files that only some readers have live, by a spelling or by one of several ways through the log, {} \
             {} {NOT_AT_THE_SOURCE}, first {first}: {} not held, and readers that have {} live cannot read the table",
            self.count,
            are(self.count),
            pronouns.0,
            pronouns.1
        ))
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
        modification_time: need.modification_time,
        object_version: None,
        placement: Placement::Absent {},
        rows: need.rows,
        sha256: None,
        size: need.size.unwrap_or_default(),
        unreadable: false,
    }
}

/// What the new data pages take over from the base's.
struct DataOfBase<'a> {
    pages: &'a [PageRef],
    touched: Touched,
}

/// Writes the data pages: the base's entries that stay as they are, and the others, merged in their order.
async fn write_data_pages(
    vault: &Vault,
    placer: Placer<'_>,
    base: &DataOfBase<'_>,
    entries: Sorter<InDataOrder>,
    tally: &mut Tally,
) -> Result<Vec<PageRef>, Failure> {
    let mut pages = Pages::new(vault, placer, base.pages);
    let mut entries = entries.finish()?.peekable();
    let mut of_base = vault.read_pages(base.pages);
    while let Some(page) = of_base.try_next().await? {
        for kept in page.iter().filter(|entry| base.touched.spares(entry)) {
            let comes_first = |entry: &Result<InDataOrder, SortError>| {
                entry
                    .as_ref()
                    .map_or(true, |entry| data_order(&entry.0) < data_order(kept))
            };
            while let Some(entry) = entries.next_if(comes_first) {
                let InDataOrder(entry) = entry?;
                tally.add(&entry);
                pages.push(&entry).await?;
            }
            tally.add(kept);
            pages.push(kept).await?;
        }
    }
    for entry in entries {
        let InDataOrder(entry) = entry?;
        tally.add(&entry);
        pages.push(&entry).await?;
    }
    Ok(pages.finish().await?)
}
