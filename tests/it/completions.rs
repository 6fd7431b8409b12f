//! What a shell is told may follow: flags, names of tables and ids of snapshots, without a look into the vault.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::cli::small_lake;

/// The shell's script asks so, with the cursor behind the last word.
pub(crate) fn proposed(folder: &Path, words: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_deltavault"))
        .args(["--", "deltavault"])
        .args(words)
        .current_dir(folder)
        .env_clear()
        .env("XDG_CACHE_HOME", folder.join("cache"))
        .env("DELTAVAULT_COMPLETE", "bash")
        .env("_CLAP_COMPLETE_INDEX", words.len().to_string())
        .env("_CLAP_COMPLETE_COMP_TYPE", "9")
        .env("_CLAP_COMPLETE_SPACE", "true")
        .env("_CLAP_IFS", "\n")
        .output()
        .unwrap();
    assert!(output.status.success(), "{words:?}: {output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    String::from_utf8(output.stdout).unwrap()
}

fn run(folder: &Path, words: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_deltavault"))
        .args(words)
        .current_dir(folder)
        .env_clear()
        .env("XDG_CACHE_HOME", folder.join("cache"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{words:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn tables_and_snapshots_are_completed_from_the_index_without_the_vault() {
    let folder = small_lake();
    let folder = folder.path();
    let vault = ["--vault", "vault"];
    let ask = |words: &[&str]| {
        let words = [&vault[..], words].concat();
        let said = proposed(folder, &words);
        said.lines().map(ToOwned::to_owned).collect::<Vec<_>>()
    };
    let snapshot = ["snapshot", "lake/orders", "lake/people"];
    run(folder, &[&vault[..], &snapshot].concat());
    assert_eq!(ask(&["restore", "lake-"]), [""; 0], "nothing is known yet");
    let listed = run(folder, &["--json", "--vault", "vault", "snapshots"]);
    let rows = listed
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let ids: Vec<(String, String)> = rows
        .map(|row| {
            ["table", "snapshot"]
                .map(|it| row[it].as_str().unwrap().to_owned())
                .into()
        })
        .collect();
    let of = |table: &str| ids.iter().find(|it| it.0 == table).unwrap().1[..8].to_owned();
    let (orders, people) = (of("lake-orders"), of("lake-people"));
    fs::remove_dir_all(folder.join("vault")).unwrap();

    for command in ["restore", "snapshots", "verify", "retire", "show", "diff"] {
        assert_eq!(
            ask(&[command, "lake-"]),
            ["lake-orders", "lake-people"],
            "{command}"
        );
    }
    assert_eq!(ask(&["restore", "lake-o"]), ["lake-orders"]);
    assert_eq!(ask(&["show", &orders[..4]]), [orders.as_str()]);
    assert_eq!(
        ask(&["restore", "lake-orders", "--snapshot", ""]),
        [orders.as_str()]
    );
    let mut all = ask(&["restore", "--snapshot", ""]);
    all.sort();
    let mut both = [orders.clone(), people];
    both.sort();
    assert_eq!(all, both);
    assert_eq!(ask(&["restore", "--snapshot", &orders[..6]]), [orders]);
    // Another vault has another index; the configuration is known without one.
    let elsewhere = proposed(folder, &["--vault", "other", "restore", "lake-"]);
    assert_eq!(elsewhere, "");
    let configured = proposed(folder, &["--config", "dv.toml", "restore", ""]);
    assert!(configured.contains("sales.orders"), "{configured}");
    // A path is a path.
    assert_eq!(ask(&["snapshot", "lake/or"]), ["lake/orders/"]);
}

#[test]
fn what_the_index_holds_of_others_is_not_run_by_a_shell() {
    let folder = small_lake();
    let folder = folder.path();
    fs::create_dir(folder.join("cache")).unwrap();
    let config = "[[tables]]\nname = \"$(touch x)\"\nuri = \"lake/orders\"\n";
    fs::write(folder.join("dv.toml"), config).unwrap();
    let said = proposed(folder, &["--config", "dv.toml", "restore", ""]);
    assert!(!said.contains("touch"), "{said}");
}
