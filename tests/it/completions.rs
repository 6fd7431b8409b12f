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

#[test]
fn a_script_names_the_program_whatever_its_path_means_to_a_shell() {
    let lake = small_lake();
    let odd = lake.path().join("it's $HOME;touch pwned `touch pwned` \"x");
    fs::create_dir(&odd).unwrap();
    let program = odd.join("dv");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_deltavault"), &program).unwrap();
    let output = Command::new(&program)
        .args(["completions", "bash"])
        .env_clear()
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    fs::write(lake.path().join("script"), output.stdout).unwrap();
    // As readline calls it for `deltavault sn`.
    let ask = "source ./script; COMP_WORDS=(deltavault sn); COMP_CWORD=1; COMP_TYPE=9; \
               $(complete -p deltavault | sed 's/.*-F \\([^ ]*\\).*/\\1/') deltavault sn deltavault; \
               printf '%s\\n' \"${COMPREPLY[@]}\"";
    let output = Command::new("bash")
        .args(["-c", ask])
        .current_dir(lake.path())
        .env("HOME", "/")
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(
        said.contains("snapshots"),
        "{said} {}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(!lake.path().join("pwned").exists());
}
