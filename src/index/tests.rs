use std::sync::Arc;

use super::*;
use crate::format::samples;
use crate::ids::SnapshotId;
use crate::plan::choose::Snapshot;

fn open(path: &Path) -> Result<Opened, IndexError> {
    Index::open(path, Id128::from_bytes([1; 16]))
}

fn history(table: &str, count: u64) -> History {
    let table: TableKey = format!("{table}-1f8fb2bf7bda65c73ba5c9b6e2fca0b5")
        .parse()
        .unwrap();
    let snapshots = (1..=count).map(|seq| {
        let mut record = samples::record();
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
    assert_eq!(held(&index), [("b".to_owned(), 1)]);
    drop(index);
    let mut index = open(&path).unwrap().index;
    assert_eq!(held(&index).len(), 1);
    index.rebuild(&[history("c", 2)]).unwrap();
    assert_eq!(held(&index).len(), 2);
}

#[test]
fn what_is_no_index_is_moved_aside_and_made_anew() {
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
