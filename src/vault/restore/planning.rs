//! Plans a restore: what stands at the target, what becomes of the log as a whole, then file by file.

use futures::TryStreamExt;

use super::held::HeldLog;
use super::judge::way_to;
use super::mend::LogAfter;
use super::rewind::stands_for_a_version;
use super::{
    CopyPlace, Expected, LiveTable, NotPut, OWN_PREFIX, Reading, RestorePlan, RestoreRequest,
    Restorer, live_tip,
};
use crate::delta::LogFile;
use crate::error::{Error, RestoreError};
use crate::format::{Entry, EntryKind, Manifest};
use crate::ids::{ETag, Location};
use crate::plan::restore::order::LogOrder;
use crate::plan::restore::whole::unlike_manifest;
use crate::plan::restore::{
    Action, FileState, LiveLog, Mode, Permission, RestoreStep, Situation, judge, permit, plan_entry,
};
use crate::progress::{Phase, PlannedWork};
use crate::reader::{RefusalCause, Verdict};
use crate::sort::Sorter;
use crate::source::LOG_PREFIX;
use crate::spool::Scratch;

/// A plan that is being made, and what it is made from.
pub(super) struct Planning<'a> {
    pub(super) restorer: &'a Restorer,
    pub(super) request: &'a RestoreRequest,
    pub(super) manifest: &'a Manifest,
    pub(super) held: HeldLog,
    pub(super) plan: RestorePlan,
}

impl Restorer {
    /// Looks at the target and plans; writes nothing.
    ///
    /// # Errors
    /// A target that is not empty (with [`Mode::To`]), a path that would leave it, damage in the vault; a snapshot that is not
    /// what its record says, unless damage is accepted.
    pub async fn plan(&self, request: &RestoreRequest) -> Result<RestorePlan, Error> {
        self.progress.phase(&request.record.table.name, Phase::Plan);
        let manifest = self.vault.manifest(&request.record).await?;
        let mut held = self.survey_log(request, &manifest).await?;
        let claims = self.claims().await?;
        self.tell_odd_claims(request, &claims);
        let copy_place = match request.mode {
            Mode::To => Some(self.copy_place(request, &claims, &held).await?),
            Mode::InPlace | Mode::Heal | Mode::Rewind | Mode::Replace | Mode::Undo => None,
        };
        let situation = match copy_place {
            Some(_) => Situation::EmptyTarget,
            None => self.situation(request, &manifest, &held).await?,
        };
        let scratch = Scratch::create(&self.temp).map_err(Error::Scratch)?;
        let turned = self.turned_back(request, &situation, &mut held).await?;
        let begins_log = matches!(turned.basis, Situation::EmptyTarget | Situation::NoLog);
        let plan = RestorePlan {
            not_whole: unlike_manifest(&request.record, &manifest),
            log_before: begins_log.then(|| held.listed.keys().cloned().collect()),
            permission: permit(&situation, request.mode),
            situation: turned.basis,
            copy_place,
            removals: turned.removals,
            goes_on_from: None,
            missing: PlannedWork::default(),
            wrong: PlannedWork::default(),
            not_put: NotPut::default(),
            absolute: None,
            useless: PlannedWork::default(),
            serves_live: false,
            new_times: 0,
            kept: PlannedWork::default(),
            left: Vec::new(),
            outside_missing: Vec::new(),
            sound: None,
            live: LiveTable::default(),
            broken: Vec::new(),
            written_without: Vec::new(),
            asides: Vec::new(),
            left_out: Vec::new(),
            kept_unreadable: Vec::new(),
            reading: None,
            expected: Expected::default(),
            vanishing: 0,
            at_work: Self::at_work(request, &claims),
            order: LogOrder::Ascending,
            steps: Sorter::new(scratch.path())?,
            scratch,
        };
        let planning = Planning {
            restorer: self,
            request,
            manifest: &manifest,
            held,
            plan,
        };
        let mut plan = planning.run().await?;
        if let Some(live) = turned.live {
            (plan.situation, plan.live) = (situation, live);
        }
        match plan.not_whole {
            Some(what) if !request.accept_damaged => Err(RestoreError::NotWhole {
                snapshot: request.id,
                version: request.record.version,
                what,
            }
            .into()),
            _ => Ok(plan),
        }
    }

    async fn situation(
        &self,
        request: &RestoreRequest,
        manifest: &Manifest,
        held: &HeldLog,
    ) -> Result<Situation, Error> {
        let tip = live_tip(&held.listed);
        let mut live = LiveLog {
            tip,
            delta_id: None,
            other_commits: held.other_commits.clone(),
        };
        if let Some(tip) = tip
            && live.other_commits.is_empty()
        {
            live.other_commits = self.forked(request, manifest, held, tip).await?;
        }
        if tip.is_some() && (held.right_commits == 0 || !live.other_commits.is_empty()) {
            let files = held.listed.values().cloned().filter_map(LogFile::parse);
            live.delta_id = self.live_delta_id(&files.collect::<Vec<_>>()).await?;
        }
        let delta_id = &request.record.table.delta_id;
        Ok(judge(&live, delta_id, request.version))
    }
}

impl Planning<'_> {
    async fn run(mut self) -> Result<RestorePlan, Error> {
        let version = self.request.version;
        if matches!(
            self.plan.situation,
            Situation::AnotherTable { .. } | Situation::CommitsDiffer { .. }
        ) {
            self.plan.absolute = self.restorer.first_absolute(self.manifest).await?;
            return Ok(self.plan);
        }
        let mended = self.mend().await?;
        self.plan.expected = Expected {
            log: self.puts_all(),
            live: None,
            except: mended.skip.clone(),
        };
        let now = self.held.live();
        let tip = live_tip(&self.held.listed);
        self.plan.order = LogOrder::new(&now, &mended.after.listing(), tip);
        if self.plan.situation == Situation::NothingAbove && tip < Some(version) {
            let made = self
                .held
                .listed
                .values()
                .filter(|it| stands_for_a_version(it));
            let seen = made.map(|it| (it.key.clone(), it.etag.clone()));
            self.plan.goes_on_from = Some(seen.collect());
        }
        let mut entries = self.restorer.log_entries(self.request, self.manifest);
        while let Some(entry) = entries.try_next().await? {
            let Location::Inside(key) = &entry.file else {
                continue;
            };
            if !mended.skip.contains(key) {
                let etag = self.held.listed.get(key).map(|file| file.etag.clone());
                let state = self.state(key);
                self.add_step(entry, &state, etag)?;
            }
        }
        let lacking = self.plan_data().await?;
        let is_whole = self.plan.is_empty() && self.plan.left.is_empty();
        if self.plan.copy_place == Some(CopyPlace::Filled) && !is_whole {
            return Err(self.restorer.not_empty());
        }
        let after = &mended.after;
        if let Situation::NewerLive { tip } = self.plan.situation {
            let mut uses = Sorter::new(self.plan.scratch.path())?;
            let wanted = (!lacking.is_empty()).then_some(&mut uses);
            let live = self.restorer.look_above(version, tip, after, wanted);
            self.plan.live = live.await?;
            self.plan_under(tip, lacking, uses).await?;
        }
        if self.plan.situation == Situation::NothingAbove {
            let listing = after.listing();
            let own = listing.commit(version);
            let empty = own.filter(|file| file.size == 0);
            self.plan.live.empty = empty.and_then(|file| file.version).into_iter().collect();
            self.set_unlike_aside(after).await?;
            self.look_for_health().await?;
        }
        self.read_live(after).await?;
        let out = self.plan.asides.iter().map(|aside| aside.key.clone());
        self.plan.expected.except.extend(out);
        Ok(self.plan)
    }

    /// Whether every missing file of the log is put back.
    pub(super) fn puts_all(&self) -> bool {
        self.plan.permission == Permission::Everything
    }

    /// Lets the independent reader open a live table that lacks nothing, before anybody calls it healthy. Where it does
    /// not, our own replay of every way through the log finds out why, and checkpoints that nobody can read are set aside.
    async fn read_live(&mut self, after: &LogAfter) -> Result<(), Error> {
        let tip = match self.plan.situation {
            Situation::NothingAbove if self.plan.is_empty() => self.request.version,
            Situation::NewerLive { tip } if self.plan.broken.is_empty() => tip,
            Situation::EmptyTarget
            | Situation::AnotherTable { .. }
            | Situation::CommitsDiffer { .. }
            | Situation::NoLog
            | Situation::NothingAbove
            | Situation::NewerLive { .. } => return Ok(()),
        };
        let about = self.request.record.totals.live_files;
        let of_log = |trouble: String| Reading::Refuses {
            reason: trouble.clone(),
            about: RefusalCause::Log,
            replay: Some(trouble),
        };
        let mut listed = self.held.listed.keys();
        if let Some(past) = listed.find_map(LogFile::past_versions) {
            self.plan.reading = Some(of_log(past));
            return Ok(());
        }
        let way = way_to(self.held.listed.values().cloned(), tip);
        self.plan.reading = Some(match self.restorer.judge(way, tip, about).await? {
            Verdict::Opens { .. } => match after.listing().candidates(tip).map(drop) {
                Ok(()) => self
                    .lacks_unheld(after, tip)
                    .await?
                    .map_or(Reading::Opens, of_log),
                // It opens logs without their beginning.
                Err(error) => of_log(error.to_string()),
            },
            Verdict::Refuses { reason, about } => Reading::Refuses {
                reason,
                about,
                replay: self.set_unreadable_aside(tip, after).await?,
            },
        });
        Ok(())
    }

    /// Plans what becomes of a file that is in some state, and has this tag where it is there.
    pub(super) fn add_step(
        &mut self,
        entry: Entry,
        state: &FileState,
        etag: Option<ETag>,
    ) -> Result<(), Error> {
        let Self {
            restorer,
            request,
            plan,
            ..
        } = self;
        let target = &restorer.target;
        let leaves = match &entry.file {
            // A data file in the log's folder would be read as part of it.
            Location::Inside(key) => {
                key.has_odd_segment()
                    || key.as_str().starts_with(OWN_PREFIX)
                    || entry.kind.is_log() != key.as_str().starts_with(LOG_PREFIX)
            }
            Location::Outside(_) => request.mode == Mode::To,
        };
        if leaves {
            return Err(Error::PathLeavesTarget {
                file: entry.file.to_string(),
                target: target.uri().to_owned(),
            });
        }
        if entry.absolute && request.mode == Mode::To {
            return Err(Error::AbsoluteIntoOwnRoot {
                file: entry.file.to_string(),
                table: request.record.table.uri.clone(),
            });
        }
        let is_refused = match &entry.file {
            Location::Outside(uri) => request.outside.place_of(uri).is_none(),
            Location::Inside(_) => false,
        };
        let action = plan_entry(&entry, state, plan.permission);
        let work = match action {
            Action::Keep => &mut plan.kept,
            Action::Put => &mut plan.missing,
            Action::Replace => &mut plan.wrong,
            Action::Report => {
                plan.left.push(entry.file.to_string());
                return Ok(());
            }
        };
        work.files += 1;
        work.bytes += entry.size;
        if action == Action::Keep {
            return Ok(());
        }
        if action == Action::Put {
            restorer.refuse_unless_it_fits(&entry)?;
        }
        let keeps_time = target.keeps_times() && entry.last_modified.is_some();
        if entry.kind == EntryKind::Commit && !keeps_time {
            plan.new_times += 1;
        }
        if is_refused {
            plan.outside_missing.push(entry.file.to_string());
            return Ok(());
        }
        let replaces = match action {
            Action::Replace => etag,
            Action::Keep | Action::Put | Action::Report => None,
        };
        plan.steps.push(RestoreStep {
            turn: plan.order.turn(&entry),
            is_under: !entry.kind.is_log() && matches!(plan.situation, Situation::NewerLive { .. }),
            entry,
            replaces,
        })?;
        Ok(())
    }
}
