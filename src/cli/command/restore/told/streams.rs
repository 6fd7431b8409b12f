//! What becomes of the streams that write to the table.

use deltavault::plan::restore::Situation;
use deltavault::plan::streams::{Stream, StreamChange};

use super::phrase::told;
use super::{Case, Streams};
use crate::cli::command::restore::messages::{PlanLine, StreamRow};

/// Streams that get a line of their own.
const SHOWN: usize = 2;

/// Streams that `--json` lists.
const LISTED: usize = 1000;

impl Case<'_> {
    /// The streams that a person has to think of.
    pub(super) fn told_streams(&self) -> Vec<PlanLine> {
        // A copy elsewhere changes nothing for a stream until somebody points it there.
        if self.found.situation == Situation::EmptyTarget {
            return Vec::new();
        }
        let streams = match &self.found.streams {
            Streams::Known(streams) => streams,
            Streams::NotAsked => return Vec::new(),
            Streams::Unknown(why) => return vec![told!("STREAMS", "unknown: {why}")],
        };
        let concerned = || streams.iter().filter(|it| it.change != StreamChange::Same);
        let mut lines: Vec<PlanLine> = concerned()
            .take(SHOWN)
            .map(|stream| told!("", "{}: {}", stream.app_id, self.effect(stream)))
            .collect();
        let more = concerned().count().saturating_sub(SHOWN);
        if more > 0 {
            lines.push(told!("", "{more} more streams; --json lists them"));
        }
        if let Some(first) = lines.first_mut() {
            first.label = "STREAMS";
        }
        lines
    }

    /// All of them, in fields.
    pub(crate) fn streams(&self) -> Vec<StreamRow> {
        let Streams::Known(streams) = &self.found.streams else {
            return Vec::new();
        };
        let rows = streams.iter().take(LISTED).map(|stream| StreamRow {
            stream: stream.clone(),
            effect: self.effect(stream),
        });
        rows.collect()
    }

    /// What happens to a stream. Delta's sink skips a batch at or below the last one that the table has, a RESTORE
    /// leaves that number as it is, and a stream without its checkpoint is a new one with a new id.
    fn effect(&self, stream: &Stream) -> String {
        let version = self.version;
        let told = |batch: Option<i64>| batch.map_or_else(|| "?".to_owned(), |it| it.to_string());
        let (held, live) = (told(stream.held), told(stream.live));
        match stream.change {
            StreamChange::WentOn => {
                let first = stream.held.and_then(|batch| batch.checked_add(1));
                format!(
                    "batches {}-{live} came after v{version}: a RESTORE takes their rows out, and the stream skips \
                     them if they are run again",
                    told(first)
                )
            }
            StreamChange::Began => format!(
                "began after v{version}, batch {live} is its last: a RESTORE takes its rows out, and it does not \
                 write them again"
            ),
            StreamChange::Unknown => format!(
                "v{version} ends with its batch {held}. Rewind its checkpoint to that batch before you start it: with \
                 a later one it skips what is lost, with a new one it writes everything twice"
            ),
            StreamChange::Same => format!("v{version} has its last batch, {held}"),
            StreamChange::WentBack => format!(
                "v{version} has its batch {held} and the live table {live}: the table was restored or made again"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use deltavault::plan::restore::Permission;
    use deltavault::plan::streams::{Txns, compare};
    use deltavault::progress::PlannedWork;
    use deltavault::vault::restore::LiveTable;

    use super::super::tests::{latest, newer, told};
    use super::super::{Found, Way};
    use super::*;
    use crate::cli::command::restore::args::{How, Which};

    fn txns(pairs: &[(&str, i64)]) -> Txns {
        let pairs = pairs.iter();
        pairs
            .map(|(name, batch)| ((*name).to_owned(), Some(*batch)))
            .collect()
    }

    fn dropped() -> Found {
        Found {
            situation: Situation::NoLog,
            permission: Permission::Everything,
            to_put: PlannedWork { files: 9, bytes: 9 },
            live: LiveTable {
                above: Vec::new(),
                ..newer(0, &[]).live
            },
            nothing_to_do: false,
            streams: Streams::Known(compare(&txns(&[("orders-to-gold", 812)]), None)),
            ..newer(0, &[])
        }
    }

    #[test]
    fn a_stream_that_went_on_is_told_with_the_batches_that_a_restore_takes_out() {
        let mut found = newer(0, &[(6, 15)]);
        let held = txns(&[("a", 1), ("orders-to-gold", 812)]);
        let live = txns(&[("a", 1), ("began", 3), ("orders-to-gold", 815)]);
        found.streams = Streams::Known(compare(&held, Some(&live)));
        latest(&found)
            .says(&[
                "STREAMS orders-to-gold: batches 813-815 came after v7",
                "skips them if they are run again",
                "began: began after v7, batch 3 is its last",
            ])
            .omits(" a: ");
    }

    #[test]
    fn the_streams_of_a_dropped_table_are_told_where_their_checkpoint_has_to_be() {
        latest(&dropped()).goes(&Way::Ready).says(&[
            "STREAMS orders-to-gold: v7 ends with its batch 812. Rewind its checkpoint to that batch before you \
             start it",
            "writes everything twice",
        ]);
        let to = How::To("file:///copy".into());
        let copied = Found {
            situation: Situation::EmptyTarget,
            ..dropped()
        };
        told(&copied, &Which::Latest, &to).omits("STREAMS");
    }

    #[test]
    fn many_streams_are_counted_and_unreadable_ones_are_said() {
        let mut found = dropped();
        let held = txns(&[("a", 1), ("b", 2), ("c", 3), ("d", 4)]);
        found.streams = Streams::Known(compare(&held, None));
        latest(&found).says(&["STREAMS a: v7 ends", "2 more streams; --json lists them"]);
        found.streams = Streams::Unknown("the held log has a gap".into());
        latest(&found).says(&["STREAMS unknown: the held log has a gap"]);
    }
}
