//! What people type out of habit: names for snapshots, patterns, times and sizes as other tools take them.

use std::fs;
use std::path::Path;
use std::process::Command;

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
    assert!(
        said.contains("no snapshot that lies 2 before the newest"),
        "{said}"
    );
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

/// The ids that `snapshots` lists.
fn listed(folder: &Path, words: &[&str]) -> Vec<String> {
    let rows = rows(folder, &[&["snapshots"], words].concat());
    let ids = rows.iter().map(|row| row["snapshot"].as_str().unwrap());
    ids.map(ToOwned::to_owned).collect()
}

#[test]
fn snapshots_are_listed_by_pattern_number_time_and_class() {
    let lake = small_lake();
    let folder = lake.path();
    let at = |day: &str, table: &str, class: &str| {
        let now = format!("2026-11-{day}T03:00:00Z");
        let words = ["--config", "dv.toml", "--now", &now, "snapshot", table];
        let words = [&words[..], &["--class", class]].concat();
        let taken = rows(folder, &words);
        taken[0]["snapshot"].as_str().unwrap().to_owned()
    };
    let first = at("01", "sales.orders", "daily");
    let second = at("02", "sales.orders", "monthly");
    let people = at("02", "lake/people", "daily");
    let third = at("03", "sales.orders", "daily");
    let now = ["--now", "2026-11-03T12:00:00Z"];
    let list = |words: &[&str]| listed(folder, &[words, &now].concat());
    assert_eq!(list(&["sales.*"]), [&*first, &second, &third]);
    assert_eq!(list(&["lake-p?ople", "sales.*", "--latest", "1"]).len(), 2);
    assert_eq!(list(&["sales.orders", "--latest", "2"]), [&*second, &third]);
    assert_eq!(list(&["sales.*", "--class", "daily"]), [&*first, &third]);
    assert_eq!(list(&["--since", "yesterday", "lake-people"]), [&*people]);
    assert_eq!(list(&["sales.*", "--since", "10h ago"]), [&*third]);
    let said = ends(folder, &["snapshots", "sale.*"], 1);
    assert!(said.contains("no table \"sale.*\""), "{said}");
    assert!(said.contains("it holds "), "{said}");
    let said = ends(folder, &["snapshots", "sales.["], 2);
    assert!(said.contains("TABLE is not usable"), "{said}");
}

#[test]
fn a_snapshot_that_is_held_or_pruned_is_listed_as_such() {
    let lake = small_lake();
    let folder = lake.path();
    let first = take(folder, "lake/orders");
    let next = folder.join("lake/orders/_delta_log/00000000000000000001.json");
    fs::write(
        next,
        r#"{"commitInfo":{"timestamp":1,"operation":"WRITE"}}"#,
    )
    .unwrap();
    let second = take(folder, "lake/orders");
    ends(folder, &["hold", "latest~1"], 0);
    let list = rows(folder, &["snapshots"]);
    assert!(list[0]["held"]["by"].as_str().unwrap().contains('@'));
    assert_eq!(list[1]["held"], Value::Null);
    let text = text(folder, &["snapshots"]);
    let held: Vec<_> = text.lines().filter(|it| it.contains("  held  ")).collect();
    assert!(
        held.len() == 1 && held[0].starts_with(&first[..8]),
        "{text}"
    );
    let shown = self::text(folder, &["show", &first]);
    assert!(shown.contains("; held since "), "{shown}");
    ends(folder, &["release", &first], 0);
    // What a prune deletes once the promise is over.
    let manifest = rows(folder, &["show", &first])[0]["manifest"].clone();
    fs::remove_file(folder.join("vault").join(manifest.as_str().unwrap())).unwrap();
    let then = ["--now", "2030-02-01T00:00:00Z"];
    assert_eq!(listed(folder, &then).len(), 2);
    assert_eq!(listed(folder, &["--kept", then[0], then[1]]), [second]);
}

/// What is printed for people.
fn text(folder: &Path, words: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_deltavault"))
        .args(["--vault", "vault"])
        .args(words)
        .current_dir(folder)
        .env_clear()
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_tilde_in_the_configuration_is_the_home_folder() {
    let lake = small_lake();
    let folder = lake.path();
    let config =
        "[vault]\nuri = \"~/vault\"\n[[tables]]\nname = \"orders\"\nuri = \"~/lake/orders\"\n";
    fs::write(folder.join("home.toml"), config).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_deltavault"))
        .args(["--config", "home.toml", "snapshot"])
        .current_dir(folder)
        .env_clear()
        .env("HOME", folder)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(listed(folder, &["lake/orders"]).len(), 1);
}

#[test]
fn a_run_of_many_tables_ends_with_its_sums_and_then_the_errors() {
    let lake = small_lake();
    let folder = lake.path();
    let tables = [
        "snapshot",
        "lake/plain",
        "lake/orders",
        "lake/empty",
        "lake/people",
    ];
    let plan = [&tables[..], &["--dry-run"]].concat();
    let said = text(folder, &plan);
    let last: Vec<_> = said.lines().rev().take(2).collect();
    assert_eq!(last[0], "NOTHING CHANGED", "{said}");
    assert_eq!(
        last[1], "4 tables, 2 failed: 2 data files to copy, 16 B",
        "{said}"
    );
    assert_eq!(said.matches("NOTHING CHANGED").count(), 1, "{said}");
    let printed = folder.join("printed");
    let file = || {
        fs::File::options()
            .create(true)
            .append(true)
            .open(&printed)
            .unwrap()
    };
    let status = Command::new(env!("CARGO_BIN_EXE_deltavault"))
        .args(["--vault", "vault"])
        .args(tables)
        .current_dir(folder)
        .env_clear()
        .stdout(file())
        .stderr(file())
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(5));
    let said = fs::read_to_string(printed).unwrap();
    let at = |text: &str| said.find(text).unwrap_or_else(|| panic!("{text}: {said}"));
    let order = [
        at("4 tables: 2 taken, 2 failed; 4 files new, "),
        // As they were named, whichever failed first.
        at("error: lake/plain: "),
        at("error: lake/empty: "),
        at("error: 2 of 4 tables failed: lake/plain, lake/empty"),
        at(" snapshot lake/plain lake/empty`, with the flags of this run"),
    ];
    assert!(order.is_sorted(), "{said}");
    assert!(
        at("lake-orders v0 is") < order[0] && at("lake-people v0 is") < order[0],
        "{said}"
    );
}

#[test]
fn a_run_without_a_terminal_takes_scheduled_snapshots_where_classes_have_periods() {
    let lake = small_lake();
    let folder = lake.path();
    let trigger = |words: &[&str]| {
        let words = [&["--config", "dv.toml", "snapshot", "lake/people"], words].concat();
        let said = ends(folder, &words, 0);
        let list = rows(folder, &["snapshots", "lake/people", "--latest", "1"]);
        (list[0]["trigger"].as_str().unwrap().to_owned(), said)
    };
    let (taken, said) = trigger(&[]);
    assert_eq!(taken, "scheduled");
    assert!(said.contains("--trigger manual says otherwise"), "{said}");
    assert_eq!(
        trigger(&["--trigger", "manual"]),
        ("manual".into(), String::new())
    );
    ends(folder, &["snapshot", "lake/people"], 0);
    let list = rows(folder, &["snapshots", "lake/people", "--latest", "1"]);
    assert_eq!(list[0]["trigger"], "manual", "no class has a period here");
}

#[test]
fn quiet_says_errors_only_and_colours_are_a_choice() {
    let lake = small_lake();
    let folder = lake.path();
    let periods = ["--config", "dv.toml", "snapshot", "lake/people"];
    assert_ne!(ends(folder, &periods, 0), "");
    assert_eq!(ends(folder, &[&periods[..], &["-q"]].concat(), 0), "");
    let failing = ["-q", "show", "nothing"];
    let said = ends(folder, &failing, 1);
    assert!(said.starts_with("error: "), "{said}");
    let colour = |words: &[&str], code| ends(folder, &[&failing[1..], words].concat(), code);
    assert!(!colour(&[], 1).contains('\u{1b}'));
    assert!(!colour(&["--color=never"], 1).contains('\u{1b}'));
    let said = colour(&["--color", "always"], 1);
    assert!(
        said.starts_with("\u{1b}[1m\u{1b}[31merror:\u{1b}[0m the vault"),
        "{said:?}"
    );
    let said = colour(&["--color=always", "--no-such-flag"], 2);
    assert!(said.contains("\u{1b}["), "{said:?}");
    assert!(colour(&["--color", "green"], 2).contains("[possible values: auto"));
}

#[test]
fn there_is_a_manual_page_of_the_tool_and_of_every_command() {
    let lake = small_lake();
    let folder = lake.path();
    assert!(text(folder, &["man"]).contains(".SH EXTRA"));
    fs::create_dir(folder.join("pages")).unwrap();
    ends(folder, &["man", "--dir", "pages"], 0);
    let page = fs::read_to_string(folder.join("pages/deltavault-iam-render.1")).unwrap();
    assert!(page.contains("Exit codes:"), "{page}");
    let page = fs::read_to_string(folder.join("pages/deltavault-restore.1")).unwrap();
    assert!(page.contains("sales.orders"), "{page}");
    ends(folder, &["man", "--dir", "gone"], 1);
}

#[test]
fn a_mistyped_vault_is_not_made_but_found() {
    let lake = small_lake();
    let folder = lake.path();
    let vault = folder.join("vault");
    let vault = vault.to_str().unwrap();
    fs::create_dir(folder.join("valt")).unwrap();
    for wrong in ["vaullt", "valt", "vault/x", "."] {
        let said = ends(folder, &["snapshots", "--vault", wrong], 10);
        let meant = format!("hint: there is a vault at {vault}; where there never was one, `");
        assert!(said.contains(&meant), "{wrong}: {said}");
    }
    // The configuration's is near whatever it is called.
    let words = [
        "--config",
        "dv.toml",
        "snapshots",
        "--vault",
        "/nowhere/else",
    ];
    let said = ends(folder, &words, 10);
    assert!(
        said.contains(&format!("there is a vault at {vault};")),
        "{said}"
    );
}

#[test]
fn a_job_with_an_empty_environment_has_its_user_s_name() {
    let lake = small_lake();
    let folder = lake.path();
    take(folder, "lake/orders");
    let principal = rows(folder, &["show", "latest"])[0]["principal"].clone();
    let (user, host) = principal.as_str().unwrap().split_once('@').unwrap();
    let system = |command: &str, words: &[&str]| {
        let output = Command::new(command).args(words).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    assert_eq!(user, system("id", &["-un"]));
    assert_eq!(host, system("uname", &["-n"]));
}
