//! Whether a restore may go on: one table over what was found, and over who named the snapshot.
//!
//! What only the owner can decide stops it before anything is written. The library refuses to execute what this table
//! refuses; the command line only words it.

use super::{Healthy, Permission, Situation};
use crate::count::counted;
use crate::ids::Version;

/// Who chose the snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChosenBy {
    /// Nobody: the newest one was taken, to have a look.
    Nobody,
    /// The owner, as the newest one: it may hold the very version that did the damage.
    Newest,
    /// The owner, by id, version or time.
    ByOwner,
}

/// What there is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    /// Nothing: all is there.
    Nothing,
    /// Nothing that helps: nobody can open the live table, and the snapshot has nothing that mends it.
    NothingMends,
    /// Only files of older versions are missing.
    OlderFiles,
    /// Files of the version are missing or wrong.
    Files,
}

impl Task {
    /// What there is to do where `is_nothing` says whether a plan is empty, and `is_lost` whether nobody can open the table
    /// and nothing mends it.
    pub fn of(is_nothing: bool, is_lost: bool, sound: Option<Healthy>) -> Self {
        match (is_nothing, sound) {
            (true, _) if is_lost => Self::NothingMends,
            (true, _) => Self::Nothing,
            (false, Some(Healthy::AtV)) => Self::OlderFiles,
            (false, Some(Healthy::Behind(_)) | None) => Self::Files,
        }
    }
}

/// What a newer live table makes of files that are put back under it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readability {
    /// They can be read.
    Readable,
    /// Its log no longer leads to the version.
    BeyondTheLog,
    /// It uses their names for other files.
    NamesTaken,
}

impl Readability {
    /// What becomes of files under a newer live table. One whose log is put right by the plan needs them anyway.
    pub fn of(mends_log: bool, is_beyond_the_log: bool, are_names_taken: bool) -> Self {
        match (mends_log, is_beyond_the_log, are_names_taken) {
            (true, _, _) | (false, false, false) => Self::Readable,
            (false, true, _) => Self::BeyondTheLog,
            (false, false, true) => Self::NamesTaken,
        }
    }
}

/// Everything that the decision is made from.
#[derive(Debug, Clone)]
pub struct Facts<'a> {
    /// What stands at the target.
    pub situation: &'a Situation,
    /// What may be done about that.
    pub permission: Permission,
    /// Who chose the snapshot.
    pub named: ChosenBy,
    /// What there is to do.
    pub task: Task,
    /// Of a newer live table: what becomes of files under it.
    pub under: Readability,
    /// Of a newer live table: whether its newest version has all its files.
    pub is_tip_whole: bool,
    /// Files that the log names outside the table's folder, that are gone, and that may not be put there.
    pub outside: u64,
    /// Objects that vanished while the target was watched.
    pub vanishing: u64,
    /// Whether a live table that does not go beyond the version is whole as it stands.
    pub sound: Option<Healthy>,
}

/// Whether a restore may go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// There is nothing to do.
    Nothing,
    /// It may.
    Ready,
    /// Only the owner can say how to go on.
    OwnerMustChoose(Obstacle),
}

/// What the owner has to choose about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Obstacle {
    /// Another table lives there now.
    AnotherTable,
    /// The table has another history than the snapshot.
    AnotherHistory,
    /// The live table is newer; its newest version.
    NewerLive(Version),
    /// The live log cannot rebuild the version.
    BeyondTheLog,
    /// The live table uses names of the version's files for others.
    NamesTaken,
    /// Nobody can open the live table, and the snapshot has nothing that mends it.
    NothingMends,
    /// So many files would be put outside the table's folder.
    Outside(u64),
    /// Something is still deleting the table.
    StillDeleting,
    /// The live table is whole at an older version.
    BehindAndWhole(Version),
    /// Nobody said which snapshot.
    NotNamed,
}

impl Obstacle {
    /// What stops a restore of a version, as a clause.
    pub fn of_version(self, version: Version) -> String {
        match self {
            Self::AnotherTable => "another table lives there now".to_owned(),
            Self::AnotherHistory => "the table has another history than the snapshot".to_owned(),
            Self::NewerLive(tip) => {
                format!("the live table is at version {tip}, newer than {version}")
            }
            Self::BeyondTheLog => format!(
                "the live log cannot rebuild version {version}: files put back under it cannot be read"
            ),
            Self::NamesTaken => format!(
                "version {version} cannot be put back under the live table: it uses names of its files for others"
            ),
            Self::NothingMends => {
                "the live table cannot be opened, and the snapshot has nothing that mends it"
                    .to_owned()
            }
            Self::Outside(files) => format!(
                "{} to be put back outside the table's folder",
                counted(files, "file")
            ),
            Self::StillDeleting => "something is still deleting the table".to_owned(),
            Self::BehindAndWhole(tip) => {
                format!("the live table is healthy at version {tip}, behind {version}")
            }
            Self::NotNamed => "no snapshot was named".to_owned(),
        }
    }
}

/// Decides whether a restore may go on.
pub fn decide(facts: &Facts<'_>) -> Decision {
    match obstacle(facts) {
        Some(obstacle) => Decision::OwnerMustChoose(obstacle),
        None if has_work(facts) => Decision::Ready,
        None => Decision::Nothing,
    }
}

fn has_work(facts: &Facts<'_>) -> bool {
    match facts.task {
        Task::Nothing | Task::NothingMends => false,
        Task::OlderFiles => facts.named != ChosenBy::Nobody,
        Task::Files => true,
    }
}

fn obstacle(facts: &Facts<'_>) -> Option<Obstacle> {
    match facts.situation {
        // The owner has chosen to rewind or to replace it.
        _ if facts.permission == Permission::Everything => {}
        Situation::AnotherTable { .. } => return Some(Obstacle::AnotherTable),
        Situation::CommitsDiffer { .. } => return Some(Obstacle::AnotherHistory),
        Situation::NewerLive { tip } => match (facts.permission, facts.under) {
            (Permission::OwnerMustChoose, _) => {
                let is_healthy = facts.task == Task::Nothing && facts.is_tip_whole;
                let is_question = is_healthy && facts.named == ChosenBy::Nobody;
                return (!is_question).then_some(Obstacle::NewerLive(*tip));
            }
            (_, Readability::BeyondTheLog) => return Some(Obstacle::BeyondTheLog),
            (_, Readability::NamesTaken) => return Some(Obstacle::NamesTaken),
            (_, Readability::Readable) => {}
        },
        Situation::EmptyTarget | Situation::NoLog | Situation::NothingAbove => {}
    }
    if facts.task == Task::NothingMends {
        return Some(Obstacle::NothingMends);
    }
    if !has_work(facts) {
        return None;
    }
    if facts.outside > 0 {
        return Some(Obstacle::Outside(facts.outside));
    }
    if facts.vanishing > 0 {
        return Some(Obstacle::StillDeleting);
    }
    match (facts.sound, facts.named) {
        (Some(Healthy::Behind(tip)), ChosenBy::Nobody | ChosenBy::Newest) => {
            Some(Obstacle::BehindAndWhole(tip))
        }
        (_, ChosenBy::Nobody) => Some(Obstacle::NotNamed),
        (_, ChosenBy::Newest | ChosenBy::ByOwner) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Mode, permit};
    use super::*;

    const TIP: Version = Version(9);

    fn facts(situation: &Situation, mode: Mode, task: Task) -> Facts<'_> {
        Facts {
            situation,
            permission: permit(situation, mode),
            named: ChosenBy::ByOwner,
            task,
            under: Readability::Readable,
            is_tip_whole: true,
            outside: 0,
            vanishing: 0,
            sound: None,
        }
    }

    fn stops(facts: &Facts<'_>, obstacle: Obstacle) {
        assert_eq!(
            decide(facts),
            Decision::OwnerMustChoose(obstacle),
            "{facts:?}"
        );
    }

    #[test]
    fn another_table_or_history_stops_whatever_there_is_to_do() {
        let (delta_id, files) = (String::new(), Vec::new());
        for (situation, obstacle) in [
            (Situation::AnotherTable { delta_id }, Obstacle::AnotherTable),
            (Situation::CommitsDiffer { files }, Obstacle::AnotherHistory),
        ] {
            for mode in [Mode::InPlace, Mode::Heal] {
                for task in [Task::Nothing, Task::Files] {
                    stops(&facts(&situation, mode, task), obstacle);
                }
            }
        }
    }

    #[test]
    fn under_a_newer_table_only_a_heal_goes_on_and_only_where_files_can_be_read() {
        let newer = Situation::NewerLive { tip: TIP };
        let heal = |task| facts(&newer, Mode::Heal, task);
        assert_eq!(decide(&heal(Task::Files)), Decision::Ready);
        assert_eq!(decide(&heal(Task::Nothing)), Decision::Nothing);
        for (under, obstacle) in [
            (Readability::BeyondTheLog, Obstacle::BeyondTheLog),
            (Readability::NamesTaken, Obstacle::NamesTaken),
        ] {
            let facts = Facts {
                under,
                ..heal(Task::Files)
            };
            stops(&facts, obstacle);
        }
        stops(&heal(Task::NothingMends), Obstacle::NothingMends);
        // In place it is a question, unless all is well and nobody asked for a version.
        for (named, task, is_tip_whole, is_answered) in [
            (ChosenBy::Nobody, Task::Nothing, true, true),
            (ChosenBy::Nobody, Task::Nothing, false, false),
            (ChosenBy::Nobody, Task::Files, true, false),
            (ChosenBy::Nobody, Task::NothingMends, true, false),
            (ChosenBy::Newest, Task::Nothing, true, false),
            (ChosenBy::ByOwner, Task::Nothing, true, false),
        ] {
            let facts = Facts {
                named,
                is_tip_whole,
                ..facts(&newer, Mode::InPlace, task)
            };
            let stopped = Decision::OwnerMustChoose(Obstacle::NewerLive(TIP));
            let expected = if is_answered {
                Decision::Nothing
            } else {
                stopped
            };
            assert_eq!(decide(&facts), expected, "{facts:?}");
        }
    }

    #[test]
    fn files_outside_deletions_and_a_snapshot_that_nobody_named_stop_what_would_be_written() {
        for situation in [
            Situation::EmptyTarget,
            Situation::NoLog,
            Situation::NothingAbove,
        ] {
            let ready = facts(&situation, Mode::InPlace, Task::Files);
            assert_eq!(decide(&ready), Decision::Ready);
            let changed = |change: &dyn Fn(&mut Facts<'_>)| {
                let mut facts = ready.clone();
                change(&mut facts);
                facts
            };
            stops(&changed(&|it| it.outside = 2), Obstacle::Outside(2));
            stops(&changed(&|it| it.vanishing = 1), Obstacle::StillDeleting);
            stops(
                &changed(&|it| it.named = ChosenBy::Nobody),
                Obstacle::NotNamed,
            );
            let behind = Some(Healthy::Behind(TIP));
            for named in [ChosenBy::Nobody, ChosenBy::Newest] {
                let facts = changed(&|it| (it.sound, it.named) = (behind, named));
                stops(&facts, Obstacle::BehindAndWhole(TIP));
            }
            let named = changed(&|it| it.sound = behind);
            assert_eq!(decide(&named), Decision::Ready);
            // Where there is nothing to do, nothing stops it.
            let done = changed(&|it| (it.task, it.vanishing, it.outside) = (Task::Nothing, 3, 3));
            assert_eq!(decide(&done), Decision::Nothing);
        }
    }

    #[test]
    fn older_files_are_put_back_where_somebody_asked_for_a_version() {
        let situation = Situation::NothingAbove;
        for (named, expected) in [
            (ChosenBy::Nobody, Decision::Nothing),
            (ChosenBy::Newest, Decision::Ready),
            (ChosenBy::ByOwner, Decision::Ready),
        ] {
            let facts = Facts {
                named,
                ..facts(&situation, Mode::InPlace, Task::OlderFiles)
            };
            assert_eq!(decide(&facts), expected);
        }
    }
}
