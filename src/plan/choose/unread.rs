//! Whether the newest snapshot that can be read is the newest that was taken.

use super::{History, Snapshot, Wanted};
use crate::format::VaultKey;
use crate::format::ledger::{LedgerFinding, UnreadRecord};

impl History {
    /// Whether slots have records that the chain does not have.
    pub fn has_unlinked(&self) -> bool {
        self.unread().is_some() || {
            let mut findings = self.findings.iter();
            findings
                .any(|it| matches!(it, LedgerFinding::TakenBack(scar) if scar.may_hide_a_record()))
        }
    }

    /// A record that cannot be read and that may be of a newer snapshot than the one that was chosen, where the newest one
    /// was wanted, or the newest one by a time. A snapshot or a version that is named is wanted as such.
    pub fn may_be_newer(&self, wanted: &Wanted, chosen: &Snapshot) -> Option<UnreadRecord> {
        let readable_above = match wanted {
            Wanted::Snapshot(_) | Wanted::Version(_) | Wanted::VersionOf(..) => return None,
            Wanted::Latest => None,
            // What was committed after the next one was committed too late.
            Wanted::AsOf(_) => {
                let above = self.trusted().map(|it| it.seq);
                above.filter(|seq| *seq > chosen.seq).min()
            }
        };
        let hidden = |finding: &&LedgerFinding| {
            let seq = finding.hidden_slot();
            finding.may_hide_a_record()
                && seq > chosen.seq
                && readable_above.is_none_or(|above| seq < above)
        };
        let finding = self.findings.iter().find(hidden)?;
        Some(UnreadRecord {
            object: VaultKey::Record {
                table: self.table.clone(),
                seq: finding.slot(),
            },
            finding: finding.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::format::ledger::{Chain, Link, LinkBody, ScarReason};
    use crate::format::record::Previous;
    use crate::format::samples;
    use crate::ids::{Digest, SnapshotId, Timestamp, Version};
    use crate::plan::choose::AsOf;

    fn with_snapshots(seqs: &[u64], finding: &LedgerFinding) -> History {
        let link = |seq: u64| {
            let mut record = samples::record();
            record.seq = seq;
            Link {
                seq,
                id: SnapshotId(Digest::of(&seq.to_be_bytes())),
                version: None,
                body: LinkBody::Record(Arc::new(record)),
            }
        };
        let chain = Chain {
            links: seqs.iter().copied().map(link).collect(),
            next_free: 4,
            findings: vec![finding.clone()],
        };
        History::new(samples::table_key(), chain)
    }

    #[test]
    fn only_a_slot_above_the_chosen_one_can_hide_a_newer_one() {
        let gap = |empty| LedgerFinding::BeyondGap {
            empty,
            lowest: empty + 1,
            slots: 1,
        };
        let scar = |seq, reason| LedgerFinding::Scar { seq, reason };
        let broken = LedgerFinding::Broken {
            seq: 3,
            previous: Previous {
                seq: 2,
                sha256: Digest::of(b"gone"),
            },
        };
        let at = Wanted::AsOf(AsOf {
            time: Timestamp::UNIX_EPOCH,
            is_exact: true,
        });
        let version = Wanted::Version(Version(1));
        let by_id = Wanted::Snapshot("0123456789".to_owned());
        // Snapshots in slots 1 and 3; the chosen one, what was wanted, the finding, the object that is named.
        for (chosen, wanted, finding, hidden) in [
            (3, &Wanted::Latest, gap(4), Some(4)),
            (3, &Wanted::Latest, scar(4, ScarReason::Gone), Some(4)),
            (
                3,
                &Wanted::Latest,
                scar(4, ScarReason::PreviousMissing { previous: 3 }),
                Some(3),
            ),
            (3, &Wanted::Latest, scar(2, ScarReason::Gone), None),
            (3, &Wanted::Latest, broken.clone(), None),
            (
                3,
                &Wanted::Latest,
                LedgerFinding::OtherVersion { seq: 4 },
                None,
            ),
            (3, &at, gap(4), Some(4)),
            (1, &at, gap(4), None),
            (1, &at, scar(2, ScarReason::Gone), Some(2)),
            (1, &at, broken, Some(2)),
            (3, &version, gap(4), None),
            (3, &by_id, gap(4), None),
        ] {
            let history = with_snapshots(&[1, 3], &finding);
            let chosen = history
                .snapshots
                .iter()
                .find(|it| it.seq == chosen)
                .unwrap();
            let found = history.may_be_newer(wanted, chosen);
            let object = found.map(|unread| unread.object);
            let table = history.table.clone();
            let expected = hidden.map(|seq| VaultKey::Record { table, seq });
            assert_eq!(object, expected, "{wanted:?} {finding:?}");
        }
    }
}
