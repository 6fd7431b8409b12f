//! A restore that is at work on the table, as the plan of another one tells of it.

use deltavault::vault::restore::AtWork;

use super::Case;
use super::phrase::{second, told};
use crate::cli::command::restore::messages::PlanLine;

impl Case<'_> {
    /// `52770908 by ann@host since 03:02, last sign of life 4 min ago`, and what may be done about it.
    pub(super) fn told_at_work(&self) -> Option<PlanLine> {
        let at_work = self.found.at_work.as_ref()?;
        let what = if at_work.is_own {
            "yours: the next restore takes it over"
        } else {
            "until it ends no other restore begins, but one with --take-over, which takes the table over"
        };
        Some(told!("RESTORING", "{}; {what}", told(at_work)))
    }
}

fn told(at_work: &AtWork) -> String {
    let silent = match at_work.silent_for.as_secs() {
        seconds @ ..120 => format!("{seconds} s"),
        seconds => format!("{} min", seconds / 60),
    };
    format!(
        "{} by {} since {}, last sign of life {silent} ago",
        at_work.snapshot.short(),
        at_work.by,
        second(at_work.since)
    )
}

#[cfg(test)]
mod tests {
    use deltavault::ids::{Digest, SnapshotId};

    use super::*;

    #[test]
    fn who_restores_what_since_when_and_whether_it_still_lives_is_told() {
        let mut at_work = AtWork {
            by: "ann@host".into(),
            is_own: false,
            snapshot: SnapshotId(Digest::from_bytes([0x52; 32])),
            since: "2026-11-28T03:02:00.123456Z".parse().unwrap(),
            silent_for: jiff::SignedDuration::from_secs(250),
        };
        assert_eq!(
            told(&at_work),
            "52525252 by ann@host since 2026-11-28 03:02:00Z, last sign of life 4 min ago"
        );
        at_work.silent_for = jiff::SignedDuration::from_secs(7);
        assert!(told(&at_work).ends_with("last sign of life 7 s ago"));
    }
}
