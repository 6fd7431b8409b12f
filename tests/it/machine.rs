//! The machine that it runs on: who may read what it writes, whatever the umask; what a killed run leaves; and a clock that
//! was set ahead.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use super::cli::{deltavault, small_lake};

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

/// All that is below a folder.
fn below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    for path in entries.map(|entry| entry.path()) {
        if path.is_dir() {
            found.extend(below(&path));
        }
        found.push(path);
    }
    found
}

/// Runs the tool under a umask.
fn under(umask: &str, folder: &Path, words: &[&str]) {
    let output = Command::new("sh")
        .args(["-c", &format!("umask {umask}; exec \"$0\" \"$@\"")])
        .arg(env!("CARGO_BIN_EXE_deltavault"))
        .args(["--vault", "vault"])
        .args(words)
        .current_dir(folder)
        .env_clear()
        .env("XDG_CACHE_HOME", folder.join("cache"))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{words:?}: {output:?}");
}

#[test]
fn a_vault_is_its_owner_s_whatever_the_umask_and_as_open_as_a_folder_that_was_there() {
    // Of the vault's folder before `init`, the umask, then: the folder, folders in it, files in it, the lock file.
    let cases = [
        (None, "000", 0o700, 0o700, 0o400, 0o600),
        (None, "022", 0o700, 0o700, 0o400, 0o600),
        (None, "077", 0o700, 0o700, 0o400, 0o600),
        (Some(0o755), "000", 0o755, 0o755, 0o444, 0o600),
        (Some(0o755), "077", 0o755, 0o700, 0o400, 0o600),
        (Some(0o750), "022", 0o750, 0o750, 0o440, 0o600),
        (Some(0o2770), "007", 0o2770, 0o2770, 0o440, 0o660),
    ];
    for (before, umask, root, folders, files, lock) in cases {
        let lake = small_lake();
        let vault = lake.path().join("vault");
        fs::remove_dir_all(&vault).unwrap();
        if let Some(before) = before {
            fs::create_dir(&vault).unwrap();
            fs::set_permissions(&vault, fs::Permissions::from_mode(before)).unwrap();
        }
        for words in [
            &["init"][..],
            &["snapshot", "lake/orders"],
            &["snapshots"],
            &["show", "latest"],
            &["ls", "latest"],
            &["prune", "--yes"],
        ] {
            under(umask, lake.path(), words);
        }
        let told = format!("{before:?} {umask}");
        assert_eq!(mode(&vault), root, "{told}");
        for path in below(&vault) {
            let expected = match (path.is_dir(), path.ends_with(".deltavault-lock")) {
                (true, _) => folders,
                (false, true) => lock,
                (false, false) => files,
            };
            assert_eq!(mode(&path), expected, "{told} {}", path.display());
        }
        let cached = below(&lake.path().join("cache"));
        assert!(cached.len() > 2, "{cached:?}");
        for path in cached {
            let expected = if path.is_dir() { 0o700 } else { 0o600 };
            assert_eq!(mode(&path), expected, "{told} {}", path.display());
        }
    }
}

#[test]
fn a_lock_file_that_readers_could_open_is_closed_to_them() {
    let lake = small_lake();
    let lock = lake.path().join("vault/.deltavault-lock");
    fs::write(&lock, "").unwrap();
    fs::set_permissions(&lock, fs::Permissions::from_mode(0o666)).unwrap();
    fs::set_permissions(lake.path().join("vault"), fs::Permissions::from_mode(0o755)).unwrap();
    under("000", lake.path(), &["snapshot", "lake/orders"]);
    assert_eq!(mode(&lock), 0o600);
}

/// What a run that is under way has made below a folder and that has a name like this.
fn begun(folder: &Path, name: &str) -> Vec<PathBuf> {
    let mut found = below(folder);
    found.retain(|path| {
        path.file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .starts_with(name)
    });
    found
}

#[test]
fn what_a_killed_run_left_is_swept_by_the_next_and_a_living_one_is_left_alone() {
    let lake = small_lake();
    let folder = lake.path();
    let (temp, vault) = (folder.join("temp"), folder.join("vault"));
    fs::create_dir(&temp).unwrap();
    fs::set_permissions(&vault, fs::Permissions::from_mode(0o700)).unwrap();
    // Large enough to be killed at: a commit names a file of 256 MiB, which has no blocks.
    let size = 256 << 20;
    let file = File::create(folder.join("lake/orders/large.parquet")).unwrap();
    file.set_len(size).unwrap();
    let add = format!(
        r#"{{"add":{{"path":"large.parquet","partitionValues":{{}},"size":{size},"modificationTime":1,"dataChange":true}}}}"#
    );
    let log = folder.join("lake/orders/_delta_log");
    let newest = fs::read_dir(&log).unwrap().count();
    let next = (0..=newest).map(|version| log.join(format!("{version:020}.json")));
    let next = next.into_iter().find(|path| !path.exists()).unwrap();
    fs::write(next, add).unwrap();
    let run = |words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_deltavault"));
        command
            .args(["--vault", "vault"])
            .args(words)
            .current_dir(folder)
            .env_clear()
            .env("TMPDIR", &temp)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    };
    let mut killed = run(&["snapshot", "lake/orders"]).spawn().unwrap();
    let (scratch, unfinished) = ("deltavault-scratch-", ".deltavault-tmp-");
    let begin = Instant::now();
    // A blob that grows, and not one of the small files before it.
    let is_large = |path: &PathBuf| fs::metadata(path).is_ok_and(|it| it.len() > 1 << 20);
    while !begun(&vault, unfinished).iter().any(is_large) {
        assert!(begin.elapsed() < Duration::from_mins(1));
        assert!(killed.try_wait().unwrap().is_none(), "it was not caught");
        std::thread::sleep(Duration::from_millis(1));
    }
    for path in begun(&temp, scratch) {
        assert_eq!(mode(&path), 0o700);
    }
    let age = |path: &Path| {
        let file = File::open(path).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH).unwrap();
    };
    // While it lives, another run takes nothing from it, however old it looks.
    killed.try_wait().unwrap();
    for path in begun(&temp, ".in-use") {
        age(&path);
    }
    let held = begun(&temp, scratch);
    assert!(!held.is_empty());
    run(&["snapshots"]).status().unwrap();
    if killed.try_wait().unwrap().is_none() {
        assert_eq!(begun(&temp, scratch), held);
    }
    killed.kill().unwrap();
    killed.wait().unwrap();
    let left = begun(&vault, unfinished);
    assert!(!left.is_empty(), "killed too late");
    for path in &left {
        assert_eq!(mode(path), 0o600, "{}", path.display());
    }

    // Too young to be swept.
    let kept = temp.join("deltavault-of-somebody");
    fs::write(&kept, "").unwrap();
    let now = fs::metadata(&kept).unwrap().modified().unwrap();
    for path in begun(&temp, ".in-use") {
        File::open(path).unwrap().set_modified(now).unwrap();
    }
    run(&["snapshots"]).status().unwrap();
    assert_eq!(begun(&temp, scratch), held);

    for path in begun(&temp, ".in-use") {
        age(&path);
    }
    for path in &left {
        age(path);
    }
    assert!(
        run(&["snapshot", "lake/orders"])
            .status()
            .unwrap()
            .success()
    );
    assert_eq!(below(&temp), [kept], "nothing but what is not the tool's");
    assert_eq!(begun(&vault, unfinished), [""; 0].map(PathBuf::from));
    let (code, rows, said) = deltavault(folder, &["verify", "--read", "all", "--json"]);
    assert_eq!(code, Some(0), "{rows:?} {said}");
}

#[test]
fn a_prune_does_not_believe_a_clock_that_was_set_ahead() {
    let lake = small_lake();
    let folder = lake.path();
    let at = |now: &str, words: &[&str]| {
        let now = format!("2020-{now}:00:00Z");
        let words = [&["--now", &now][..], words, &["--json"]].concat();
        let (code, rows, said) = deltavault(folder, &words);
        (code.unwrap(), rows, said)
    };
    let prune = ["prune", "--yes", "--grace", "0h"];
    for night in ["01-01T03", "01-02T03", "01-03T03"] {
        assert_eq!(at(night, &["snapshot", "lake/orders"]).0, 0);
        assert_eq!(at(night, &prune).0, 0);
    }
    let files = || below(&folder.join("vault")).len();
    let before = files();
    let refused = |now: &str, days: u64| {
        let (code, rows, said) = at(now, &prune);
        assert_eq!(code, 4, "{rows:?} {said}");
        let message = rows.last().unwrap()["message"].as_str().unwrap();
        assert!(
            message.contains(&format!("for {days} days, from 2020-01-03 03:00Z")),
            "{message}"
        );
        let hint = rows.last().unwrap()["hint"].as_str().unwrap();
        assert!(
            hint.contains(&format!("prune --longest-pause {}`", days + 1)),
            "{hint}"
        );
    };
    // All within a week is taken for real, a weekly job that is late included.
    assert_eq!(at("01-11T02", &["prune", "--dry-run"]).0, 0);
    refused("03-05T03", 62);
    assert_eq!(files(), before, "nothing is marked either");
    // The snapshot of the same machine says the wrong time, too.
    assert_eq!(at("03-05T03", &["snapshot", "lake/people"]).0, 0);
    let before = files();
    refused("03-05T04", 62);
    refused("03-06T04", 62);
    assert_eq!(files(), before);
    let (code, rows, _) = at("03-05T04", &["prune", "--dry-run"]);
    assert_eq!(code, 3);
    let findings = rows
        .iter()
        .find_map(|row| row["findings"].as_array())
        .unwrap();
    assert!(
        findings[0]
            .as_str()
            .unwrap()
            .contains("its clock was set ahead")
    );
    // The owner says that it is right, once.
    let right = [&prune[..], &["--longest-pause", "63"]].concat();
    assert_eq!(
        at(
            "03-05T05",
            &[&prune[..], &["--longest-pause", "61"]].concat()
        )
        .0,
        4
    );
    assert_eq!(at("03-05T05", &right).0, 0);
    assert_eq!(at("03-06T05", &prune).0, 0);
    // A clock that was set back: nothing looks as if it were over.
    assert_eq!(at("01-04T05", &prune).0, 0);
}
