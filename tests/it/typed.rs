//! What people type out of habit: names for snapshots, patterns, times and sizes as other tools take them.

use std::path::Path;

use serde_json::Value;

use super::cli::{deltavault, small_lake};

/// Runs a command that has to end well, and returns its lines of JSON.
fn rows(folder: &Path, words: &[&str]) -> Vec<Value> {
    let words = [words, &["--json"]].concat();
    let (code, rows, said) = deltavault(folder, &words);
    assert_eq!(code, Some(0), "{words:?}: {rows:?} {said}");
    rows
}

/// Takes a snapshot, and returns its id.
fn take(folder: &Path, table: &str) -> String {
    let taken = rows(folder, &["snapshot", table]);
    taken[0]["snapshot"].as_str().unwrap().to_owned()
}

/// The id that `show` shows for a name.
fn shown(folder: &Path, name: &str) -> Value {
    rows(folder, &["show", name])[0]["snapshot"].clone()
}

/// What is said of a command that ends with `code`.
fn ends(folder: &Path, words: &[&str], code: i32) -> String {
    let (ended, _, said) = deltavault(folder, words);
    assert_eq!(ended, Some(code), "{words:?}: {said}");
    said
}

#[test]
fn in_a_vault_of_one_table_a_snapshot_needs_no_table() {
    let lake = small_lake();
    let folder = lake.path();
    ends(folder, &["show", "latest"], 1);
    let [first, second] = [take(folder, "lake/orders"), take(folder, "lake/orders")];
    for name in [
        "latest",
        "latest~0",
        "lake-orders",
        "lake/orders",
        "v0",
        "0",
    ] {
        assert_eq!(shown(folder, name), second, "{name}");
    }
    for name in [
        "latest~1",
        "lake-orders~1",
        "lake/orders@latest~1",
        &first[..4],
    ] {
        assert_eq!(shown(folder, name), first, "{name}");
    }
    let said = ends(folder, &["show", "latest~2"], 1);
    assert!(said.contains("no 2 snapshots before the newest"), "{said}");
    assert!(said.contains(" snapshots lake-orders`"), "{said}");
    let said = ends(folder, &["show", "v7"], 1);
    assert!(said.contains("holds version 7"), "{said}");
    for (command, name) in [("ls", "latest"), ("hold", "v0"), ("release", "lake-orders")] {
        ends(folder, &[command, name], 0);
    }
    let sums = rows(folder, &["diff", "latest~1", "latest"]);
    assert_eq!(sums[0]["before"], first[..8]);
    assert_eq!(sums[0]["after"], second[..8]);
    let sums = rows(folder, &["diff", "latest", "live"]);
    assert_eq!(sums[0]["after"], "live");
}

#[test]
fn in_a_vault_of_several_tables_a_snapshot_without_one_is_refused() {
    let lake = small_lake();
    let folder = lake.path();
    let older = take(folder, "lake/orders");
    let orders = take(folder, "lake/orders");
    let people = take(folder, "lake/people");
    for name in ["latest", "latest~1", "v0", "0"] {
        let said = ends(folder, &["show", name], 4);
        assert!(said.contains("the vault holds 2 tables"), "{said}");
        let name = name.replace("v0", "0").replace('0', "v0");
        assert!(said.contains(&format!("lake-orders@{name}")), "{said}");
    }
    assert_eq!(shown(folder, "lake-people"), people);
    assert_eq!(shown(folder, "lake-orders@v0"), orders);
    // The second side of a comparison is about the table of the first.
    let sums = rows(folder, &["diff", "lake-orders~1", "latest"]);
    assert_eq!(sums[0]["before"], older[..8]);
    assert_eq!(sums[0]["after"], orders[..8]);
    let said = ends(folder, &["diff", "lake-orders", "lake-people"], 0);
    assert!(
        said.contains("two tables are compared: lake-orders and lake-people"),
        "{said}"
    );
    let said = ends(folder, &["show", "lake-ordrs"], 1);
    assert!(said.contains("it holds lake-orders"), "{said}");
}
