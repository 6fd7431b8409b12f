//! Seals: what vouches for the newest record.

use super::*;

impl Ledger {
    fn read_with(&self, seals: &[(u64, SnapshotId)]) -> (Vec<u64>, Vec<LedgerFinding>) {
        let seals = seals.iter().map(|(seq, id)| (*seq, id.0));
        let slots = self.unsealed().with_seals(seals);
        let (chain, _) = self
            .drive_on(&slots, Bodies::<Record>::new(), |slots, bodies| {
                read_chain(slots, bodies, &[])
            })
            .unwrap();
        let (head, _) = self
            .drive_on(&slots, Bodies::<Record>::new(), |slots, bodies| {
                find_head(slots, bodies, &[])
            })
            .unwrap();
        assert_eq!(head.link.as_ref(), chain.links.last());
        (
            chain.links.iter().map(|link| link.seq).collect(),
            chain.findings,
        )
    }

    fn seal(&self, seq: u64) -> (u64, SnapshotId) {
        (seq, SnapshotId(self.link(seq).sha256))
    }
}

fn lost_record(seq: u64, id: SnapshotId) -> LedgerFinding {
    let ids = vec![id];
    LedgerFinding::Lost { seq, ids }
}

#[test]
fn newest_record_with_other_bytes_than_its_seal_is_damage_and_not_read() {
    let honest = Ledger::honest(3);
    let seals: Vec<_> = (1..=3).map(|seq| honest.seal(seq)).collect();
    assert_eq!(honest.read_with(&seals), (vec![1, 2, 3], vec![]));
    let mut shortened = Record::decode(&honest.0[&3][0]).unwrap();
    shortened.promise = shortened.taken_at;
    let cut = honest.0[&3][0][..100].to_vec();
    let longer = [honest.0[&3][0].as_slice(), b"\n"].concat();
    let huge = vec![b' '; 2 << 20];
    for bytes in [shortened.encode().unwrap(), cut, longer, huge] {
        let mut ledger = honest.clone();
        ledger.0.insert(3, vec![bytes]);
        let (slots, findings) = ledger.read_with(&seals);
        assert_eq!(slots, [1, 2]);
        let sealed = vec![seals[2].1];
        let reason = ScarReason::NotAsSealed { sealed };
        assert_eq!(findings[0], LedgerFinding::Scar { seq: 3, reason });
        assert!(findings[0].is_damage() && findings[0].may_hide_a_record());
        assert_eq!(findings.len(), 1, "{findings:?}");
    }
}

#[test]
fn record_that_cannot_be_read_is_damage_where_its_slot_was_sealed() {
    let honest = Ledger::honest(3);
    let seals: Vec<_> = (1..=3).map(|seq| honest.seal(seq)).collect();
    for (seals, sealed) in [(&seals[..], vec![seals[2].1]), (&seals[..2], vec![])] {
        let sealed_slots = seals.iter().map(|(seq, id)| (*seq, id.0));
        let slots = honest.unsealed().with_seals(sealed_slots);
        let mut bodies = Bodies::<Record>::new();
        let detail = "a pipe".to_owned();
        bodies.insert_unreadable(slots.oldest(3).unwrap().clone(), detail.clone());
        let read = |slots: &Slots, bodies: &Bodies| read_chain(slots, bodies, &[]);
        let (chain, _) = honest.drive_on(&slots, bodies, read).unwrap();
        assert_eq!(chain.links.len(), 2);
        let is_sealed = !sealed.is_empty();
        let reason = ScarReason::Unreadable { detail, sealed };
        assert_eq!(chain.findings, [LedgerFinding::Scar { seq: 3, reason }]);
        assert_eq!(chain.findings[0].is_damage(), is_sealed);
        assert!(chain.findings[0].may_hide_a_record());
    }
}

#[test]
fn whoever_may_create_objects_cannot_unseat_a_record_with_seals_of_their_own() {
    let ledger = Ledger::honest(2);
    let forged = SnapshotId(Digest::of(b"forged"));
    let seals = [ledger.seal(1), (2, forged), ledger.seal(2)];
    let (slots, findings) = ledger.read_with(&seals);
    assert_eq!(slots, [1, 2]);
    assert_eq!(findings, [lost_record(2, forged)]);
}

#[test]
fn seal_of_a_record_that_is_not_there_is_reported_until_it_is_distrusted() {
    let mut ledger = Ledger::honest(2);
    let lost = [b"lost", b"more"].map(|bytes| SnapshotId(Digest::of(bytes)));
    let mut seals = vec![ledger.seal(1), ledger.seal(2), (3, lost[0])];
    let (slots, findings) = ledger.read_with(&seals);
    assert_eq!(slots, [1, 2]);
    assert_eq!(findings, [lost_record(3, lost[0])]);
    assert!(findings[0].is_damage() && findings[0].may_hide_a_record());

    seals.push((4, lost[1]));
    let (_, findings) = ledger.read_with(&seals);
    let both = [lost_record(3, lost[0]), lost_record(4, lost[1])];
    assert_eq!(findings, both);

    // The next night takes slot 3, and the one after it slot 4, where it gives up what was lost.
    ledger.append();
    seals.push(ledger.seal(3));
    let (slots, findings) = ledger.read_with(&seals);
    assert_eq!(slots, [1, 2, 3]);
    let open = [lost_record(3, lost[0]), lost_record(4, lost[1])];
    assert_eq!(findings, open);
    let mut next = samples::record();
    (next.seq, next.previous) = (4, Some(ledger.link(3)));
    next.distrusts = lost.to_vec();
    ledger.put(4, &next.encode().unwrap());
    seals.push(ledger.seal(4));
    let (_, findings) = ledger.read_with(&seals);
    let given_up = open.map(|it| LedgerFinding::TakenBack(Box::new(it)));
    assert_eq!(findings, given_up);
}

#[test]
fn what_is_lost_of_several_slots_is_given_up_by_one_record() {
    let mut ledger = Ledger::honest(2);
    let lost = [b"lost", b"more"].map(|bytes| SnapshotId(Digest::of(bytes)));
    let mut next = samples::record();
    (next.seq, next.previous) = (3, Some(ledger.link(2)));
    next.distrusts = lost.to_vec();
    ledger.put(3, &next.encode().unwrap());
    let mut seals: Vec<_> = (1..=3).map(|seq| ledger.seal(seq)).collect();
    seals.extend([(3, lost[0]), (4, lost[1])]);
    let (_, findings) = ledger.read_with(&seals);
    assert_eq!(findings.len(), 2);
    for finding in findings {
        assert!(
            matches!(finding, LedgerFinding::TakenBack(_)),
            "{finding:?}"
        );
    }
}

#[test]
fn seal_far_above_proves_no_loss() {
    let ledger = Ledger::honest(2);
    let forged = SnapshotId(Digest::of(b"forged"));
    for (far, more) in [(4, 0), (u64::MAX - 1, 1)] {
        let seals = [ledger.seal(2), (far, forged), (u64::MAX, forged)];
        let seals = &seals[..2 + usize::try_from(more).unwrap()];
        let (slots, findings) = ledger.read_with(seals);
        assert_eq!(slots, [1, 2]);
        assert_eq!(findings, [LedgerFinding::StraySeals { seq: far, more }]);
        assert!(!findings[0].is_damage() && !findings[0].may_hide_a_record());
    }
}

#[test]
fn records_without_seals_are_read_as_they_were() {
    assert_eq!(Ledger::honest(3).read_with(&[]), (vec![1, 2, 3], vec![]));
}
