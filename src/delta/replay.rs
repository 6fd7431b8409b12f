//! Reconciles actions into the live set of a version, without ever holding it.
//!
//! A logical file is named by its location and the id of its deletion vector; both must match for a removal to end
//! it. Every add and remove becomes a row of an external sort by that name, version, and "removals before additions",
//! because the order of lines inside a commit has no meaning. Reading the rows back, the fate of one logical file is
//! a run of neighbours, so memory does not depend on the number of files.
//!
//! Locations are canonical, so two spellings of one object are one file here, as they are for Spark. Readers that
//! compare the raw strings see such a table differently; [`ReplayFindings`] says how often that happened.
//!
//! Checkpoints that the replay passes can be compared with it, see [`Replay::compare`]: what only such a checkpoint
//! names, and no later commit removes, joins the live set then, so that it is the union of all ways.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;

use super::{Action, Add, CommitInfo, LogError, Metadata, Protocol, Spelling};
use crate::ids::{Location, Version};
use crate::sort::{Sorted, Sorter};

mod compare;
mod event;

pub use compare::{Comparison, Detail, FilesCompared};

use compare::Compared;
use event::{AddBody, Event, VectorBody};

/// How many locations a finding names as examples.
const EXAMPLES: usize = 10;

/// Takes actions in the order of their versions; see [`Replay::finish`].
#[derive(Debug)]
pub struct Replay {
    state: TableState,
    last: Option<Version>,
    unnameable: Unnameable,
    events: Sorter<Event>,
    compared: Compared,
}

/// The table as a whole at the last version that was replayed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TableState {
    /// The protocol, if the log has one.
    pub protocol: Option<Protocol>,
    /// The metadata, if the log has any.
    pub metadata: Option<Metadata>,
    /// How far each application has written.
    pub txns: BTreeMap<String, Option<i64>>,
    /// The configuration of each domain.
    pub domains: BTreeMap<String, String>,
    /// The newest provenance, and the version it is of. A version that is only in a checkpoint has none.
    pub commit_info: Option<(Version, CommitInfo)>,
}

impl TableState {
    /// The protocol and the metadata, without which nothing can be said of a version.
    ///
    /// # Errors
    /// [`LogError::NoProtocol`], [`LogError::NoMetadata`].
    pub fn required(&self, version: Version) -> Result<(&Protocol, &Metadata), LogError> {
        let protocol = self.protocol.as_ref();
        let protocol = protocol.ok_or(LogError::NoProtocol { version })?;
        let metadata = self.metadata.as_ref();
        let metadata = metadata.ok_or(LogError::NoMetadata { version })?;
        Ok((protocol, metadata))
    }

    fn apply(&mut self, version: Version, action: Action) {
        match action {
            Action::Protocol(protocol) => self.protocol = Some(protocol),
            Action::Metadata(metadata) => self.metadata = Some(metadata),
            Action::Txn { app_id, version } => {
                self.txns.insert(app_id, version);
            }
            Action::Domain {
                domain,
                configuration: Some(configuration),
            } => {
                self.domains.insert(domain, configuration);
            }
            Action::Domain {
                domain,
                configuration: None,
            } => {
                self.domains.remove(&domain);
            }
            Action::CommitInfo(info) => self.commit_info = Some((version, info)),
            Action::Add { .. }
            | Action::Remove { .. }
            | Action::Cdc { .. }
            | Action::Sidecar { .. }
            | Action::Unnameable { .. }
            | Action::CheckpointMetadata { .. } => {}
        }
    }
}

/// A logical file, and the versions in which it is live.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveFile {
    /// The file, as the newest `add` has it.
    pub add: Add,
    /// The first version that has it; the start's version when it was there at the start.
    pub from: Version,
    /// The first version that has it no more; `None` while the last version replayed has it.
    pub until: Option<Version>,
}

impl Replay {
    /// Starts with an empty table. Rows that do not fit in memory go below `spill`.
    ///
    /// # Errors
    /// [`LogError::Sort`] when the folder cannot be used.
    pub fn new(spill: &Path) -> Result<Self, LogError> {
        Ok(Self {
            state: TableState::default(),
            last: None,
            unnameable: Unnameable::default(),
            events: Sorter::new(spill)?,
            compared: Compared::default(),
        })
    }

    /// Registers a complete checkpoint to compare with; returns the index by which its rows are passed to
    /// [`Replay::compared`]. All are registered, by ascending version, before the first commit above them.
    ///
    /// # Errors
    /// [`LogError::OutOfOrder`].
    pub fn compare(&mut self, version: Version, detail: Detail) -> Result<usize, LogError> {
        match self.compared.last_version().max(self.last) {
            Some(after) if version < after => Err(LogError::OutOfOrder { version, after }),
            _ => Ok(self.compared.push(version, detail)),
        }
    }

    /// Takes an action of a compared checkpoint.
    ///
    /// # Errors
    /// [`LogError::Sort`].
    pub fn compared(&mut self, index: usize, action: Action) -> Result<(), LogError> {
        match action {
            Action::Add { add, spelling } => {
                let dv_id = add.dv.as_ref().map(|dv| dv.id.as_str());
                self.compared.names(index, &add.file, dv_id);
                match self.compared.detail(index) {
                    Some((version, Detail::Rows)) => self.add(version, add, spelling, Some(index)),
                    Some((_, Detail::Sum)) | None => Ok(()),
                }
            }
            Action::Protocol(protocol) => {
                self.compared.has_protocol(index, protocol);
                Ok(())
            }
            Action::Metadata(metadata) => {
                self.compared.has_id(index, metadata.id);
                Ok(())
            }
            Action::Remove { .. }
            | Action::Cdc { .. }
            | Action::Unnameable { .. }
            | Action::Sidecar { .. }
            | Action::Txn { .. }
            | Action::Domain { .. }
            | Action::CheckpointMetadata { .. }
            | Action::CommitInfo(_) => Ok(()),
        }
    }

    /// Leaves a compared checkpoint out, with every row of it that came: it could not be read to its end.
    pub fn drop_compared(&mut self, index: usize) {
        self.compared.drop_one(index);
    }

    /// Takes note of a file that is live from a version on and that nothing else of the replay is about, for the sums of
    /// the compared checkpoints.
    pub fn untouched(&mut self, from: Version, file: &Location, dv_id: Option<&str>) {
        self.compared.live(file, dv_id, (from, None));
    }

    /// Takes an action of a checkpoint of `version`, or of another known state of it. Tombstones, which say what is
    /// not live, change nothing.
    ///
    /// # Errors
    /// [`LogError::OutOfOrder`] after a newer version, [`LogError::Sort`].
    pub fn start(&mut self, version: Version, action: Action) -> Result<(), LogError> {
        if matches!(action, Action::Remove { .. } | Action::Unnameable { .. }) {
            return Ok(());
        }
        self.commit(version, action)
    }

    /// Takes a file that is known to be live at the start, with the version since which it is.
    ///
    /// # Errors
    /// [`LogError::Sort`].
    pub fn start_file(&mut self, from: Version, add: Add) -> Result<(), LogError> {
        let spelling = plain_spelling(&add);
        self.add(from, add, spelling, None)
    }

    /// Takes an action of the commit of `version`. Versions must not go down; inside one, any order will do.
    ///
    /// # Errors
    /// [`LogError::OutOfOrder`], [`LogError::Sort`].
    pub fn commit(&mut self, version: Version, action: Action) -> Result<(), LogError> {
        match self.last {
            Some(after) if version < after => return Err(LogError::OutOfOrder { version, after }),
            Some(last) if version == last => {}
            _ => {
                self.compared.pass(Some(version), &self.state);
                self.last = Some(version);
            }
        }
        match action {
            Action::Add { add, spelling } => self.add(version, add, spelling, None),
            Action::Remove {
                file,
                dv_id,
                spelling,
            } => self.push(Event {
                file,
                dv_id,
                version,
                sequence: self.events.len(),
                spelling,
                add: None,
                compared: None,
            }),
            Action::Unnameable { path } => {
                self.unnameable.count += 1;
                self.unnameable.first.get_or_insert(path);
                Ok(())
            }
            action @ (Action::Cdc { .. }
            | Action::Sidecar { .. }
            | Action::Protocol(_)
            | Action::Metadata(_)
            | Action::Txn { .. }
            | Action::Domain { .. }
            | Action::CheckpointMetadata { .. }
            | Action::CommitInfo(_)) => {
                self.state.apply(version, action);
                Ok(())
            }
        }
    }

    /// Takes from an action of the version's own commit only what no checkpoint has: its provenance. For a version
    /// whose state came from a checkpoint.
    pub fn tip(&mut self, version: Version, action: Action) {
        if matches!(action, Action::CommitInfo(_)) {
            self.state.apply(version, action);
        }
    }

    /// The state of the table as replayed so far.
    pub fn state(&self) -> &TableState {
        &self.state
    }

    /// Ends the replay. Returns the state of the table, and its live files in the order of location and vector id.
    ///
    /// # Errors
    /// [`LogError::Sort`].
    pub fn finish(self) -> Result<(TableState, LiveFiles), LogError> {
        self.end(false)
    }

    /// As [`Replay::finish`], but with the files that were live in an older version and are no more: one [`LiveFile`]
    /// for each span of versions, a file's spans ascending.
    ///
    /// # Errors
    /// [`LogError::Sort`].
    pub fn finish_with_history(self) -> Result<(TableState, LiveFiles), LogError> {
        self.end(true)
    }

    fn end(mut self, history: bool) -> Result<(TableState, LiveFiles), LogError> {
        self.compared.pass(None, &self.state);
        let files = LiveFiles {
            events: self.events.finish()?,
            history,
            open: None,
            ready: VecDeque::new(),
            last_live: None,
            compared: self.compared,
            findings: ReplayFindings {
                unnameable: self.unnameable,
                ..ReplayFindings::default()
            },
        };
        Ok((self.state, files))
    }

    fn add(
        &mut self,
        version: Version,
        add: Add,
        spelling: Option<Spelling>,
        compared: Option<usize>,
    ) -> Result<(), LogError> {
        let body = AddBody {
            absolute: add.absolute,
            size: add.size,
            modification_time: add.modification_time,
            rows: add.rows,
            dv: add.dv.as_ref().map(|dv| VectorBody {
                cardinality: dv.cardinality,
                file: dv.file.clone(),
                offset: dv.offset,
                size: dv.size,
            }),
        };
        let dv_id = add.dv.map(|dv| dv.id);
        self.push(Event {
            file: add.file,
            dv_id,
            version,
            sequence: self.events.len(),
            spelling,
            add: Some(body),
            compared,
        })
    }

    fn push(&mut self, event: Event) -> Result<(), LogError> {
        Ok(self.events.push(event)?)
    }
}

/// How the log spells a file whose spelling was not kept, where every writer spells it alike: below the root, in characters
/// that none escapes.
fn plain_spelling(add: &Add) -> Option<Spelling> {
    let Location::Inside(key) = &add.file else {
        return None;
    };
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./=".contains(&byte);
    (!add.absolute && key.as_str().bytes().all(is_plain)).then(|| Spelling::of(key.as_str()))
}

/// What was odd about a table while its live files were read. Not an error: the live set is certain.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReplayFindings {
    /// Logical files that the log spells in more than one way: readers that do not canonicalise paths may see others.
    pub respelled: u64,
    /// The first few of them.
    pub respelled_examples: Vec<Location>,
    /// Logical files that one commit both removes and adds.
    pub contradicted: u64,
    /// Data files that are live with more than one deletion vector at once.
    pub live_twice: u64,
    /// Logical files that some ways to the version have live and others do not.
    pub disputed: u64,
    /// The first of them.
    pub disputed_example: Option<Location>,
    /// Removes and change data whose paths no object can have.
    pub unnameable: Unnameable,
}

/// Paths of the log that no object can have, and that were passed over.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unnameable {
    /// How many.
    pub count: u64,
    /// The first, as the log spells it.
    pub first: Option<String>,
}

/// The live files of a [`Replay`], in order. Ends after the first error.
#[derive(Debug)]
pub struct LiveFiles {
    events: Sorted<Event>,
    history: bool,
    open: Option<Fate>,
    ready: VecDeque<LiveFile>,
    last_live: Option<Location>,
    findings: ReplayFindings,
    compared: Compared,
}

/// What is known of the logical file whose events are being read.
#[derive(Debug)]
struct Fate {
    file: Location,
    dv_id: Option<String>,
    spelling: Option<Spelling>,
    respelled: bool,
    removed_in: Option<Version>,
    live: Option<(AddBody, Version)>,
    /// The last version of the replay itself that is about it.
    last: Option<Version>,
    named: Named,
}

/// What compared checkpoints say of a logical file since the last commit that is about it.
#[derive(Debug, Default)]
struct Named {
    /// The file as the newest of them has it, and the version of the oldest.
    body: Option<(AddBody, Version)>,
    count: usize,
    last: Option<usize>,
}

impl LiveFiles {
    /// What the comparisons found, by the index that [`Replay::compare`] gave; complete once the iterator has ended.
    /// Dropped checkpoints are left out.
    pub fn comparisons(&self) -> Vec<(usize, Comparison)> {
        self.compared.results()
    }

    /// What was odd; complete once the iterator has ended.
    pub fn findings(&self) -> &ReplayFindings {
        &self.findings
    }

    fn take(&mut self, event: Event) {
        if event
            .compared
            .is_some_and(|index| self.compared.is_dropped(index))
        {
            return;
        }
        let mut fate = match self.open.take() {
            Some(fate) if fate.file == event.file && fate.dv_id == event.dv_id => fate,
            other => {
                self.close(other);
                Fate {
                    file: event.file,
                    dv_id: event.dv_id,
                    spelling: event.spelling,
                    respelled: false,
                    removed_in: None,
                    live: None,
                    last: None,
                    named: Named::default(),
                }
            }
        };
        match (fate.spelling, event.spelling) {
            (Some(before), Some(now)) if before != now => fate.respelled = true,
            (None, now) => fate.spelling = now,
            _ => {}
        }
        match (event.compared, event.add) {
            (Some(index), body) => self.take_named(&mut fate, index, body, event.version),
            (None, None) => {
                self.end_named(&mut fate, event.version);
                fate.removed_in = Some(event.version);
                if let Some((body, from)) = fate.live.take() {
                    self.end_span(&fate, body, from, event.version);
                }
            }
            (None, Some(body)) => {
                self.end_named(&mut fate, event.version);
                self.take_add(&mut fate, body, event.version);
            }
        }
        self.open = Some(fate);
    }

    fn take_add(&mut self, fate: &mut Fate, mut body: AddBody, version: Version) {
        if let Some((before, _)) = &fate.live {
            // To readers that compare raw paths, one spelling does not end the other.
            body.absolute |= before.absolute;
        }
        if fate.removed_in == Some(version) {
            self.findings.contradicted += 1;
        }
        fate.live = Some(match fate.live.take() {
            // Written again, for its statistics or tags: the same file goes on.
            Some((before, from)) if before.is_same_file(&body) => (body, from),
            Some((before, from)) if from < version => {
                self.end_span(fate, before, from, version);
                (body, version)
            }
            _ => (body, version),
        });
    }

    fn take_named(
        &mut self,
        fate: &mut Fate,
        index: usize,
        body: Option<AddBody>,
        version: Version,
    ) {
        // A checkpoint may name a file twice.
        if fate.named.last.replace(index) == Some(index) {
            return;
        }
        self.compared.count(index, fate.live.is_some());
        fate.named.count += 1;
        let since = match fate.named.body.take() {
            Some((_, since)) => since,
            None => version,
        };
        fate.named.body = body.map(|body| (body, since));
    }

    /// A commit is about the file: from here on it is what the commit says, on every way.
    fn end_named(&mut self, fate: &mut Fate, version: Version) {
        let named = std::mem::take(&mut fate.named);
        if let (Some((body, since)), None) = (named.body, &fate.live) {
            self.history(fate, body, since, version);
        }
        fate.last = Some(version);
    }

    fn end_span(&mut self, fate: &Fate, body: AddBody, from: Version, until: Version) {
        let dv_id = fate.dv_id.as_deref();
        self.compared.live(&fate.file, dv_id, (from, Some(until)));
        self.history(fate, body, from, until);
    }

    fn history(&mut self, fate: &Fate, body: AddBody, from: Version, until: Version) {
        if self.history && from < until {
            let add = body.into_add(fate.file.clone(), fate.dv_id.clone());
            self.ready.push_back(LiveFile {
                add,
                from,
                until: Some(until),
            });
        }
    }

    fn close(&mut self, fate: Option<Fate>) {
        let Some(fate) = fate else { return };
        if fate.respelled {
            self.findings.respelled += 1;
            if self.findings.respelled_examples.len() < EXAMPLES {
                self.findings.respelled_examples.push(fate.file.clone());
            }
        }
        let naming = self.compared.rows_from(fate.last);
        let disputed = match fate.live {
            Some(_) => fate.named.count < naming,
            None => fate.named.count > 0,
        };
        if disputed {
            self.findings.disputed += 1;
            self.findings
                .disputed_example
                .get_or_insert_with(|| fate.file.clone());
        }
        if let Some((_, from)) = &fate.live {
            let dv_id = fate.dv_id.as_deref();
            self.compared.live(&fate.file, dv_id, (*from, None));
        }
        if let Some((body, from)) = fate.live.or(fate.named.body) {
            if self.last_live.as_ref() == Some(&fate.file) {
                self.findings.live_twice += 1;
            }
            self.last_live = Some(fate.file.clone());
            self.ready.push_back(LiveFile {
                add: body.into_add(fate.file, fate.dv_id),
                from,
                until: None,
            });
        }
    }
}

impl Iterator for LiveFiles {
    type Item = Result<LiveFile, LogError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(file) = self.ready.pop_front() {
                return Some(Ok(file));
            }
            match self.events.next() {
                Some(Ok(event)) => self.take(event),
                Some(Err(error)) => {
                    // What is open may have more to its fate than could be read.
                    self.open = None;
                    return Some(Err(error.into()));
                }
                None => {
                    let fate = self.open.take()?;
                    self.close(Some(fate));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
