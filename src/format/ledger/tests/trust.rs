//! Records that need a newer tool, records that are distrusted, and what people type for a snapshot id.

use super::super::super::samples;
use super::super::*;
use super::{Ledger, broken, nowhere, record};
use crate::ids::Digest;

/// A record as a newer tool would write it.
fn newer_record(seq: u64, previous: Previous) -> Vec<u8> {
    let Previous {
        seq: before,
        sha256,
    } = previous;
    format!(
        r#"{{"format":1,"new":{{}},"previous":{{"seq":{before},"sha256":"{sha256}"}},"requires":["braids"],"seq":{seq},"tool":"deltavault 9.1.0"}}"#
    )
    .into_bytes()
}

#[test]
fn newer_record_that_links_is_refused_until_it_is_distrusted() {
    let mut ledger = Ledger::honest(2);
    let id = ledger.put(3, &newer_record(3, ledger.link(2)));
    let error = ledger.head(&[]).unwrap_err();
    assert!(error.to_string().contains("deltavault 9.1.0"), "{error}");
    assert!(error.hint().contains(&id.to_string()), "{}", error.hint());
    assert_eq!(ledger.chain(&[]).unwrap_err(), error);

    let (head, _) = ledger.head(&[id]).unwrap();
    let link = head.link.unwrap();
    assert_eq!((link.id, link.record(), head.findings), (id, None, vec![]));
    assert_eq!(ledger.chain(&[id]).unwrap().0.links.len(), 3);

    // The record that distrusts it takes its place in the chain; from then on nobody needs to say it again.
    let mut next = samples::record();
    (next.seq, next.previous, next.distrusts) = (4, Some(link.as_previous()), vec![id]);
    ledger.put(4, &next.encode().unwrap());
    ledger.append();
    assert_eq!(ledger.read().0, [1, 2, 3, 4, 5]);
}

#[test]
fn record_of_a_newer_format_that_links_is_refused() {
    let mut ledger = Ledger::honest(1);
    let Previous { seq, sha256 } = ledger.link(1);
    let text = format!(
        r#"{{"format":2,"previous":{{"seq":{seq},"sha256":"{sha256}"}},"requires":[],"seq":2,"tool":2}}"#
    );
    ledger.put(2, text.as_bytes());
    let LedgerError::NewerRecord {
        seq, tool, source, ..
    } = ledger.head(&[]).unwrap_err()
    else {
        panic!();
    };
    assert_eq!((seq, tool.as_str()), (2, "an unknown tool"));
    assert!(matches!(source, FormatError::NewerFormat { found: 2, .. }));
}

#[test]
fn newer_record_that_does_not_link_is_a_scar() {
    let mut ledger = Ledger::honest(3);
    ledger.put(4, &newer_record(4, ledger.link(2)));
    ledger.put(5, &newer_record(4, ledger.link(3)));
    assert_eq!(ledger.read().0, [1, 2, 3]);
    ledger.append();
    assert_eq!(ledger.read().0, [1, 2, 3, 6]);
}

#[test]
fn what_is_distrusted_ends_where_it_is_said_and_forgers_cannot_say_it() {
    let mut ledger = Ledger::honest(3);
    let mut distrust = |seq: u64, of: u64| {
        let mut next = samples::record();
        (next.seq, next.previous) = (seq, Some(ledger.link(seq - 1)));
        next.distrusts = vec![SnapshotId(ledger.link(of).sha256)];
        ledger.put(seq, &next.encode().unwrap())
    };
    // 4 is forged and takes back 2; 5 is honest and takes back 4.
    distrust(4, 2);
    distrust(5, 4);
    let (chain, _) = ledger.chain(&[]).unwrap();
    let seqs = |links: &[Link], distrusts: &[SnapshotId]| {
        let links = trusted(links, distrusts);
        links.iter().map(|link| link.seq).collect::<Vec<_>>()
    };
    assert_eq!(seqs(&chain.links[..3], &[]), [1, 2, 3]);
    assert_eq!(seqs(&chain.links[..4], &[]), [1, 4]);
    assert_eq!(seqs(&chain.links, &[]), [1, 2, 3, 5]);
    // The run at hand takes back 3: nothing from there on, so 5 says nothing any more.
    assert_eq!(seqs(&chain.links, &[chain.links[2].id]), [1, 2]);
    assert_eq!(
        seqs(&chain.links, &[SnapshotId(Digest::of(b"?"))]),
        [1, 2, 3, 5]
    );
}

#[test]
fn what_is_wrong_with_a_distrusted_record_is_no_damage_and_hides_nothing() {
    let mut ledger = Ledger::honest(3);
    ledger.put(4, &record(4, Some(nowhere(3))));
    ledger.put(5, &record(5, Some(ledger.link(4))));
    ledger.append();
    let mut next = samples::record();
    (next.seq, next.previous) = (7, Some(ledger.link(6)));
    next.distrusts = vec![SnapshotId(ledger.link(4).sha256)];
    ledger.put(7, &next.encode().unwrap());
    let (slots, findings) = ledger.read();
    assert_eq!(slots, [1, 2, 3, 4, 5, 6, 7]);
    let broken = Box::new(broken(4, nowhere(3)));
    assert_eq!(findings, [LedgerFinding::TakenBack(broken)]);
    assert!(!findings[0].is_damage());
    assert!(!findings[0].may_hide_a_record() && !findings[0].may_be_put_back());
}

#[test]
fn prefixes_name_one_snapshot_or_say_why_not() {
    let id = |text: &str| SnapshotId(format!("{text:0<64}").parse().unwrap());
    let ids = [id("4f1c00aa11"), id("4f1c00aa22"), id("beef")];
    let resolve = |prefix: &str| resolve_prefix(ids, prefix);
    assert_eq!(resolve("beef0000"), Ok(ids[2]));
    assert_eq!(resolve("4F1C00AA1"), Ok(ids[0]));
    assert_eq!(resolve(&ids[1].to_string()), Ok(ids[1]));
    assert!(matches!(resolve("bee"), Err(PrefixError::TooShort { .. })));
    assert!(matches!(
        resolve("beef000x"),
        Err(PrefixError::NotHex { .. })
    ));
    assert!(matches!(
        resolve(&"0".repeat(65)),
        Err(PrefixError::NotHex { .. })
    ));
    assert!(
        matches!(resolve("4f1c00aa"), Err(PrefixError::Ambiguous { candidates, .. }) if candidates == ids[..2])
    );
    assert!(matches!(resolve("00000000"), Err(PrefixError::Unknown { known, .. }) if known == ids));
}
