//! The demo as a newcomer runs it, and the commands that its story ends with.

use std::path::Path;
use std::process::{Command, Output};

fn run(folder: &Path, line: &str) -> Output {
    Command::new("sh")
        .args(["-c", line])
        .current_dir(folder)
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .output()
        .unwrap()
}

#[test]
fn the_demo_tells_its_story_and_its_last_commands_work_from_another_folder() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("my demo");
    let demo = Command::new(env!("CARGO_BIN_EXE_deltavault"))
        .arg("demo")
        .arg("--dir")
        .arg(&dir)
        .env_clear()
        .output()
        .unwrap();
    let story = String::from_utf8(demo.stdout).unwrap();
    assert!(demo.status.success(), "{story}");
    assert_eq!(String::from_utf8_lossy(&demo.stderr), "");
    assert!(story.lines().count() <= 40, "{story}");
    for told in [
        "the same rows as on night 1",
        "the same rows as on night 3",
        "a data file is gone",
    ] {
        assert!(story.contains(told), "{told} is not in\n{story}");
    }

    let (_, commands) = story.split_once("Look around\n").unwrap();
    let commands: Vec<&str> = commands.lines().map(str::trim).collect();
    let (export, commands) = commands.split_first().unwrap();
    let (remove, commands) = commands.split_last().unwrap();
    assert!(commands.len() >= 6, "{story}");
    for command in commands {
        // Nobody is there to be asked.
        let yes = if command.contains(" restore ") {
            " --yes"
        } else {
            ""
        };
        let line = format!("{export}; {command}{yes}");
        let output = run(Path::new("/"), &line);
        assert!(output.status.success(), "{line}: {output:?}");
        assert!(!output.stdout.is_empty(), "{line}");
    }
    assert!(dir.join("copy/_delta_log").is_dir());
    let remove = remove.trim_start_matches("When you are done: ");
    assert!(run(Path::new("/"), remove).status.success());
    assert!(!dir.exists());
}

#[test]
fn a_folder_with_something_in_it_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("mine"), "x").unwrap();
    let demo = Command::new(env!("CARGO_BIN_EXE_deltavault"))
        .arg("demo")
        .arg("--dir")
        .arg(folder.path())
        .env_clear()
        .output()
        .unwrap();
    assert_eq!(demo.status.code(), Some(1));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    let said = String::from_utf8(demo.stderr).unwrap();
    assert!(said.contains("is not empty"), "{said}");
}
