//! `restore` of several tables: the plans in order, one question, the sums, and the errors last.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::Value;

use super::cli::{deltavault, small_lake};
use crate::support::world::files;

/// Two tables with a snapshot each, and what their folders held before they were dropped.
fn dropped() -> (tempfile::TempDir, [BTreeMap<String, Vec<u8>>; 2]) {
    let folder = small_lake();
    let tables = ["lake/orders", "lake/people"];
    let (code, ..) = deltavault(folder.path(), &["snapshot", tables[0], tables[1]]);
    assert_eq!(code, Some(0));
    let held = tables.map(|table| {
        let place = folder.path().join(table);
        let held = contents(&place);
        fs::remove_dir_all(place).unwrap();
        held
    });
    (folder, held)
}

/// The files of a table, without what a restore leaves beside them.
fn contents(place: &Path) -> BTreeMap<String, Vec<u8>> {
    let found = files(place).into_iter();
    found
        .filter(|(path, _)| !path.contains("_deltavault/"))
        .collect()
}

fn restore(folder: &Path, words: &[&str]) -> (Option<i32>, Vec<Value>, String) {
    let words = [&["restore"], words].concat();
    deltavault(folder, &words)
}

/// Of each line its type and its table.
fn told(rows: &[Value]) -> Vec<(&str, &str)> {
    rows.iter()
        .map(|row| {
            let table = row["table"].as_str().unwrap_or_default();
            (row["message_type"].as_str().unwrap(), table)
        })
        .filter(|(kind, _)| *kind != "version_time")
        .collect()
}

#[test]
fn several_tables_come_back_in_order_and_one_that_fails_stops_no_other() {
    let (folder, held) = dropped();
    let words = [
        "lake/people",
        "lake/none",
        "lake/orders",
        "--latest",
        "--yes",
        "--json",
    ];
    let (code, rows, said) = restore(folder.path(), &words);
    assert_eq!((code, said.as_str()), (Some(5), ""), "{rows:?}");
    assert_eq!(
        told(&rows),
        [
            ("restore_plan", "lake-people"),
            ("table_failed", "lake/none"),
            ("restore_plan", "lake-orders"),
            ("restored", "lake-people"),
            ("restored", "lake-orders"),
            ("restore_run_summary", ""),
            ("exit_error", ""),
        ]
    );
    let sums = &rows[rows.len() - 2];
    assert_eq!((&sums["tables"], &sums["restored"]), (&3.into(), &2.into()));
    assert_eq!(sums["not_restored"], serde_json::json!(["lake/none"]));
    let written: u64 = rows
        .iter()
        .filter_map(|row| row["files_written"].as_u64())
        .sum();
    assert_eq!(sums["files_written"].as_u64().unwrap() * 2, written);
    let last = rows.last().unwrap();
    assert_eq!(last["message"], "1 of 3 tables not restored: lake/none");
    assert!(
        last["hint"]
            .as_str()
            .unwrap()
            .contains(" restore lake/none --latest --yes` takes this table alone")
    );
    for (table, held) in ["lake/orders", "lake/people"].iter().zip(&held) {
        assert_eq!(contents(&folder.path().join(table)), *held, "{table}");
    }
}

#[test]
fn several_tables_are_copied_each_to_a_folder_of_its_name() {
    let (folder, held) = dropped();
    // The order of the configuration, and no table twice.
    let words = [
        "--config",
        "dv.toml",
        "lake-*",
        "lake/people",
        "--to",
        "copies",
    ];
    fs::write(
        folder.path().join("dv.toml"),
        "[[tables]]\nname = \"lake-people\"\nuri = \"lake/people\"\n",
    )
    .unwrap();
    let words = [&words[..], &["--latest", "--yes", "--json"]].concat();
    let (code, rows, said) = restore(folder.path(), &words);
    assert_eq!((code, said.as_str()), (Some(0), ""), "{rows:?}");
    assert_eq!(
        told(&rows)[..2],
        [
            ("restore_plan", "lake-people"),
            ("restore_plan", "lake-orders")
        ]
    );
    assert_eq!(rows.last().unwrap()["restored"], 2);
    for (name, held) in ["lake-orders", "lake-people"].iter().zip(&held) {
        assert_eq!(contents(&folder.path().join("copies").join(name)), *held);
    }
    assert!(!folder.path().join("lake/orders").exists());
}

#[test]
fn one_answer_is_for_all_tables_and_without_one_nothing_happens() {
    let (folder, _) = dropped();
    let tables = ["lake/orders", "lake/people", "--latest"];
    let (code, _, said) = restore(folder.path(), &tables);
    assert_eq!(code, Some(4), "{said}");
    assert!(
        said.starts_with("error: not confirmed: put back "),
        "{said}"
    );
    assert!(said.contains(" of 2 tables\n"), "{said}");
    let dry = [&tables[..], &["--dry-run", "--json"]].concat();
    let (code, rows, _) = restore(folder.path(), &dry);
    assert_eq!(code, Some(0), "{rows:?}");
    let planned = rows
        .iter()
        .filter(|row| row["message_type"] == "restore_plan");
    let files: u64 = planned.map(|row| row["files"].as_u64().unwrap()).sum();
    let sums = rows.last().unwrap();
    assert_eq!(sums["message_type"], "restore_run_plan");
    assert_eq!((&sums["ready"], &sums["files"]), (&2.into(), &files.into()));
    assert!(!folder.path().join("lake/orders").exists());
}

#[test]
fn what_lacks_nothing_is_counted_apart_and_a_dry_run_reports_no_restore() {
    let (folder, _) = dropped();
    let back = ["lake/people", "--latest", "--yes"];
    let (code, ..) = restore(folder.path(), &back);
    assert_eq!(code, Some(0));
    let both = ["lake/orders", "lake/people", "--latest", "--json"];
    for to_copy in [false, true] {
        let words = [&both[..], if to_copy { &["--to", "copies"] } else { &[] }].concat();
        if to_copy {
            let one = [
                "lake/people",
                "--latest",
                "--yes",
                "--to",
                "copies/lake-people",
            ];
            assert_eq!(restore(folder.path(), &one).0, Some(0));
        }
        let (code, rows, _) = restore(folder.path(), &[&words[..], &["--dry-run"]].concat());
        assert_eq!(code, Some(0), "{rows:?}");
        assert!(
            rows.iter().all(|row| row["message_type"] != "restored"),
            "{rows:?}"
        );
        let sums = rows.last().unwrap();
        assert_eq!(
            [&sums["tables"], &sums["ready"], &sums["unchanged"]],
            [2, 1, 1],
            "{sums}"
        );
        let (code, rows, _) = restore(folder.path(), &[&words[..], &["--yes"]].concat());
        assert_eq!(code, Some(0), "{rows:?}");
        let sums = rows.last().unwrap();
        assert_eq!(
            [&sums["tables"], &sums["restored"], &sums["unchanged"]],
            [2, 1, 1],
            "{sums}"
        );
        if !to_copy {
            fs::remove_dir_all(folder.path().join("lake/orders")).unwrap();
        }
    }
}

#[test]
fn a_pattern_that_matches_nothing_stops_no_other_table() {
    let (folder, held) = dropped();
    let words = ["none-*", "lake/orders", "--latest", "--yes"];
    let (code, _, said) = restore(folder.path(), &words);
    assert_eq!(code, Some(5), "{said}");
    assert!(said.contains("error: none-*: "), "{said}");
    assert!(
        said.contains("1 of 2 tables not restored: none-*"),
        "{said}"
    );
    assert_eq!(contents(&folder.path().join("lake/orders")), held[0]);
}

#[test]
fn a_copy_that_has_no_place_is_one_failure_and_the_next_command_names_its_own() {
    let (folder, held) = dropped();
    let taken = folder.path().join("copies/lake-orders");
    fs::create_dir_all(&taken).unwrap();
    fs::write(taken.join("notes.txt"), "not a table").unwrap();
    let words = [
        "lake/orders",
        "lake/people",
        "--latest",
        "--to",
        "copies",
        "--yes",
    ];
    let (code, _, said) = restore(folder.path(), &words);
    assert!(matches!(code, Some(4 | 5)), "{code:?} {said}");
    let place = fs::canonicalize(&taken).unwrap();
    let again = format!(
        " restore lake/orders --to file://{} --latest --yes` takes this table alone",
        place.display()
    );
    assert!(said.contains(&again), "{said}");
    assert_eq!(contents(&folder.path().join("copies/lake-people")), held[1]);
}

#[test]
fn where_only_the_owner_can_choose_the_others_are_put_back_and_it_ends_with_4() {
    let (folder, _) = dropped();
    // Another table lives there now.
    let (code, ..) = restore(
        folder.path(),
        &["lake/people", "--latest", "--to", "lake/orders", "--yes"],
    );
    assert_eq!(code, Some(0));
    for json in [&[][..], &["--json"]] {
        let words = [&["lake/orders", "lake/people", "--latest", "--yes"], json].concat();
        let (code, rows, said) = restore(folder.path(), &words);
        assert_eq!(code, Some(4), "{rows:?} {said}");
        assert!(folder.path().join("lake/people/_delta_log").exists());
        let last = "1 of 2 tables not restored: lake/orders";
        assert!(
            said.contains(last) || rows.last().unwrap()["message"] == last,
            "{said}"
        );
    }
}

#[test]
fn what_is_about_one_table_is_refused_for_several() {
    let (folder, _) = dropped();
    for flag in ["--snapshot", "--version", "--without-checkpoint"] {
        for tables in [&["lake/orders", "lake/people"][..], &["lake-*"]] {
            let words = [tables, &[flag, "1234"]].concat();
            let (code, _, said) = restore(folder.path(), &words);
            assert_eq!(code, Some(2), "{said}");
            let expected = format!("error: {flag} is not usable: it is about one table");
            assert!(said.starts_with(&expected), "{said}");
        }
    }
    let (code, _, said) = restore(folder.path(), &["none-*", "--latest"]);
    assert_eq!(code, Some(1));
    assert!(said.contains("lake-orders"), "{said}");
}

#[test]
fn every_table_of_the_configuration_comes_back_in_its_order() {
    let (folder, held) = dropped();
    let run = |config: &str, words: &[&str]| {
        fs::write(folder.path().join("vault.toml"), config).unwrap();
        let words = [&["--config", "vault.toml", "restore", "--all"], words].concat();
        deltavault(folder.path(), &words)
    };
    let table = |name: &str, uri: &str| format!("[[tables]]\nname = \"{name}\"\nuri = \"{uri}\"\n");
    let both = table("people", "lake/people") + &table("orders", "lake/orders");
    let (code, rows, said) = run(&both, &["--latest", "--yes", "--json"]);
    assert_eq!(code, Some(0), "{said}");
    let restored: Vec<_> = told(&rows)
        .into_iter()
        .filter(|(kind, _)| *kind == "restored")
        .collect();
    assert_eq!(restored.len(), 2, "{rows:?}");
    assert_eq!(rows.last().unwrap()["restored"], 2);
    for (table, held) in ["lake/orders", "lake/people"].iter().zip(held) {
        assert_eq!(contents(&folder.path().join(table)), held);
    }
    let (code, _, said) = run("", &["--latest", "--yes"]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("[[tables]]"), "{said}");
    let (code, _, said) = run(&both, &["people", "--latest"]);
    assert_eq!(code, Some(2), "{said}");
    let (code, _, said) = run(&both, &["--version", "0"]);
    assert_eq!(code, Some(2), "{said}");
}
