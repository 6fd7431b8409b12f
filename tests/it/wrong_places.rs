//! Places that are a mistake: nothing is written, and the error says why.

use std::fs;
use std::process::Command;

use crate::told_live::Lake;

/// How a command ends in the lake's folder, and what it says; `variables` are set for it.
fn run(lake: &Lake, variables: &[(&str, &str)], words: &[&str]) -> (i32, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_deltavault"));
    let command = command.current_dir(lake.folder()).env_clear();
    let output = command.envs(variables.iter().copied()).args(words).output();
    let output = output.unwrap();
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.code().unwrap(),
        String::from_utf8(said).unwrap(),
    )
}

fn configured() -> (Lake, &'static str) {
    let lake = Lake::with_snapshot();
    let folder = lake.folder().display().to_string();
    let config = format!(
        "[vault]\nuri = \"{folder}/vault\"\n[[tables]]\nname = \"t\"\nuri = \"{folder}/lake/t\"\n\
         [[tables]]\nname = \"gone\"\nuri = \"{folder}/lake/gone\"\n"
    );
    fs::write(lake.folder().join("c.toml"), config).unwrap();
    (lake, "c.toml")
}

#[test]
fn empty_vault_flag_is_not_the_configurations_vault() {
    let (lake, config) = configured();
    let words = ["--config", config, "--vault", "", "snapshots"];
    let (code, said) = run(&lake, &[], &words);
    assert_eq!(code, 2, "{said}");
    assert!(
        said.contains("--vault is not usable: it is empty"),
        "{said}"
    );
    // A variable that is set to nothing is how a script unsets it.
    let empty = [("DELTAVAULT_VAULT", ""), ("DELTAVAULT_CONFIG", config)];
    let (code, said) = run(&lake, &empty, &["snapshots"]);
    assert_eq!(code, 0, "{said}");
}

#[test]
fn vault_is_not_made_in_a_vault() {
    let lake = Lake::with_snapshot();
    for inner in ["vault/sub", "vault/tables/deep/er"] {
        let (code, said) = run(&lake, &[], &["--vault", inner, "init"]);
        assert_eq!(code, 2, "{said}");
        assert!(said.contains("it lies in a vault"), "{said}");
        assert!(!lake.folder().join(inner).exists());
    }
}

#[test]
fn vault_is_not_made_where_the_configuration_has_a_table() {
    let (lake, config) = configured();
    for place in ["lake/gone/vault", "lake/gone", "lake"] {
        let words = ["--config", config, "--vault", place, "init", "--yes"];
        let (code, said) = run(&lake, &[], &words);
        assert_eq!(code, 2, "{place}: {said}");
        assert!(
            said.contains("a vault goes to a place of its own"),
            "{said}"
        );
        assert!(!lake.folder().join("lake/gone").exists());
    }
}

#[test]
fn copy_does_not_go_where_the_configuration_has_another_table() {
    let (lake, config) = configured();
    for to in ["lake/gone", "lake/gone/", "lake/gone/copy", "lake"] {
        let words = [
            "--config", config, "restore", "t", "--latest", "--to", to, "--yes",
        ];
        let (code, said) = run(&lake, &[], &words);
        assert_eq!(code, 2, "{to}: {said}");
        assert!(said.contains("a copy goes to a place of its own"), "{said}");
        assert!(!lake.folder().join("lake/gone").exists());
    }
    let words = [
        "--config",
        config,
        "restore",
        "t",
        "--latest",
        "--to",
        "lake/goner",
        "--yes",
    ];
    let (code, said) = run(&lake, &[], &words);
    assert_eq!(code, 0, "{said}");
}

#[test]
fn configuration_that_is_gone_is_not_in_the_way_of_what_does_not_read_it() {
    let lake = Lake::with_snapshot();
    let gone = [("DELTAVAULT_CONFIG", "gone.toml")];
    for words in [&["completions", "bash"][..], &["man"]] {
        let (code, said) = run(&lake, &gone, words);
        assert_eq!(code, 0, "{said}");
    }
    let (code, said) = run(&lake, &gone, &["snapshots"]);
    assert_eq!(code, 2, "{said}");
}
