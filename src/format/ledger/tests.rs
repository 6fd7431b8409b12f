//! Ledgers as attackers, accidents and replicas leave them.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::{Event, samples};
use super::*;
use crate::ids::Digest;

mod seals;
mod trust;

/// A ledger whose objects are in memory; each slot's versions oldest first.
#[derive(Debug, Clone, Default)]
struct Ledger(BTreeMap<u64, Vec<Vec<u8>>>);

/// How many object versions a reading asked for.
type Reads = usize;

impl Ledger {
    /// A ledger of `n` honest records.
    fn honest(n: u64) -> Self {
        let mut ledger = Self::default();
        for _ in 0..n {
            ledger.append();
        }
        ledger
    }

    /// Does what an honest run does: finds the head, puts the next record into the next free slot.
    fn append(&mut self) -> SnapshotId {
        let (head, _) = self.head(&[]).unwrap();
        let previous = head.link.as_ref().map(Link::as_previous);
        self.put(head.next_free, &record(head.next_free, previous))
    }

    fn put(&mut self, seq: u64, bytes: &[u8]) -> SnapshotId {
        self.0.entry(seq).or_default().push(bytes.to_vec());
        SnapshotId(Digest::of(bytes))
    }

    /// What names the record in a slot: that of its oldest version.
    fn link(&self, seq: u64) -> Previous {
        self.link_to(seq, 0)
    }

    fn link_to(&self, seq: u64, version: usize) -> Previous {
        let sha256 = Digest::of(&self.0[&seq][version]);
        Previous { seq, sha256 }
    }

    /// With a seal of each record that came first into its slot.
    fn slots(&self) -> Slots {
        let first = (self.0.iter()).filter_map(|(seq, versions)| Some((*seq, versions.first()?)));
        let records = first.filter(|(_, bytes)| Record::decode(bytes).is_ok());
        self.unsealed()
            .with_seals(records.map(|(seq, bytes)| (seq, Digest::of(bytes))))
    }

    fn unsealed(&self) -> Slots {
        Slots::from_listing(self.0.iter().flat_map(|(seq, versions)| {
            versions.iter().enumerate().map(|(n, bytes)| SlotRow {
                seq: *seq,
                version: Some(ObjectVersion(n.to_string())),
                size: bytes.len() as u64,
            })
        }))
    }

    fn body(&self, row: &SlotRow) -> &[u8] {
        let version: usize = row.version.as_ref().unwrap().0.parse().unwrap();
        &self.0[&row.seq][version]
    }

    fn drive<T, B: Chained>(
        &self,
        bodies: Bodies<B>,
        step: impl Fn(&Slots, &Bodies<B>) -> Result<Step<T>, LedgerError>,
    ) -> Result<(T, Reads), LedgerError> {
        self.drive_on(&self.slots(), bodies, step)
    }

    fn drive_on<T, B: Chained>(
        &self,
        slots: &Slots,
        mut bodies: Bodies<B>,
        step: impl Fn(&Slots, &Bodies<B>) -> Result<Step<T>, LedgerError>,
    ) -> Result<(T, Reads), LedgerError> {
        let mut reads = 0;
        loop {
            match step(slots, &bodies)? {
                Step::Done(result) => return Ok((result, reads)),
                Step::Read(rows) => {
                    assert!(!rows.is_empty());
                    for row in rows {
                        assert!(row.size <= 1 << 20, "asked for a slot that is too large");
                        reads += 1;
                        let bytes = self.body(&row).to_vec();
                        bodies.insert(row, &bytes);
                    }
                }
            }
        }
    }

    fn head(&self, distrusts: &[SnapshotId]) -> Result<(Head, Reads), LedgerError> {
        self.drive(Bodies::new(), |slots, bodies| {
            find_head(slots, bodies, distrusts)
        })
    }

    fn chain(&self, distrusts: &[SnapshotId]) -> Result<(Chain, Reads), LedgerError> {
        self.drive(Bodies::new(), |slots, bodies| {
            read_chain(slots, bodies, distrusts)
        })
    }

    /// The slots of the chain and its findings, after checking that the head is the chain's last.
    fn read(&self) -> (Vec<u64>, Vec<LedgerFinding>) {
        let (chain, _) = self.chain(&[]).unwrap();
        let (head, _) = self.head(&[]).unwrap();
        assert_eq!(head.link.as_ref(), chain.links.last());
        assert_eq!(head.next_free, chain.next_free);
        for link in &chain.links {
            let row = SlotRow {
                seq: link.seq,
                version: link.version.clone(),
                size: 0,
            };
            assert_eq!(SnapshotId(Digest::of(self.body(&row))), link.id);
        }
        for finding in &chain.findings {
            assert!(!finding.to_string().is_empty() && !finding.remedy().is_empty());
        }
        (
            chain.links.iter().map(|link| link.seq).collect(),
            chain.findings,
        )
    }
}

fn record(seq: u64, previous: Option<Previous>) -> Vec<u8> {
    let record = Record {
        previous,
        seq,
        ..samples::record()
    };
    record.encode().unwrap()
}

/// A record as somebody else than the tool writes it.
fn forged(seq: u64, previous: Previous) -> Vec<u8> {
    let record = Record {
        previous: Some(previous),
        seq,
        principal: "mallory".to_owned(),
        ..samples::record()
    };
    record.encode().unwrap()
}

fn broken(seq: u64, previous: Previous) -> LedgerFinding {
    LedgerFinding::Broken { seq, previous }
}

fn gap(empty: u64, lowest: u64, slots: u64) -> LedgerFinding {
    LedgerFinding::BeyondGap {
        empty,
        lowest,
        slots,
    }
}

/// What names a record in a slot that never was there.
fn nowhere(seq: u64) -> Previous {
    let sha256 = Digest::of(b"nowhere");
    Previous { seq, sha256 }
}

fn scars(findings: &[LedgerFinding]) -> Vec<(u64, &ScarReason)> {
    findings
        .iter()
        .filter_map(|finding| {
            let LedgerFinding::Scar { seq, reason } = finding else {
                return None;
            };
            Some((*seq, reason))
        })
        .collect()
}

#[test]
fn an_empty_ledger_has_no_head_and_slot_one_is_free() {
    let (head, reads) = Ledger::default().head(&[]).unwrap();
    assert_eq!((head.link, head.next_free, reads), (None, 1, 0));
    assert_eq!(Ledger::default().read(), (vec![], vec![]));
}

#[test]
fn head_of_an_honest_ledger_takes_two_reads_however_long_it_is() {
    for n in [2, 3, 50] {
        let (head, reads) = Ledger::honest(n).head(&[]).unwrap();
        assert_eq!(head.link.unwrap().seq, n);
        assert_eq!((head.next_free, head.findings, reads), (n + 1, vec![], 2));
    }
    let (head, reads) = Ledger::honest(1).head(&[]).unwrap();
    assert_eq!((head.link.unwrap().seq, reads), (1, 1));
}

#[test]
fn full_walk_reads_each_record_once() {
    let ledger = Ledger::honest(50);
    let (chain, reads) = ledger.chain(&[]).unwrap();
    assert_eq!((chain.links.len(), reads), (50, 50));
    assert_eq!(chain.findings, vec![]);
}

#[test]
fn remembered_bodies_serve_in_a_full_walk_below_the_head() {
    let ledger = Ledger::honest(50);
    let mut bodies = Bodies::new();
    for versions in ledger.0.values() {
        bodies.remember(&versions[0]);
    }
    bodies.remember(b"junk from a cache");
    let (chain, reads) = ledger
        .drive(bodies, |slots, bodies| read_chain(slots, bodies, &[]))
        .unwrap();
    assert_eq!((chain, reads), (ledger.chain(&[]).unwrap().0, 2));
}

#[test]
fn garbage_slot_is_a_scar_and_the_next_record_goes_past_it() {
    let mut ledger = Ledger::honest(2);
    ledger.put(3, b"garbage");
    let (slots, findings) = ledger.read();
    assert_eq!(slots, [1, 2]);
    assert!(matches!(
        scars(&findings)[..],
        [(3, ScarReason::NotARecord { .. })]
    ));
    ledger.append();
    ledger.append();
    let (slots, findings) = ledger.read();
    assert_eq!(slots, [1, 2, 4, 5]);
    assert_eq!(scars(&findings).len(), 1);
    assert!(!findings[0].is_damage());
    // The scar is far below the head now: two reads again.
    assert_eq!(ledger.head(&[]).unwrap().1, 2);
}

#[test]
fn garbage_in_the_first_slots_does_not_block_the_first_record() {
    let mut ledger = Ledger::default();
    ledger.put(1, b"garbage");
    ledger.put(2, &record(1, None));
    let first = ledger.append();
    assert_eq!(ledger.read().0, [3]);
    let (head, _) = ledger.head(&[]).unwrap();
    assert_eq!(head.link.unwrap().id, first);
    assert!(matches!(
        scars(&ledger.read().1)[..],
        [
            (1, ScarReason::NotARecord { .. }),
            (2, ScarReason::WrongSeq { found: 1 })
        ]
    ));
}

#[test]
fn slot_of_more_than_one_mebibyte_is_a_scar_that_is_never_read() {
    let mut ledger = Ledger::honest(2);
    let mut large = record(3, Some(ledger.link(2)));
    large.resize((1 << 20) + 1, b' ');
    ledger.put(3, &large);
    let (slots, findings) = ledger.read();
    assert_eq!(slots, [1, 2]);
    assert_eq!(scars(&findings), [(3, &ScarReason::TooLarge)]);
    // One byte less is a record like any other.
    large.pop();
    ledger.0.insert(3, vec![large]);
    assert_eq!(ledger.read().0, [1, 2, 3]);
}

#[test]
fn planted_versions_are_found_and_never_read() {
    let mut ledger = Ledger::honest(3);
    ledger.put(2, &record(2, Some(ledger.link(1))));
    ledger.put(3, b"{}");
    ledger.put(3, b"{}");
    let (slots, findings) = ledger.read();
    assert_eq!(slots, [1, 2, 3]);
    let planted = |seq, versions| LedgerFinding::Planted { seq, versions };
    assert_eq!(findings, [planted(2, 1), planted(3, 2)]);
    assert_eq!(ledger.chain(&[]).unwrap().1, 3);
}

#[test]
fn record_that_builds_on_a_planted_version_is_a_scar() {
    let mut ledger = Ledger::honest(3);
    ledger.put(3, &forged(3, ledger.link(2)));
    ledger.put(4, &record(4, Some(ledger.link_to(3, 1))));
    let (slots, findings) = ledger.read();
    assert_eq!(slots, [1, 2, 3]);
    assert_eq!(
        scars(&findings),
        [(4, &ScarReason::LeavesOut { leaves_out: 3 })]
    );
    // Another forged record on top makes the lie longer, not the truth shorter.
    ledger.put(5, &record(5, Some(ledger.link(4))));
    let (slots, findings) = ledger.read();
    assert_eq!(slots, [1, 2, 3, 4, 5]);
    let (seq, leaves_out) = (4, 3);
    assert!(findings.contains(&LedgerFinding::Fork { seq, leaves_out }));
    let (chain, _) = ledger.chain(&[]).unwrap();
    assert_eq!(chain.links[2].id.0, ledger.link(3).sha256);
}

#[test]
fn fork_that_skips_valid_records_is_a_scar() {
    let mut ledger = Ledger::honest(5);
    ledger.put(6, &record(6, Some(ledger.link(2))));
    ledger.put(7, &record(7, None));
    let (slots, findings) = ledger.read();
    assert_eq!(slots, [1, 2, 3, 4, 5]);
    let leaves_out = ScarReason::LeavesOut { leaves_out: 5 };
    assert_eq!(scars(&findings), [(6, &leaves_out), (7, &leaves_out)]);
    assert!(ledger.head(&[]).unwrap().1 <= 7);
    ledger.append();
    assert_eq!(ledger.read().0, [1, 2, 3, 4, 5, 8]);
}

#[test]
fn fork_with_a_record_built_on_it_hides_nothing_and_is_damage() {
    let mut ledger = Ledger::honest(5);
    ledger.put(6, &record(6, Some(ledger.link(2))));
    ledger.put(7, &record(7, Some(ledger.link(6))));
    // The honest run cannot tell in two reads, and builds on it.
    ledger.append();
    let (slots, findings) = ledger.read();
    assert_eq!(slots, [1, 2, 3, 4, 5, 6, 7, 8]);
    let (seq, leaves_out) = (6, 5);
    assert_eq!(findings, [LedgerFinding::Fork { seq, leaves_out }]);
    assert!(findings[0].is_damage());
}

#[test]
fn forged_records_on_a_predecessor_that_never_was_hide_nothing() {
    let mut ledger = Ledger::honest(3);
    ledger.put(4, &record(4, Some(nowhere(3))));
    assert_eq!(ledger.read().0, [1, 2, 3]);
    ledger.put(5, &record(5, Some(ledger.link(4))));
    ledger.append();
    let (slots, findings) = ledger.read();
    assert_eq!(slots, [1, 2, 3, 4, 5, 6]);
    assert_eq!(findings, [broken(4, nowhere(3))]);
}

#[test]
fn record_that_builds_on_a_scar_is_a_scar() {
    let mut ledger = Ledger::honest(2);
    ledger.put(3, b"garbage");
    let on_garbage = ledger.link(3);
    ledger.put(4, &record(4, Some(on_garbage)));
    ledger.put(5, &record(5, Some(on_garbage)));
    let (slots, findings) = ledger.read();
    assert_eq!(slots, [1, 2]);
    let missing = ScarReason::PreviousMissing { previous: 3 };
    assert_eq!(scars(&findings)[1..], [(4, &missing), (5, &missing)]);
    // A record, but one that does not stand.
    ledger.put(6, &record(6, None));
    ledger.put(7, b"garbage");
    ledger.put(8, &record(8, Some(ledger.link(6))));
    let (slots, findings) = ledger.read();
    assert_eq!(slots, [1, 2]);
    assert!(scars(&findings).contains(&(8, &ScarReason::BuildsOnScar { previous: 6 })));
}

#[test]
fn scars_and_plants_among_events_hide_none() {
    let mut ledger = Ledger::default();
    let event = |seq, previous| samples::event(seq, previous).encode().unwrap();
    ledger.put(1, &event(1, None));
    ledger.put(2, b"{}");
    ledger.put(3, &event(3, Some(nowhere(2))));
    ledger.put(4, &event(4, Some(ledger.link(1))));
    ledger.put(4, &event(4, None));
    let bodies = Bodies::<Event>::new();
    let read = ledger.drive(bodies, |slots, bodies| read_chain(slots, bodies, &[]));
    let (chain, _) = read.unwrap();
    let seqs: Vec<u64> = chain.links.iter().map(|link| link.seq).collect();
    assert_eq!((seqs, chain.next_free), (vec![1, 4], 5));
    assert_eq!(scars(&chain.findings).len(), 2, "{:?}", chain.findings);
    let (seq, versions) = (4, 1);
    let planted = LedgerFinding::Planted { seq, versions };
    assert!(chain.findings.contains(&planted), "{:?}", chain.findings);
}

#[test]
fn missing_tail_cannot_be_seen_but_a_hole_can() {
    let mut ledger = Ledger::honest(5);
    ledger.0.remove(&5);
    assert_eq!(ledger.read(), (vec![1, 2, 3, 4], vec![]));
    ledger.0.remove(&2);
    let (slots, findings) = ledger.read();
    assert_eq!(slots, [1]);
    assert_eq!(findings, [gap(2, 3, 2)]);
    assert!(findings[0].is_damage());
}

#[test]
fn records_above_a_hole_come_back_into_sight_when_the_hole_is_filled() {
    let mut ledger = Ledger::honest(5);
    let lost = ledger.link(2);
    ledger.0.remove(&2);
    // An honest run publishes in the hole.
    let mut next = samples::record();
    (next.seq, next.previous) = (2, Some(ledger.link(1)));
    next.version = crate::ids::Version(9);
    ledger.put(2, &next.encode().unwrap());
    let (slots, findings) = ledger.read();
    assert_eq!(slots, [1, 2, 3, 4, 5]);
    assert_eq!(findings, [broken(3, lost)]);
}

#[test]
fn slot_with_only_a_delete_marker_is_empty() {
    // The listing drops delete markers, so a slot whose versions are all gone has no rows.
    let mut ledger = Ledger::honest(2);
    ledger.0.insert(2, vec![]);
    assert_eq!(ledger.read(), (vec![1], vec![]));
    assert_eq!(ledger.slots().next_free(), 2);
}

#[test]
fn far_future_slots_are_one_finding_and_do_not_move_the_next_slot() {
    let mut ledger = Ledger::honest(2);
    for seq in [4, 9, u64::MAX] {
        ledger.put(seq, &record(seq, None));
    }
    let (slots, findings) = ledger.read();
    assert_eq!(slots, [1, 2]);
    assert_eq!(findings, [gap(3, 4, 3)]);
    ledger.append();
    ledger.append();
    // Slot 4 was waiting there; it became a scar.
    assert_eq!(ledger.read().0, [1, 2, 3, 5]);
}

#[test]
fn version_that_the_chain_names_serves_when_the_oldest_is_no_record() {
    // A replica that took the versions over in another order.
    let mut ledger = Ledger::honest(4);
    ledger.0.get_mut(&2).unwrap().insert(0, b"garbage".to_vec());
    ledger.0.get_mut(&3).unwrap().insert(0, b"garbage".to_vec());
    let (slots, findings) = ledger.read();
    assert_eq!(slots, [1, 2, 3, 4]);
    let expected = [2, 3].map(|seq| {
        let planted = LedgerFinding::Planted { seq, versions: 1 };
        [planted, LedgerFinding::OtherVersion { seq }]
    });
    assert_eq!(findings, expected.concat());
    // The head's own slot has no successor that could name it.
    ledger.0.get_mut(&4).unwrap().insert(0, b"garbage".to_vec());
    let (slots, findings) = ledger.read();
    assert_eq!(slots, [1]);
    assert_eq!(scars(&findings).len(), 3);
}

#[test]
fn oldest_version_deleted_under_a_forged_one_breaks_the_chain_and_hides_nothing() {
    let mut ledger = Ledger::honest(4);
    let truth = ledger.link(2);
    ledger.0.insert(2, vec![forged(2, ledger.link(1))]);
    let (slots, findings) = ledger.read();
    assert_eq!(slots, [1, 2, 3, 4]);
    assert_eq!(findings, [broken(3, truth)]);
}

#[test]
fn replica_with_other_version_ids_reads_the_same() {
    let ledger = Ledger::honest(3);
    let rows = (1..=3).map(|seq| SlotRow {
        seq,
        version: None,
        size: ledger.0[&seq][0].len() as u64,
    });
    let seals = (1..=3).map(|seq| (seq, ledger.link(seq).sha256));
    let slots = Slots::from_listing(rows.clone()).with_seals(seals);
    let mut bodies = Bodies::new();
    for row in rows {
        let bytes = ledger.0[&row.seq][0].clone();
        bodies.insert(row, &bytes);
    }
    let Step::Done(chain) = read_chain(&slots, &bodies, &[]).unwrap() else {
        panic!("everything was read");
    };
    let ids = |chain: &Chain| chain.links.iter().map(|link| link.id).collect::<Vec<_>>();
    assert_eq!(ids(&chain), ids(&ledger.chain(&[]).unwrap().0));
    assert_eq!(chain.findings, []);
}

#[test]
fn object_gone_since_it_was_listed_is_a_scar() {
    let ledger = Ledger::honest(2);
    let slots = ledger.slots();
    let mut bodies = Bodies::<Record>::new();
    bodies.insert_gone(slots.oldest(2).unwrap().clone());
    let row = slots.oldest(1).unwrap().clone();
    bodies.insert(row, &ledger.0[&1][0]);
    let Step::Done(head) = find_head(&slots, &bodies, &[]).unwrap() else {
        panic!("everything was read");
    };
    assert_eq!(head.link.unwrap().seq, 1);
    assert_eq!(scars(&head.findings), [(2, &ScarReason::Gone)]);
}

#[test]
fn thousands_of_scars_are_walked_in_linear_time() {
    let mut ledger = Ledger::honest(2);
    let unlinked = record(2, None);
    for seq in 3..10_000 {
        ledger.put(seq, &unlinked);
    }
    let (slots, findings) = ledger.read();
    assert_eq!((slots, findings.len()), (vec![1, 2], 9_997));
}

/// What somebody does to a ledger.
#[derive(Debug, Clone)]
enum LedgerOp {
    Append,
    Garbage,
    /// A record in the next slot that names slot `n` modulo what is there, its version of the same number.
    Forge(u64),
    /// A version on top of such a slot.
    Plant(u64),
}

fn ops() -> impl Strategy<Value = LedgerOp> {
    prop_oneof![
        3 => Just(LedgerOp::Append),
        1 => Just(LedgerOp::Garbage),
        2 => any::<u64>().prop_map(LedgerOp::Forge),
        1 => any::<u64>().prop_map(LedgerOp::Plant),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whoever may create objects, and nothing else, never takes an honest record out of sight.
    #[test]
    fn what_is_put_later_never_hides_an_honest_record(ops in proptest::collection::vec(ops(), 1..20)) {
        let mut ledger = Ledger::default();
        let mut honest = Vec::new();
        for op in ops {
            let next = ledger.slots().next_free();
            match op {
                LedgerOp::Append => honest.push(ledger.append()),
                LedgerOp::Garbage => {
                    ledger.put(next, b"garbage");
                }
                LedgerOp::Forge(n) => {
                    let at = n % next;
                    let previous = (at > 0).then(|| {
                        let versions = ledger.0[&at].len() as u64;
                        ledger.link_to(at, usize::try_from(n % versions).unwrap())
                    });
                    ledger.put(next, &record(next, previous));
                }
                LedgerOp::Plant(n) => {
                    let at = n % next;
                    if at > 0 {
                        let mut planted = samples::record();
                        planted.principal = "mallory".to_owned();
                        planted.seq = at;
                        planted.previous = (at > 1).then(|| ledger.link(at - 1));
                        ledger.put(at, &planted.encode().unwrap());
                    }
                }
            }
            let (chain, _) = ledger.chain(&[]).unwrap();
            let ids: Vec<_> = chain.links.iter().map(|link| link.id).collect();
            prop_assert!(honest.iter().all(|id| ids.contains(id)), "{chain:?}");
            prop_assert!(chain.links.windows(2).all(|pair| pair[0].seq < pair[1].seq));
            let (head, _) = ledger.head(&[]).unwrap();
            prop_assert_eq!(head.link.as_ref(), chain.links.last());
        }
    }

    #[test]
    fn random_bytes_are_scars(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let mut ledger = Ledger::honest(1);
        ledger.put(2, &bytes);
        prop_assert_eq!(ledger.read().0, [1]);
    }
}
