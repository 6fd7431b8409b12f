//! A ledger of which a record cannot be read: nothing that may be in it is said not to be held.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::cli::{deltavault, small_lake};

/// The only record of a table.
fn record(folder: &Path, slug: &str) -> PathBuf {
    let mut tables = fs::read_dir(folder.join("vault/tables")).unwrap();
    let table = tables.find_map(|entry| {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        name.contains(slug).then(|| entry.path())
    });
    table.unwrap().join("ledger/00000000000000000001.json")
}

fn overwrite(path: &Path, bytes: impl AsRef<[u8]>) {
    fs::remove_file(path).unwrap();
    fs::write(path, bytes).unwrap();
}

/// A way to damage the bytes of a record.
type Damage = fn(&[u8]) -> Vec<u8>;

const DAMAGES: [Damage; 3] = [
    |bytes| {
        bytes
            .iter()
            .map(|byte| byte.wrapping_mul(7) ^ 0xa5)
            .collect()
    },
    |bytes| bytes[..bytes.len() / 2].to_vec(),
    |_| Vec::new(),
];

/// Says that the ledger cannot be read completely, names the record and the next step, and ends with 12.
fn refuses(folder: &Path, words: &[&str]) {
    let (code, rows, said) = deltavault(folder, words);
    assert_eq!((code, rows.len()), (Some(12), 0), "{words:?}: {said}");
    for wanted in [
        "error: the ledger of ",
        " cannot be read completely",
        "/ledger/00000000000000000001.json: slot 1 is not a record of the chain",
        " verify` names every record that is damaged",
    ] {
        assert!(said.contains(wanted), "{words:?}: {said}");
    }
    for lie in ["holds no", "no snapshot yet", "there is no snapshot"] {
        assert!(!said.contains(lie), "{words:?}: {said}");
    }
}

#[test]
fn a_damaged_record_is_not_taken_for_nothing_held() {
    for (damage, all) in DAMAGES.into_iter().flat_map(|it| [(it, false), (it, true)]) {
        let folder = small_lake();
        let folder = folder.path();
        let tables: &[&str] = if all {
            &["lake/orders"]
        } else {
            &["lake/orders", "lake/people"]
        };
        assert_eq!(
            deltavault(folder, &[&["snapshot"], tables].concat()).0,
            Some(0)
        );
        let path = record(folder, "lake-orders-");
        overwrite(&path, damage(&fs::read(&path).unwrap()));

        for table in ["lake/orders", "lake-orders", "orders"] {
            refuses(folder, &["restore", table]);
        }
        refuses(folder, &["restore", "lake-orders", "--version", "0"]);
        refuses(
            folder,
            &["restore", "lake-orders", "--snapshot", "0123456789"],
        );
        refuses(
            folder,
            &["restore", "lake-orders", "--at", "2030-01-01T00:00Z"],
        );
        refuses(folder, &["snapshots", "lake/orders"]);
        refuses(folder, &["show", "0123456789"]);
        refuses(folder, &["ls", "0123456789"]);

        let (code, rows, _) = deltavault(folder, &["snapshots", "--json"]);
        assert_eq!(
            (code, rows.len()),
            (Some(12), usize::from(!all)),
            "{rows:?}"
        );
        let (code, _, said) = deltavault(folder, &["snapshots"]);
        assert_eq!(code, Some(12), "{said}");
        let named = format!(
            "lake-orders: tables/{}",
            path.parent()
                .unwrap()
                .parent()
                .unwrap()
                .file_name()
                .unwrap()
                .to_str()
                .unwrap()
        );
        assert!(said.contains(&named), "{said}");
        assert!(said.contains("vault verify` says what to do"), "{said}");

        if !all {
            // What can be read of the other table is what it was, and a place that no damaged ledger is of is not held.
            let (code, _, said) = deltavault(folder, &["restore", "lake/people"]);
            assert_eq!(code, Some(0), "{said}");
        }
        let (code, _, said) = deltavault(folder, &["restore", "lake/elsewhere"]);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("holds no table"), "{said}");
    }
}

#[test]
fn a_damaged_record_stops_no_snapshot_of_that_folder_nor_of_another() {
    let folder = small_lake();
    let lake = folder.path().join("lake");
    let snapshot = |table: &str, code: i32| {
        let output = Command::new(env!("CARGO_BIN_EXE_deltavault"))
            .args(["--vault", "../vault", "snapshot", table])
            .current_dir(&lake)
            .env_clear()
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    snapshot("orders", 0);
    overwrite(&record(folder.path(), "lake-orders-"), "");
    snapshot("people", 0);
    let said = snapshot("orders", 3);
    assert!(
        said.contains("may hide snapshots of this table: slot 1"),
        "{said}"
    );
    let (code, _, said) = deltavault(folder.path(), &["restore", "lake/orders"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains("the ledger is not as it was written: "),
        "{said}"
    );
}
