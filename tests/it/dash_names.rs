//! A table whose name begins with a hyphen, or has what a shell reads: every command takes it, and what is printed to be
//! pasted means it.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::cli::{deltavault, small_lake};

const NAMES: [&str; 4] = ["-x", "--yes", "--vault=$HOME", "-it's `a` b"];

fn ends(folder: &Path, words: &[&str], codes: &[i32]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_deltavault"))
        .args(["--vault", "vault"])
        .args(words)
        .current_dir(folder)
        .env_clear()
        .output()
        .unwrap();
    let [out, err] = [output.stdout, output.stderr].map(|it| String::from_utf8(it).unwrap());
    let code = output.status.code().unwrap();
    assert!(
        codes.contains(&code),
        "{words:?} ends with {code}: {out}{err}"
    );
    out + &err
}

/// The commands of this tool that a text names, to be pasted: on lines of their own, and in backticks.
fn pasted(said: &str) -> Vec<&str> {
    let program = env!("CARGO_BIN_EXE_deltavault");
    let alone = said
        .lines()
        .map(str::trim)
        .filter(|it| it.starts_with(program));
    alone.collect()
}

#[test]
fn every_command_takes_a_name_that_looks_like_a_flag() {
    for name in NAMES {
        let lake = small_lake();
        let folder = lake.path();
        let config = format!(
            "[[tables]]\nname = {name:?}\nuri = \"lake/orders\"\n[[tables]]\nname = \"people\"\nuri = \"lake/people\"\n"
        );
        fs::write(folder.join("names.toml"), config).unwrap();
        let typed = format!("./{name}");
        let typed = typed.as_str();
        let by_name = ["--config", "names.toml"];
        ends(folder, &[&by_name[..], &["snapshot", typed]].concat(), &[0]);
        let (code, rows, said) = deltavault(folder, &["show", typed, "--json"]);
        assert_eq!(code, Some(0), "{said}");
        assert_eq!(rows[0]["table"], name, "JSON has it as it is");
        // Of what the vault says alone, and by the configuration.
        for with in [&[][..], &by_name] {
            let newest = format!("{typed}~0");
            let commands: [&[&str]; 10] = [
                &["snapshots", typed],
                &["show", typed],
                &["ls", &newest],
                &["diff", typed, "live"],
                &["restore", typed, "--latest", "--dry-run"],
                &["restore", typed, "people", "--latest", "--dry-run"],
                &["verify", typed],
                &["hold", typed],
                &["release", typed],
                &["snapshot", typed, "--dry-run"],
            ];
            for words in commands {
                let codes: &[i32] = if words.contains(&"people") {
                    &[0, 5]
                } else {
                    &[0]
                };
                ends(folder, &[with, words].concat(), codes);
            }
        }
        // What is printed to be pasted runs as it is, and means this table.
        fs::remove_dir_all(folder.join("lake/orders")).unwrap();
        let said = ends(folder, &["restore", typed, "--latest"], &[4]);
        let said = said + &ends(folder, &["restore", typed], &[0, 4]);
        let commands = pasted(&said);
        assert!(!commands.is_empty(), "{said}");
        for command in commands {
            let output = Command::new("sh")
                .args(["-c", &format!("{command} --dry-run")])
                .current_dir(folder)
                .env_clear()
                .output()
                .unwrap();
            assert_eq!(output.status.code(), Some(0), "{command}: {output:?}");
            let text = String::from_utf8(output.stdout).unwrap();
            assert!(text.contains("/lake/orders  "), "{command}: {text}");
        }
        ends(folder, &["retire", typed, "--yes"], &[0]);
    }
}
