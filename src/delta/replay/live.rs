//! Reads a replay's rows back, one logical file at a time, and says in which versions it is live.

use std::collections::{BTreeSet, VecDeque};

use super::compare::{Compared, Comparison, NamedFile};
use super::event::{AddBody, Event};
use super::{LiveFile, ReplayFindings, Sizes};
use crate::delta::path::is_absolute;
use crate::delta::{LogError, Spelling};
use crate::ids::{Location, Version};
use crate::sort::Sorted;

/// The most spellings of one logical file that are kept. A file with so many stays live under all of them: memory is
/// bounded, and nothing is left out.
const SPELLINGS_MAX: usize = 16;

/// The live files of a [`Replay`](super::Replay), in order. Ends after the first error.
#[derive(Debug)]
pub struct LiveFiles {
    events: Sorted<Event>,
    history: bool,
    open: Option<LogicalFile>,
    ready: VecDeque<LiveFile>,
    last_live: Option<Location>,
    findings: ReplayFindings,
    compared: Compared,
}

/// What is known of the logical file whose events are being read.
#[derive(Debug)]
struct LogicalFile {
    file: Location,
    dv_id: Option<String>,
    spelling: Spelling,
    /// The first other spelling of it.
    other: Option<Spelling>,
    removed_in: Option<Version>,
    live: Option<LiveState>,
    /// The last version of the replay itself that is about it.
    last: Option<Version>,
    named: NamedBy,
}

/// A logical file while it is live.
#[derive(Debug, Clone)]
struct LiveState {
    body: AddBody,
    from: Version,
    /// The spellings under which readers that compare paths as text have it live.
    spellings: BTreeSet<Spelling>,
    /// Whether only those readers do.
    by_text: bool,
    off_newest: bool,
    /// What others say of its sizes.
    otherwise: BTreeSet<Sizes>,
}

/// What compared checkpoints say of a logical file since the last commit that is about it.
#[derive(Debug, Default)]
struct NamedBy {
    /// The file as the newest of them has it, since the version of the oldest.
    state: Option<LiveState>,
    count: usize,
    last: Option<usize>,
}

impl LiveState {
    fn new(body: AddBody, from: Version, spelling: Spelling) -> Self {
        Self {
            body,
            from,
            spellings: BTreeSet::from([spelling]),
            by_text: false,
            off_newest: false,
            otherwise: BTreeSet::new(),
        }
    }

    /// Takes what another way says of the same file.
    fn join(&mut self, other: Self) {
        self.body.absolute |= other.body.absolute;
        self.join_sizes(&other);
        self.spell(other.spellings);
    }

    fn join_sizes(&mut self, other: &Self) {
        if other.body.sizes() != self.body.sizes() {
            self.otherwise.insert(other.body.sizes());
        }
        self.otherwise.extend(&other.otherwise);
    }

    fn spell(&mut self, spellings: BTreeSet<Spelling>) {
        let room = SPELLINGS_MAX.saturating_sub(self.spellings.len());
        self.spellings.extend(spellings.into_iter().take(room));
    }

    /// What a remove leaves: the file under its other spellings, if there are any.
    fn without(mut self, spelling: &Spelling, of: &Location) -> Option<Self> {
        self.by_text = true;
        if self.spellings.len() < SPELLINGS_MAX {
            self.spellings.remove(spelling);
            let mut texts = self.spellings.iter().map(|it| it.text(of));
            self.body.absolute &= texts.any(is_absolute);
        }
        (!self.spellings.is_empty()).then_some(self)
    }

    /// Its spellings, as [`LiveFile`] has them.
    fn spelled<'a>(&'a self, of: &'a Location) -> Vec<&'a str> {
        if self.spellings.iter().all(Spelling::is_plain) {
            return Vec::new();
        }
        let mut texts: Vec<_> = self.spellings.iter().map(|it| it.text(of)).collect();
        texts.sort_unstable();
        texts
    }

    fn named<'a>(&'a self, file: &'a Location, dv_id: Option<&'a str>) -> NamedFile<'a> {
        let vector = self.body.dv.as_ref().zip(dv_id);
        NamedFile {
            file,
            size: self.body.size,
            vector: vector.map(|(dv, id)| (id, dv.size, dv.cardinality)),
            spelled: self.spelled(file),
        }
    }

    fn into_file(
        self,
        (file, dv_id): (Location, Option<String>),
        until: Option<Version>,
    ) -> LiveFile {
        let spelled = self.spelled(&file).into_iter().map(str::to_owned).collect();
        LiveFile {
            add: self.body.into_add(file, dv_id),
            from: self.from,
            until,
            by_text: self.by_text,
            off_newest: self.off_newest,
            otherwise: self.otherwise.into_iter().collect(),
            spelled,
        }
    }
}

impl LiveFiles {
    pub(super) fn new(
        events: Sorted<Event>,
        history: bool,
        compared: Compared,
        findings: ReplayFindings,
    ) -> Self {
        Self {
            events,
            history,
            open: None,
            ready: VecDeque::new(),
            last_live: None,
            findings,
            compared,
        }
    }

    /// What the comparisons found, by the index that [`Replay::compare`](super::Replay::compare) gave; complete once the
    /// iterator has ended. Dropped checkpoints are left out.
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
        let mut logical = match self.open.take() {
            Some(logical) if logical.file == event.file && logical.dv_id == event.dv_id => logical,
            other => {
                self.close(other);
                LogicalFile {
                    file: event.file,
                    dv_id: event.dv_id,
                    spelling: event.spelling.clone(),
                    other: None,
                    removed_in: None,
                    live: None,
                    last: None,
                    named: NamedBy::default(),
                }
            }
        };
        if logical.other.is_none() && logical.spelling != event.spelling {
            logical.other = Some(event.spelling.clone());
        }
        match (event.compared, event.add) {
            (Some(index), body) => {
                let state = body.map(|body| LiveState::new(body, event.version, event.spelling));
                self.take_named(&mut logical, index, state);
            }
            (None, None) => self.take_remove(&mut logical, &event.spelling, event.version),
            (None, Some(body)) => {
                let mut state = LiveState::new(body, event.version, event.spelling);
                state.by_text = event.by_text;
                self.take_add(&mut logical, state);
            }
        }
        self.open = Some(logical);
    }

    fn take_remove(&mut self, logical: &mut LogicalFile, spelling: &Spelling, version: Version) {
        logical.removed_in = Some(version);
        let was_live = logical.live.is_some();
        if let Some(state) = logical.live.take() {
            let mut was = state.clone();
            logical.live = state.without(spelling, &logical.file);
            if logical.live.is_none() {
                if let Some(named) = &logical.named.state {
                    was.join_sizes(named);
                }
                self.end_span(logical, was, version);
            }
        }
        if let Some(state) = logical.named.state.take() {
            let was = state.clone();
            logical.named.state = state.without(spelling, &logical.file);
            if logical.named.state.is_none() && !was_live {
                self.history(logical, was, version);
            }
        }
        if logical.live.is_none() && logical.named.state.is_none() {
            logical.named = NamedBy::default();
            logical.last = Some(version);
        }
    }

    fn take_add(&mut self, logical: &mut LogicalFile, mut now: LiveState) {
        let version = now.from;
        // A commit is about the file: from here on it is what the commit says, on every way.
        if let Some(named) = std::mem::take(&mut logical.named).state {
            now.spell(named.spellings.clone());
            match &mut logical.live {
                Some(before) => before.join_sizes(&named),
                None => self.history(logical, named, version),
            }
        }
        logical.last = Some(version);
        if logical.removed_in == Some(version) {
            self.findings.contradicted += 1;
        }
        if let Some(before) = logical.live.take() {
            // To readers that compare paths as text, one spelling does not end the other.
            now.body.absolute |= before.body.absolute;
            now.spell(before.spellings.clone());
            if before.body.is_same_file(&now.body) {
                // Written again, for its statistics or tags: the same file goes on.
                now.from = before.from;
            } else if before.from < version {
                self.end_span(logical, before, version);
            }
        }
        logical.live = Some(now);
    }

    fn take_named(&mut self, logical: &mut LogicalFile, index: usize, state: Option<LiveState>) {
        let before = logical.named.state.take();
        // A checkpoint may name a file twice.
        if logical.named.last.replace(index) == Some(index) {
            logical.named.state = before;
            if let (Some(known), Some(again)) = (&mut logical.named.state, state) {
                known.spell(again.spellings);
            }
            return;
        }
        let said = state.as_ref().map(|state| &state.body);
        let replayed = logical.live.as_ref().map(|state| &state.body);
        let is_met = logical.last.is_some();
        self.compared.count(index, said, replayed, is_met);
        logical.named.count += 1;
        logical.named.state = state.map(|mut state| {
            if let Some(before) = before {
                state.from = before.from;
                state.join(before);
            }
            state
        });
    }

    fn end_span(&mut self, logical: &LogicalFile, state: LiveState, until: Version) {
        let named = state.named(&logical.file, logical.dv_id.as_deref());
        self.compared.live(&named, (state.from, Some(until)));
        self.history(logical, state, until);
    }

    fn history(&mut self, logical: &LogicalFile, state: LiveState, until: Version) {
        if self.history && state.from < until {
            let state = LiveState {
                otherwise: state.otherwise,
                ..LiveState::new(state.body, state.from, Spelling::default())
            };
            let name = (logical.file.clone(), logical.dv_id.clone());
            self.ready.push_back(state.into_file(name, Some(until)));
        }
    }

    fn close(&mut self, logical: Option<LogicalFile>) {
        let Some(logical) = logical else { return };
        let naming = self.compared.rows_from(logical.last);
        let disputed = match logical.live {
            Some(_) => logical.named.count < naming,
            None => logical.named.count > 0,
        };
        if disputed {
            self.findings.disputed += 1;
            self.findings
                .disputed_example
                .get_or_insert_with(|| logical.file.clone());
        }
        if let Some(state) = &logical.live {
            let named = state.named(&logical.file, logical.dv_id.as_deref());
            self.compared.live(&named, (state.from, None));
        }
        let newest = self.compared.newest_has(logical.last, logical.named.last);
        let off_newest = !newest.unwrap_or(logical.live.is_some());
        let Some(mut state) = logical.live else {
            if let Some(mut state) = logical.named.state {
                state.off_newest = off_newest;
                self.live(state, logical.file, logical.dv_id);
            }
            return;
        };
        state.off_newest = off_newest;
        if state.by_text || state.spellings.len() > 1 {
            self.findings.respelled += 1;
            if self.findings.respelled_example.is_empty() {
                let spellings = [Some(&logical.spelling), logical.other.as_ref()];
                let texts = spellings.into_iter().flatten();
                let texts = texts.map(|spelling| spelling.text(&logical.file).to_owned());
                self.findings.respelled_example = texts.collect();
            }
        }
        if let Some(named) = logical.named.state {
            state.join(named);
        }
        self.live(state, logical.file, logical.dv_id);
    }

    fn live(&mut self, state: LiveState, file: Location, dv_id: Option<String>) {
        if self.last_live.as_ref() == Some(&file) {
            self.findings.live_twice += 1;
        }
        self.last_live = Some(file.clone());
        self.ready.push_back(state.into_file((file, dv_id), None));
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
                    // More may have become of the open file than could be read.
                    self.open = None;
                    return Some(Err(error.into()));
                }
                None => {
                    let logical = self.open.take()?;
                    self.close(Some(logical));
                }
            }
        }
    }
}
