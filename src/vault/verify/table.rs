//! Checks one table: its ledger, the rules of its records, and each of its manifests and pages once.

use std::collections::{BTreeSet, HashMap};

use bytes::Bytes;
use futures::{StreamExt, stream};

use super::complete::LogFiles;
use super::losses::{Lost, LostKind, Substitute};
use super::rescue::longer_locked;
use super::sums::Kind;
use super::wanted::Use;
use super::{CheckedSnapshot, CheckedTable, Verify, lost, unreadable};
use crate::error::Error;
use crate::format::ledger::Bodies;
use crate::format::manifest::MANIFEST_LIMIT;
use crate::format::page::PAGE_LIMIT;
use crate::format::{Entry, Manifest, PageRef, Reference, TableKey, VaultKey, layout};
use crate::ids::Digest;
use crate::plan::choose::{History, Snapshot};
use crate::plan::verify::{
    PageSummary, Problem, READ_AGAIN, SAMPLE_OF_NEWEST, SERVED, Severity, check_inlined,
    generation_problem, is_over, ledger_problem, manifest_problems, pages_problems,
    record_problems,
};
use crate::progress::Phase;
use crate::spool::Scratch;
use crate::store::read_all;
use crate::vault::ahead::{Bounds, ahead};
use crate::vault::pages::decode_in_turn;
use crate::vault::read::At;
use crate::vault::unnamed::{Newest, named_by};
use crate::vault::walk::{Whole, whole};
use crate::vault::{PageCache, Vault};

const PAGES_AHEAD: Bounds = Bounds {
    count: 4,
    bytes: 32 * 1024 * 1024,
};

/// The pages of one table that were read, and what is to be reported of them once it is known who uses them.
struct Pages {
    /// The vault, with the pages that are read a second time on this machine.
    vault: Vault,
    known: HashMap<Whole, KnownPage>,
    log_files: LogFiles,
    notes: Vec<(usize, Reference, Note)>,
}

struct KnownPage {
    unit: usize,
    /// `None`: it could not be read.
    summary: Option<PageSummary>,
}

/// What there is to say of a manifest or a page.
enum Note {
    Problem(Problem),
    /// It was read in another object version than was recorded.
    Moved,
    /// It was read as a repair put it under another name.
    Repaired(Substitute),
    /// Its bytes are lost: why.
    Lost(String),
}

impl Verify<'_, '_> {
    pub(super) async fn table(&mut self, key: &TableKey) -> Result<(), Error> {
        self.report.tables += 1;
        let table = self.tables.len();
        let highest_journal = self.highest_journal(key).await;
        let history = self.vault.history(key, Bodies::new()).await;
        let name = history
            .as_ref()
            .map_or(key.slug(), |history| history.name());
        self.progress.phase(name, Phase::Verify);
        self.tables.push(CheckedTable {
            key: key.clone(),
            name: name.to_owned(),
            newest: None,
            delta_ids: BTreeSet::new(),
        });
        let ledger = layout::ledger_prefix(key);
        let history = match history {
            Ok(history) => history,
            Err(error) => {
                self.names_everything = false;
                return self.report_alone(Some(table), &ledger, not_read(&error));
            }
        };
        let first = self.snapshots.len();
        let newest_first: Vec<&Snapshot> = history.snapshots.iter().rev().collect();
        for snapshot in &newest_first {
            self.snapshots.push(CheckedSnapshot {
                table,
                id: snapshot.id,
                is_distrusted: snapshot.is_distrusted,
                is_over: is_over(snapshot, &history, self.plan.now),
                is_held: false,
                promise: snapshot.record.promise,
                taken_at: snapshot.record.taken_at,
            });
            let named = snapshot.record.vault_file;
            self.vault_files.push((snapshot.id, named));
        }
        self.report.records += newest_first.len() as u64;
        self.ledger(table, first, &history).await?;
        let seals = self.on_top(Some(table), &ledger, false).await?;
        let newest = history.snapshots.last().map(|newest| newest.id);
        self.events(table, first, newest, key).await?;
        self.record_slots(table, first, &newest_first, &seals)
            .await?;
        self.journal(table, &history, highest_journal)?;
        self.manifests.extend(named_by(&history));
        if let Some(checked) = self.tables.get_mut(table) {
            checked.newest = Newest::of(&history);
            let records = history.snapshots.iter().map(|it| &it.record);
            checked.delta_ids = records.map(|it| it.table.delta_id.clone()).collect();
        }

        let mut manifests: Vec<(&Reference, Vec<usize>)> = Vec::new();
        let mut known: HashMap<Whole, usize> = HashMap::new();
        for (age, snapshot) in newest_first.iter().enumerate() {
            let manifest = &snapshot.record.manifest;
            let index = *known.entry(whole(manifest)).or_insert(manifests.len());
            match manifests.get_mut(index) {
                Some((_, users)) => users.push(first + age),
                None => manifests.push((manifest, vec![first + age])),
            }
        }
        let scratch = Scratch::create(self.spill).map_err(Error::Scratch)?;
        let kept = PageCache::new(scratch.path().to_owned());
        let mut pages = Pages {
            vault: self.vault.clone().with_pages(kept),
            known: HashMap::new(),
            log_files: LogFiles::new(),
            notes: Vec::new(),
        };
        for (index, (reference, users)) in manifests.into_iter().enumerate() {
            let named_by = users
                .iter()
                .filter_map(|user| Some((*user, *newest_first.get(user - first)?)))
                .collect::<Vec<_>>();
            self.manifest(reference, &named_by, index == 0, &mut pages)
                .await?;
        }
        for (unit, page, note) in pages.notes {
            let users = self.units.users(&[unit]);
            self.note_structure(LostKind::Page, &page, &users, note)?;
        }
        Ok(())
    }

    /// Reports what was found about a manifest or a page, now that it is known who uses it.
    fn note_structure(
        &mut self,
        kind: LostKind,
        reference: &Reference,
        users: &[usize],
        note: Note,
    ) -> Result<(), Error> {
        let object = reference.key.as_str();
        match note {
            Note::Problem(problem) => self.report_users(users, object, &problem),
            Note::Moved => {
                self.note(Kind::Moved, users, object);
                Ok(())
            }
            Note::Repaired(substitute) => {
                let lost = Lost::whole(kind, reference, Vec::new()).with(vec![substitute]);
                self.repaired(users, object, &[lost])
            }
            Note::Lost(what) => {
                self.lost.push(Lost::whole(kind, reference, users.to_vec()));
                self.report_users(users, object, &Problem::lost(what))
            }
        }
    }

    /// Tells what there is to say about the ledger and its records.
    async fn ledger(&mut self, table: usize, first: usize, history: &History) -> Result<(), Error> {
        let key_of = |seq| {
            let table = history.table.clone();
            VaultKey::Record { table, seq }
        };
        let ordinal = |seq| {
            let mut newest_first = history.snapshots.iter().rev();
            let age = newest_first.position(|snapshot| snapshot.seq == seq);
            age.map(|age| first + age)
        };
        for finding in &history.findings {
            let (seq, problem) = ledger_problem(finding);
            let object = key_of(seq).to_string();
            match ordinal(seq) {
                Some(user) => self.report_users(&[user], &object, &problem)?,
                None => self.report_alone(Some(table), &object, problem)?,
            }
        }
        for newer in &history.newer {
            self.names_everything = false;
            let severity = if newer.is_distrusted {
                Severity::Info
            } else {
                Severity::Unchecked
            };
            let remedy = "use the deltavault that wrote it, or a newer one; a forgery can be distrusted with \
                          `snapshot --distrust`";
            let problem = Problem::new(severity, newer.error.to_string(), remedy);
            self.report_alone(Some(table), &key_of(newer.seq).to_string(), problem)?;
        }
        for snapshot in &history.snapshots {
            let object = key_of(snapshot.seq).to_string();
            for problem in record_problems(snapshot, history, self.vault.file(), self.plan.now) {
                let users: Vec<usize> = ordinal(snapshot.seq).into_iter().collect();
                self.report_users(&users, &object, &problem)?;
            }
        }
        // The bytes of every other record are vouched for by the one after it.
        if let Some(head) = history.snapshots.last() {
            let version = head.record_version.as_ref();
            let key = key_of(head.seq).object_key()?;
            self.attested(ordinal(head.seq), &key, version, head.id.0)
                .await?;
        }
        Ok(())
    }

    /// Checks a manifest, those of its pages that are new, and what both say together.
    async fn manifest(
        &mut self,
        reference: &Reference,
        named_by: &[(usize, &Snapshot)],
        is_newest: bool,
        pages: &mut Pages,
    ) -> Result<(), Error> {
        let users: Vec<usize> = named_by.iter().map(|(user, _)| *user).collect();
        let object = reference.key.as_str();
        let unit = self.units.add();
        self.units.used_by(unit, &users);
        self.uses.push(Use::whole(reference, true, unit))?;
        let mut of_held = users.iter().filter_map(|user| self.snapshots.get(*user));
        if is_newest || of_held.any(|it| it.is_held) {
            self.sampled.insert(reference.sha256);
        }
        let (bytes, note) = read_structure(self.vault, reference, MANIFEST_LIMIT).await;
        if let Some(note) = note {
            self.note_structure(LostKind::Manifest, reference, &users, note)?;
        }
        let Some(bytes) = bytes else {
            self.names_everything = false;
            return Ok(());
        };
        self.report.manifests += 1;
        self.report.bytes_read += bytes.len() as u64;
        let manifest = match Manifest::decode(&bytes) {
            Ok(manifest) => manifest,
            Err(error) => {
                self.names_everything = false;
                let problem = Problem::damage(error.to_string());
                return self.report_users(&users, object, &problem);
            }
        };
        drop(bytes);
        for (user, snapshot) in named_by {
            let (table, seq) = (snapshot.table.clone(), snapshot.seq);
            let record = VaultKey::Record { table, seq }.to_string();
            for problem in manifest_problems(&snapshot.record, &manifest) {
                self.report_users(&[*user], &record, &problem)?;
            }
        }
        let proves = self.proves(&users, is_newest);
        self.pages(&manifest, &users, (is_newest, proves), pages)
            .await?;
        let summary = |page: &PageRef| pages.known.get(&whole(&page.page))?.summary.as_ref();
        for problem in pages_problems(&manifest, summary) {
            self.report_users(&users, object, &problem)?;
        }
        self.generations(&manifest, named_by, &pages.known)?;
        if proves && manifest.pages().all(|page| summary(page).is_some()) {
            let log_files = &mut pages.log_files;
            self.complete(&pages.vault, &manifest, reference, named_by, log_files)
                .await?;
        }
        Ok(())
    }

    /// Compares the locks that records state with the generations of what their manifest leads to.
    fn generations(
        &mut self,
        manifest: &Manifest,
        named_by: &[(usize, &Snapshot)],
        known: &HashMap<Whole, KnownPage>,
    ) -> Result<(), Error> {
        let mut generations = BTreeSet::new();
        for page in manifest.pages() {
            generations.insert(page.page.generation);
            let summary = known
                .get(&whole(&page.page))
                .and_then(|it| it.summary.as_ref());
            generations.extend(summary.into_iter().flat_map(PageSummary::generations));
        }
        for (user, snapshot) in named_by {
            let record = snapshot.record.as_ref();
            let all = generations.iter().chain([&record.manifest.generation]);
            if let Some(problem) = generation_problem(record, self.vault.file(), all) {
                let (table, seq) = (snapshot.table.clone(), snapshot.seq);
                let record = VaultKey::Record { table, seq }.to_string();
                self.report_users(&[*user], &record, &problem)?;
            }
        }
        Ok(())
    }

    /// Reads the pages of a manifest that were not read yet, and takes note of who uses all of them. Those of a manifest
    /// that is then proven complete are kept for that.
    async fn pages(
        &mut self,
        manifest: &Manifest,
        users: &[usize],
        (is_newest, is_kept): (bool, bool),
        pages: &mut Pages,
    ) -> Result<(), Error> {
        let mut fresh = Vec::new();
        for page in manifest.pages() {
            let known = pages.known.entry(whole(&page.page)).or_insert_with(|| {
                fresh.push(page);
                KnownPage {
                    unit: self.units.add(),
                    summary: None,
                }
            });
            self.units.used_by(known.unit, users);
        }
        let vault = self.vault;
        let reads = fresh.into_iter().map(|page| {
            let read = async move { (page, read_structure(vault, &page.page, PAGE_LIMIT).await) };
            (page.page.size, read)
        });
        let mut reads = ahead(stream::iter(reads), PAGES_AHEAD);
        let mut of_newest = BTreeSet::new();
        while let Some((page, reading)) = reads.next().await {
            let Some(known) = pages.known.get_mut(&whole(&page.page)) else {
                continue;
            };
            let unit = known.unit;
            let mut note = |note| pages.notes.push((unit, page.page.clone(), note));
            self.uses.push(Use::whole(&page.page, true, unit))?;
            let (bytes, found) = reading;
            if let Some(found) = found {
                note(found);
            }
            let Some(bytes) = bytes else {
                self.names_everything = false;
                continue;
            };
            self.report.pages += 1;
            self.report.bytes_read += bytes.len() as u64;
            if is_kept {
                pages.vault.keep_page(page.page.sha256, &bytes);
            }
            let entries = match decode_in_turn(&bytes) {
                Ok(entries) => entries,
                Err(error) => {
                    self.names_everything = false;
                    note(Note::Problem(Problem::damage(error.to_string())));
                    continue;
                }
            };
            let (summary, mut problems) = PageSummary::of(&entries);
            known.summary = summary;
            let (inlined, wrong) = check_inlined(&entries);
            self.report.inlined += inlined;
            problems.extend(wrong);
            problems.into_iter().map(Note::Problem).for_each(note);
            self.entries(&entries, unit, is_newest.then_some(&mut of_newest))?;
        }
        self.sampled.extend(of_newest);
        Ok(())
    }

    /// Takes note of what entries refer to, and of the few that a sample reads in any case.
    fn entries(
        &mut self,
        entries: &[Entry],
        unit: usize,
        mut of_newest: Option<&mut BTreeSet<Digest>>,
    ) -> Result<(), Error> {
        for entry in entries {
            let Some(of_entry) = Use::of_entry(entry, unit) else {
                continue;
            };
            if let Some(of_newest) = &mut of_newest {
                of_newest.insert(of_entry.sha256);
                if of_newest.len() > SAMPLE_OF_NEWEST {
                    of_newest.pop_last();
                }
            }
            self.uses.push(of_entry)?;
        }
        Ok(())
    }
}

/// Reads a manifest or a page whole, from whatever place has the right bytes.
async fn read_structure(
    vault: &Vault,
    reference: &Reference,
    limit: u64,
) -> (Option<Bytes>, Option<Note>) {
    let size = reference.size;
    let no_bytes = |problem| (None, Some(Note::Problem(problem)));
    if size > limit {
        let what = format!("it is said to have {size} bytes, more than the format allows");
        return no_bytes(Problem::damage(what));
    }
    // What is wrong where it should be, and whether nothing is there.
    let mut wrong: Option<(String, bool)> = None;
    let mut found: Option<(Bytes, Substitute)> = None;
    let mut places = vault.places(reference);
    loop {
        let (at, (key, version)) = match places.next().await {
            Ok(Some(next)) => next,
            Ok(None) => break,
            Err(error) => return no_bytes(unreadable(&error)),
        };
        let (there, bytes) = match read_all(vault.store(), &key, version.as_ref(), size).await {
            Ok((there, bytes)) if Digest::of(&bytes) == reference.sha256 => (there, bytes),
            Ok((_, bytes)) => {
                let what = format!("its bytes have SHA-256 {}", Digest::of(&bytes));
                wrong.get_or_insert((what, false));
                continue;
            }
            Err(error) if at == At::Named => match lost(&error.kind, size) {
                Some(what) => {
                    wrong = Some((what, error.is_not_found()));
                    continue;
                }
                None => return no_bytes(unreadable(&error)),
            },
            Err(_) => continue,
        };
        match (at, &wrong) {
            (At::Named, _) => return (Some(bytes), None),
            (At::OtherVersion, Some((what, false))) => {
                let what = format!("{what}; another version of its key serves");
                let served = Note::Problem(Problem::warning(what, SERVED));
                return (Some(bytes), Some(served));
            }
            (At::OtherVersion, _) => return (Some(bytes), Some(Note::Moved)),
            (At::Substitute, _) => {
                let locked_until = there.locked_until;
                let substitute = Substitute {
                    key,
                    version,
                    locked_until,
                };
                let before = found.map(|(_, substitute)| substitute);
                found = longer_locked(before, substitute).map(|substitute| (bytes, substitute));
            }
        }
    }
    match found {
        Some((bytes, substitute)) => (Some(bytes), Some(Note::Repaired(substitute))),
        None => (None, Some(Note::Lost(wrong.unwrap_or_default().0))),
    }
}

pub(super) fn not_read(error: &Error) -> Problem {
    if let Error::Store(error) | Error::SlotRefused(error) = error {
        return unreadable(error);
    }
    Problem::unchecked(error.to_string(), READ_AGAIN)
}
