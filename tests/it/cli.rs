//! Transcripts of the command line: what is typed, what is printed, how it ends. Only the wiring; what commands
//! do is tested below them.
//!
//! `TRYCMD=overwrite` in the environment writes what is printed into the transcripts.

use std::io::Read as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

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

#[test]
fn an_interrupted_command_ends_with_130_within_two_seconds_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let mut demo = Command::new(env!("CARGO_BIN_EXE_deltavault"))
        .args(["demo", "--dir"])
        .arg(folder.path())
        .env_clear()
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Its folder is made once it is at work.
    while !folder.path().join("lake").exists() {
        std::thread::sleep(Duration::from_millis(1));
    }
    let start = Instant::now();
    let process = rustix::process::Pid::from_child(&demo);
    rustix::process::kill_process(process, rustix::process::Signal::INT).unwrap();
    let status = demo.wait().unwrap();
    assert!(
        start.elapsed() < Duration::from_secs(2),
        "{:?}",
        start.elapsed()
    );
    assert_eq!(status.code(), Some(130));
    let mut said = String::new();
    demo.stderr
        .take()
        .unwrap()
        .read_to_string(&mut said)
        .unwrap();
    assert_eq!(said, "error: interrupted\n");
}
