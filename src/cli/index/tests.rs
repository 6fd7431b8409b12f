use std::sync::Arc;

use deltavault::format::Record;
use deltavault::format::ledger::{Chain, SlotRow, Slots, Step, read_chain};
use deltavault::format::record::Previous;
use deltavault::ids::SnapshotId;
use deltavault::plan::choose::Snapshot;

use super::*;

/// A record of the format's golden vault.
const RECORD: &[u8] = include_bytes!(
    "../../../tests/data/v1/vault/tables/sales-orders-37def596bc86afd2280da522389b7bb0/ledger/00000000000000000001.json"
);

fn open(path: &Path) -> Result<Opened, IndexError> {
    Index::open(path, Id128::from_bytes([1; 16]))
}

fn history(table: &str, count: u64) -> History {
    let table: TableKey = format!("{table}-1f8fb2bf7bda65c73ba5c9b6e2fca0b5")
        .parse()
        .unwrap();
    let snapshots = (1..=count).map(|seq| {
        let mut record = Record::decode(RECORD).unwrap();
        record.seq = seq;
        Snapshot {
            table: table.clone(),
            id: SnapshotId(Digest::of(&record.encode().unwrap())),
            seq,
            record_version: None,
            record: Arc::new(record),
            is_distrusted: false,
            is_pruned: false,
        }
    });
    History {
        snapshots: snapshots.collect(),
        table,
        newer: Vec::new(),
        findings: Vec::new(),
    }
}

fn held(index: &Index) -> Vec<(String, i64)> {
    let mut statement = index
        .connection
        .prepare(&format!("SELECT {RECORD_COLUMNS} FROM record"))
        .unwrap();
    let rows = statement
        .query_map([], |row| IndexedRecord::try_from(row))
        .unwrap();
    rows.map(|row| {
        row.map(|row| (row.table_key[..1].to_owned(), row.seq))
            .unwrap()
    })
    .collect()
}

#[test]
fn records_are_kept_by_table_and_follow_the_ledger() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("made/on the way/index.db");
    let mut index = open(&path).unwrap().index;
    index.put_records(&history("a", 2)).unwrap();
    index.put_records(&history("b", 1)).unwrap();
    index.put_records(&history("a", 3)).unwrap();
    let all = [("a", 1), ("a", 2), ("a", 3), ("b", 1)];
    assert_eq!(
        held(&index),
        all.map(|(table, seq)| (table.to_owned(), seq))
    );
    // What the ledger does not have goes.
    let mut shorter = history("a", 1);
    shorter.snapshots[0].id = SnapshotId(Digest::of(b"not what the record is"));
    index.put_records(&shorter).unwrap();
    // What lies above its newest record stays, and is named: the vault had it.
    let above = [("a", 2), ("a", 3), ("b", 1)];
    assert_eq!(
        held(&index),
        above.map(|(table, seq)| (table.to_owned(), seq))
    );
    let lost = index.put_records(&history("a", 2)).unwrap();
    let id = history("a", 3).snapshots[2].id.to_string();
    assert_eq!(lost, [(3, id)]);
    drop(index);
    let mut index = open(&path).unwrap().index;
    assert_eq!(held(&index).len(), 4);
    index.rebuild(&[history("c", 2)]).unwrap();
    assert_eq!(held(&index).len(), 2);
}

#[test]
fn a_file_that_is_not_an_index_is_moved_aside_and_rebuilt() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("index.db");
    let foreign = || {
        let other = Connection::open(&path).unwrap();
        other.execute_batch("CREATE TABLE theirs (x)").unwrap();
    };
    let garbage = || fs::write(&path, "no database at all".repeat(100)).unwrap();
    let is_folder = || fs::create_dir(&path).unwrap();
    let other_shape = || {
        open(&path).unwrap();
        let ours = Connection::open(&path).unwrap();
        ours.execute_batch("DROP TABLE record; CREATE TABLE record (x)")
            .unwrap();
    };
    let makers: [&dyn Fn(); 4] = [&foreign, &garbage, &is_folder, &other_shape];
    for make in makers {
        make();
        let Opened {
            mut index,
            moved_aside,
        } = open(&path).unwrap();
        assert!(moved_aside.unwrap().exists());
        index.put_records(&history("a", 2)).unwrap();
        assert_eq!(held(&index).len(), 2);
        drop(index);
        fs::remove_file(&path).unwrap();
    }
}

#[test]
fn file_that_rots_or_goes_while_it_is_open_harms_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("index.db");
    let mut index = open(&path).unwrap().index;
    index.put_records(&history("a", 400)).unwrap();
    drop(index);
    // Everything after the header.
    let mut bytes = fs::read(&path).unwrap();
    bytes[4096..].fill(0xff);
    fs::write(&path, &bytes).unwrap();
    let index = match open(&path) {
        Ok(Opened {
            index,
            moved_aside: None,
        }) => index,
        other => panic!("{other:?}"),
    };
    let error = index.records(&history("a", 0).table).unwrap_err();
    let Opened {
        mut index,
        moved_aside,
    } = index.renew(error).unwrap();
    assert!(moved_aside.is_some());
    index.put_records(&history("a", 2)).unwrap();
    fs::remove_file(&path).unwrap();
    index.put_records(&history("a", 3)).ok();
    let again = open(&path).unwrap().index;
    assert!(held(&again).len() <= 3);
}

#[test]
fn index_of_a_newer_tool_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("index.db");
    let index = open(&path).unwrap().index;
    index
        .connection
        .pragma_update(None, "user_version", 99)
        .unwrap();
    drop(index);
    let refused = open(&path).unwrap_err();
    assert!(matches!(refused, IndexError::Newer { .. }));
    assert!(path.exists());
}

#[test]
fn processes_that_open_and_write_at_once_wait_for_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("index.db");
    std::thread::scope(|scope| {
        for name in ["a", "b", "c", "d"] {
            let path = &path;
            scope.spawn(move || {
                for count in 1..20 {
                    let mut index = open(path).unwrap().index;
                    index.put_records(&history(name, count)).unwrap();
                }
            });
        }
    });
    let index = open(&path).unwrap().index;
    assert_eq!(held(&index).len(), 4 * 19);
}

#[test]
fn folder_that_cannot_be_written_is_an_error_that_names_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a file");
    fs::write(&file, "").unwrap();
    let refused = open(&file.join("index.db")).unwrap_err();
    assert!(refused.to_string().contains("a file/index.db"), "{refused}");
}

/// The bodies of a ledger's slots, oldest first; each names the one before it.
fn ledger(count: u64, change: impl Fn(&mut Record)) -> Vec<Vec<u8>> {
    let mut previous = None;
    let records = (1..=count).map(|seq| {
        let mut record = Record::decode(RECORD).unwrap();
        change(&mut record);
        (record.seq, record.previous) = (seq, previous);
        let body = record.encode().unwrap();
        let sha256 = Digest::of(&body);
        previous = Some(Previous { seq, sha256 });
        body
    });
    records.collect()
}

/// Reads a ledger, of which a cache has `bodies`; with how many of its records were asked for.
fn read(ledger: &[Vec<u8>], mut bodies: Bodies) -> (Chain, usize) {
    let slots = Slots::from_listing((1..).zip(ledger).map(|(seq, body)| SlotRow {
        seq,
        version: None,
        size: body.len() as u64,
    }));
    let mut reads = 0;
    loop {
        match read_chain(&slots, &bodies, &[]).unwrap() {
            Step::Done(chain) => return (chain, reads),
            Step::Read(rows) => {
                reads += rows.len();
                for row in rows {
                    let at = usize::try_from(row.seq - 1).unwrap();
                    bodies.insert(row, &ledger[at]);
                }
            }
        }
    }
}

#[test]
fn index_saves_requests_and_decides_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("index.db");
    let mut index = open(&path).unwrap().index;
    let table = history("a", 0).table;
    let mut honest = ledger(40, |_| {});
    let (cold, reads) = read(&honest, Bodies::new());
    assert_eq!(reads, 40);
    let snapshots = cold.links.iter().map(|link| Snapshot {
        table: table.clone(),
        id: link.id,
        seq: link.seq,
        record_version: None,
        record: Arc::new(link.record().unwrap().clone()),
        is_distrusted: false,
        is_pruned: false,
    });
    let known = History {
        snapshots: snapshots.collect(),
        ..history("a", 0)
    };
    index.put_records(&known).unwrap();
    let (warm, reads) = read(&honest, index.records(&table).unwrap());
    assert_eq!(warm, cold);
    assert!(reads <= 4, "{reads}");

    // Poison: every record is another, under the digest of the right one.
    let poison = Connection::open(&path).unwrap();
    let forge = |record: &mut Record| record.manifest.key = "blobs/forged".parse().unwrap();
    let forged = ledger(50, forge);
    poison
        .execute("UPDATE record SET body = ?1", [&forged[5]])
        .unwrap();
    assert_eq!(read(&honest, index.records(&table).unwrap()).0, cold);
    // A forged chain that the vault does not know.
    for (seq, body) in (1_i64..).zip(&forged) {
        let row = params![
            Id128::from_bytes([1; 16]).to_string(),
            table.to_string(),
            seq,
            Digest::of(body).to_string(),
            body
        ];
        poison
            .execute("INSERT INTO record VALUES (?1, ?2, ?3, ?4, ?5)", row)
            .unwrap();
    }
    assert_eq!(read(&honest, index.records(&table).unwrap()).0, cold);
    // Nor does it stand in for what the vault has lost.
    honest[19][9] ^= 1;
    let (damaged, _) = read(&honest, Bodies::new());
    assert_ne!(damaged, cold);
    let (with_index, _) = read(&honest, index.records(&table).unwrap());
    assert_eq!(with_index, damaged);
}
