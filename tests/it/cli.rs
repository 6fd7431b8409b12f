//! Transcripts of the command line: what is typed, what is printed, how it ends. Only the wiring; what commands
//! do is tested below them.
//!
//! `TRYCMD=overwrite` in the environment writes what is printed into the transcripts.

use std::path::Path;
use std::process::Command;

#[test]
fn transcripts_are_as_recorded() {
    let clean_env = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli/clean-env");
    trycmd::TestCases::new()
        .register_bin("deltavault", clean_env)
        .env("DELTAVAULT_BIN", env!("CARGO_BIN_EXE_deltavault"))
        .case("tests/cli/*.trycmd");
}

#[test]
fn a_reader_that_has_gone_away_is_not_an_error() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = Command::new(env!("CARGO_BIN_EXE_deltavault"))
        .args(["completions", "bash"])
        .env_clear()
        .stdout(writer)
        .output()
        .unwrap();
    assert!(output.status.success(), "{:?}", output.status);
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}
