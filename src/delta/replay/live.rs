//! Reads a replay's rows back, one logical file at a time, and says in which versions it is live.

use std::collections::{BTreeSet, VecDeque};

use super::compare::{Compared, Comparison, Named};
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
    spelling: Spelling,
    /// The first other spelling of it.
    other: Option<Spelling>,
    removed_in: Option<Version>,
    live: Option<Life>,
    /// The last version of the replay itself that is about it.
    last: Option<Version>,
    named: NamedBy,
}

/// A logical file while it is live.
#[derive(Debug, Clone)]
struct Life {
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
    life: Option<Life>,
    count: usize,
    last: Option<usize>,
}

impl Life {
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

    fn named<'a>(&'a self, file: &'a Location, dv_id: Option<&'a str>) -> Named<'a> {
        let vector = self.body.dv.as_ref().zip(dv_id);
        Named {
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
        let mut fate = match self.open.take() {
            Some(fate) if fate.file == event.file && fate.dv_id == event.dv_id => fate,
            other => {
                self.close(other);
                Fate {
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
        if fate.other.is_none() && fate.spelling != event.spelling {
            fate.other = Some(event.spelling.clone());
        }
        match (event.compared, event.add) {
            (Some(index), body) => {
                let life = body.map(|body| Life::new(body, event.version, event.spelling));
                self.take_named(&mut fate, index, life);
            }
            (None, None) => self.take_remove(&mut fate, &event.spelling, event.version),
            (None, Some(body)) => {
                let mut life = Life::new(body, event.version, event.spelling);
                life.by_text = event.by_text;
                self.take_add(&mut fate, life);
            }
        }
        self.open = Some(fate);
    }

    fn take_remove(&mut self, fate: &mut Fate, spelling: &Spelling, version: Version) {
        fate.removed_in = Some(version);
        let was_live = fate.live.is_some();
        if let Some(life) = fate.live.take() {
            let mut was = life.clone();
            fate.live = life.without(spelling, &fate.file);
            if fate.live.is_none() {
                if let Some(named) = &fate.named.life {
                    was.join_sizes(named);
                }
                self.end_span(fate, was, version);
            }
        }
        if let Some(life) = fate.named.life.take() {
            let was = life.clone();
            fate.named.life = life.without(spelling, &fate.file);
            if fate.named.life.is_none() && !was_live {
                self.history(fate, was, version);
            }
        }
        if fate.live.is_none() && fate.named.life.is_none() {
            fate.named = NamedBy::default();
            fate.last = Some(version);
        }
    }

    fn take_add(&mut self, fate: &mut Fate, mut now: Life) {
        let version = now.from;
        // A commit is about the file: from here on it is what the commit says, on every way.
        if let Some(named) = std::mem::take(&mut fate.named).life {
            now.spell(named.spellings.clone());
            match &mut fate.live {
                Some(before) => before.join_sizes(&named),
                None => self.history(fate, named, version),
            }
        }
        fate.last = Some(version);
        if fate.removed_in == Some(version) {
            self.findings.contradicted += 1;
        }
        if let Some(before) = fate.live.take() {
            // To readers that compare paths as text, one spelling does not end the other.
            now.body.absolute |= before.body.absolute;
            now.spell(before.spellings.clone());
            if before.body.is_same_file(&now.body) {
                // Written again, for its statistics or tags: the same file goes on.
                now.from = before.from;
            } else if before.from < version {
                self.end_span(fate, before, version);
            }
        }
        fate.live = Some(now);
    }

    fn take_named(&mut self, fate: &mut Fate, index: usize, life: Option<Life>) {
        let before = fate.named.life.take();
        // A checkpoint may name a file twice.
        if fate.named.last.replace(index) == Some(index) {
            fate.named.life = before;
            if let (Some(known), Some(again)) = (&mut fate.named.life, life) {
                known.spell(again.spellings);
            }
            return;
        }
        let said = life.as_ref().map(|life| &life.body);
        let replayed = fate.live.as_ref().map(|life| &life.body);
        let is_met = fate.last.is_some();
        self.compared.count(index, said, replayed, is_met);
        fate.named.count += 1;
        fate.named.life = life.map(|mut life| {
            if let Some(before) = before {
                life.from = before.from;
                life.join(before);
            }
            life
        });
    }

    fn end_span(&mut self, fate: &Fate, life: Life, until: Version) {
        let named = life.named(&fate.file, fate.dv_id.as_deref());
        self.compared.live(&named, (life.from, Some(until)));
        self.history(fate, life, until);
    }

    fn history(&mut self, fate: &Fate, life: Life, until: Version) {
        if self.history && life.from < until {
            let life = Life {
                otherwise: life.otherwise,
                ..Life::new(life.body, life.from, Spelling::default())
            };
            let name = (fate.file.clone(), fate.dv_id.clone());
            self.ready.push_back(life.into_file(name, Some(until)));
        }
    }

    fn close(&mut self, fate: Option<Fate>) {
        let Some(fate) = fate else { return };
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
        if let Some(life) = &fate.live {
            let named = life.named(&fate.file, fate.dv_id.as_deref());
            self.compared.live(&named, (life.from, None));
        }
        let newest = self.compared.newest_has(fate.last, fate.named.last);
        let off_newest = !newest.unwrap_or(fate.live.is_some());
        let Some(mut life) = fate.live else {
            if let Some(mut life) = fate.named.life {
                life.off_newest = off_newest;
                self.live(life, fate.file, fate.dv_id);
            }
            return;
        };
        life.off_newest = off_newest;
        if life.by_text || life.spellings.len() > 1 {
            self.findings.respelled += 1;
            if self.findings.respelled_example.is_empty() {
                let spellings = [Some(&fate.spelling), fate.other.as_ref()];
                let texts = spellings.into_iter().flatten();
                let texts = texts.map(|spelling| spelling.text(&fate.file).to_owned());
                self.findings.respelled_example = texts.collect();
            }
        }
        if let Some(named) = fate.named.life {
            life.join(named);
        }
        self.live(life, fate.file, fate.dv_id);
    }

    fn live(&mut self, life: Life, file: Location, dv_id: Option<String>) {
        if self.last_live.as_ref() == Some(&file) {
            self.findings.live_twice += 1;
        }
        self.last_live = Some(file.clone());
        self.ready.push_back(life.into_file((file, dv_id), None));
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
