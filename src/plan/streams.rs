//! The streams that write to a table, before and after a restore.
//!
//! A streaming sink commits its query's id and its last batch with each batch (`txn`), and skips a batch at or below
//! what the table has. So a checkpoint of the stream may be older than its sink and must never be newer.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::ids::ObjectKey;

/// How far each application has written, by its id; `None` where the log gives no number.
pub type Txns = BTreeMap<String, Option<i64>>;

/// One application that writes to the table, mostly a stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Stream {
    /// Its id: of a Structured Streaming query, the id in its checkpoint's `metadata`.
    pub app_id: String,
    /// The last batch that V has.
    pub held: Option<i64>,
    /// The last batch that the live table has, where there is one that can be read.
    pub live: Option<i64>,
    /// What it did since V.
    pub change: StreamChange,
}

/// What a stream did since V.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum StreamChange {
    /// It has written since: those batches are not in V.
    WentOn,
    /// It wrote its first batch after V.
    Began,
    /// The live table does not show it, or is gone: the stream may have written since.
    Unknown,
    /// The live table has the same last batch as V.
    Same,
    /// V has a later batch than the live table.
    WentBack,
}

/// Compares the batches of V with those of the live table, where that can be read: what went on first.
pub fn compare(held: &Txns, live: Option<&Txns>) -> Vec<Stream> {
    let names = held.keys().chain(live.into_iter().flat_map(BTreeMap::keys));
    let mut names: Vec<&String> = names.collect();
    names.sort_unstable();
    names.dedup();
    let mut streams: Vec<Stream> = names
        .into_iter()
        .map(|name| {
            let at = |txns: &Txns| txns.get(name).copied();
            let (then, now) = (at(held), live.map(at));
            let change = match (then, now) {
                (_, None) => StreamChange::Unknown,
                (None, Some(_)) => StreamChange::Began,
                (Some(_), Some(None)) => StreamChange::WentBack,
                (Some(then), Some(Some(now))) => match now.cmp(&then) {
                    std::cmp::Ordering::Greater => StreamChange::WentOn,
                    std::cmp::Ordering::Equal => StreamChange::Same,
                    std::cmp::Ordering::Less => StreamChange::WentBack,
                },
            };
            Stream {
                app_id: name.clone(),
                held: then.flatten(),
                live: now.flatten().flatten(),
                change,
            }
        })
        .collect();
    streams.sort_by(|a, b| (a.change, &a.app_id).cmp(&(b.change, &b.app_id)));
    streams
}

/// The folder of a stream's checkpoint, when a key names a file of one.
///
/// Structured Streaming writes a file named by the batch's number to `offsets/` before each batch and to `commits/`
/// after it.
pub fn checkpoint_folder(key: &ObjectKey) -> Option<&str> {
    let (folder, batch) = key.as_str().rsplit_once('/')?;
    let (checkpoint, kind) = folder.rsplit_once('/')?;
    let is_batch = !batch.is_empty() && batch.bytes().all(|byte| byte.is_ascii_digit());
    (is_batch && matches!(kind, "offsets" | "commits")).then_some(checkpoint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_under_offsets_and_commits_tell_a_checkpoint() {
        for (key, folder) in [
            ("_checkpoints/etl/offsets/0", Some("_checkpoints/etl")),
            ("_checkpoint/commits/812", Some("_checkpoint")),
            ("_delta_log/_chk/offsets/7", Some("_delta_log/_chk")),
            ("_checkpoint/commits/812.compact", None),
            ("_checkpoint/metadata", None),
            ("_checkpoint/commits/", None),
            ("offsets/5", None),
            ("offsets=1/5", None),
            ("_delta_log/00000000000000000001.json", None),
        ] {
            let Ok(key) = key.parse::<ObjectKey>() else {
                continue;
            };
            assert_eq!(checkpoint_folder(&key), folder, "{key}");
        }
    }

    fn txns(pairs: &[(&str, i64)]) -> Txns {
        let pairs = pairs.iter();
        pairs
            .map(|(name, batch)| ((*name).to_owned(), Some(*batch)))
            .collect()
    }

    #[test]
    fn streams_that_went_on_come_first_with_both_batches() {
        let held = txns(&[("a", 5), ("b", 812), ("d", 9)]);
        let live = txns(&[("a", 5), ("b", 815), ("c", 0), ("d", 3)]);
        let told: Vec<_> = compare(&held, Some(&live))
            .into_iter()
            .map(|stream| (stream.app_id, stream.held, stream.live, stream.change))
            .collect();
        assert_eq!(
            told,
            [
                ("b".to_owned(), Some(812), Some(815), StreamChange::WentOn),
                ("c".to_owned(), None, Some(0), StreamChange::Began),
                ("a".to_owned(), Some(5), Some(5), StreamChange::Same),
                ("d".to_owned(), Some(9), Some(3), StreamChange::WentBack),
            ]
        );
    }

    #[test]
    fn without_a_live_table_every_stream_may_have_gone_on() {
        let streams = compare(&txns(&[("a", 5)]), None);
        assert_eq!(streams[0].change, StreamChange::Unknown);
        assert_eq!((streams[0].held, streams[0].live), (Some(5), None));
        assert_eq!(compare(&Txns::new(), None), []);
    }

    #[test]
    fn a_stream_that_the_live_table_lacks_and_one_without_a_number_are_told() {
        let streams = compare(&txns(&[("gone", 1)]), Some(&Txns::new()));
        assert_eq!(streams[0].change, StreamChange::WentBack);
        let odd = Txns::from([("odd".to_owned(), None)]);
        assert_eq!(compare(&odd, Some(&odd))[0].change, StreamChange::Same);
    }
}
