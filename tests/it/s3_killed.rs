//! The program itself, killed at its calls to a real server: what is visible is whole, and the next run, on a machine
//! that knows nothing of the first, finishes.
//!
//! The proxy holds a chosen call, before the server sees it or after it was done, and the process is killed there.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use deltavault::format::{TableKey, TableUri};
use deltavault::store::ReadStore;
use rustix::process::{Pid, Signal, kill_process};

use super::support::proxy::{Fault, Held, Proxy, S3Call};
use super::support::s3;
use super::support::s3_scene::{Scene, everything};

/// How the source is named to the program: its address is another one at each proxy.
const SOURCE: &str = "lake";

/// A call that is not answered by then will not come.
const LONGEST: Duration = Duration::from_mins(1);

/// Every `n`-th call is one to be killed at; all of them when `DELTAVAULT_TEST_ALL` is set.
fn step() -> usize {
    match std::env::var_os("DELTAVAULT_TEST_ALL") {
        Some(_) => 1,
        None => 10,
    }
}

/// The program on a machine that was never used, with `server` for its S3.
pub(crate) fn deltavault(scene: &Scene, server: &str, machine: &Path, words: &[&str]) -> Command {
    let config = machine.join("deltavault.toml");
    std::fs::write(&config, format!("[source]\nname = \"{SOURCE}\"\n")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_deltavault"));
    command
        .args(words)
        .env_clear()
        .env("DELTAVAULT_CONFIG", config)
        .env("HOME", machine)
        .env("TMPDIR", machine)
        .env("AWS_ENDPOINT_URL", server)
        .env("AWS_REGION", "us-east-1")
        .env("AWS_ACCESS_KEY_ID", &scene.server.keys.id)
        .env("AWS_SECRET_ACCESS_KEY", &scene.server.keys.secret)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Runs the program to its end, which must be a good one.
fn run(scene: &Scene, words: &[&str]) {
    let machine = tempfile::tempdir().unwrap();
    let output = deltavault(scene, &scene.server.endpoint, machine.path(), words)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{words:?}: {said}");
}

/// Kills the program when a call of it is held; `false` when it ended before.
fn kill_at(mut child: Child, held: &mut Held) -> bool {
    let until = Instant::now() + LONGEST;
    loop {
        if held.arrives_within(Duration::from_millis(5)).is_some() {
            child.kill().unwrap();
            child.wait().unwrap();
            return true;
        }
        if let Some(status) = child.try_wait().unwrap() {
            assert_eq!(status.code(), Some(0));
            return false;
        }
        assert!(Instant::now() < until, "neither held nor ended");
    }
}

/// Starts the program through a proxy that holds its `n`-th call, and kills it there.
fn killed(scene: &Scene, n: usize, fault: Fault, words: &[&str]) -> bool {
    let machine = tempfile::tempdir().unwrap();
    let proxy: Proxy = scene.server.proxy();
    let mut held = proxy.hold(n, |_| true, fault);
    let child = deltavault(scene, proxy.url(), machine.path(), words)
        .spawn()
        .unwrap();
    kill_at(child, &mut held)
}

fn key_of(scene: &Scene) -> TableKey {
    let uri: TableUri = scene.live.parse().unwrap();
    TableKey::of(SOURCE, &uri).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_killed_at_a_call_is_whole_or_not_there_and_the_next_run_finishes() {
    let Some(server) = s3::server() else { return };
    let scene = Scene::set(server).await;
    for (first, fault) in [(1, Fault::HeldBefore), (4, Fault::HeldAfter)] {
        let mut n = first;
        loop {
            let vault = scene.new_vault().await;
            let words = ["--vault", &vault, "snapshot", &scene.live];
            let died = killed(&scene, n, fault.clone(), &words);
            let before = scene.visible_of(&vault, &key_of(&scene)).await;
            assert!(before <= 1, "call {n}, {fault:?}");
            assert!(died || before == 1, "call {n}, {fault:?}");
            run(&scene, &words);
            let after = scene.visible_of(&vault, &key_of(&scene)).await;
            assert_eq!(after, before + 1, "call {n}, {fault:?}");
            run(&scene, &["--vault", &vault, "verify", "--read", "all"]);
            let target = scene.place("restored");
            let table = &scene.live;
            let words = ["restore", table, "--latest", "--to", &target, "--yes"];
            run(&scene, &[&["--vault", &vault], &words[..]].concat());
            assert_eq!(wrong(&scene, &target).await, None, "call {n}, {fault:?}");
            if !died {
                break;
            }
            n += step();
        }
        println!("{n} calls, {fault:?}: each one asked for survived");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_killed_at_a_call_shows_no_table_without_its_files_and_goes_on() {
    let Some(server) = s3::server() else { return };
    let scene = Scene::set(server).await;
    let vault = scene.new_vault().await;
    run(&scene, &["--vault", &vault, "snapshot", &scene.live]);
    for (first, fault) in [(2, Fault::HeldBefore), (5, Fault::HeldAfter)] {
        let mut n = first;
        loop {
            let target = scene.place("restored");
            let table = &scene.live;
            let words = ["restore", table, "--latest", "--to", &target, "--yes"];
            let words = [&["--vault", &vault], &words[..]].concat();
            let died = killed(&scene, n, fault.clone(), &words);
            let between = contents(&scene, &target).await;
            let own = |name: &str| name.starts_with("_deltavault/");
            for (name, bytes) in &between {
                let right = own(name) || scene.closure.get(name) == Some(bytes);
                assert!(right, "call {n}, {fault:?}: {name} is wrong");
            }
            // A reader that finds a commit finds what it needs.
            if between.keys().any(|name| name.starts_with("_delta_log/")) {
                let mut data = scene.closure.keys();
                let lacks =
                    data.find(|name| name.starts_with("part") && !between.contains_key(*name));
                assert_eq!(lacks, None, "call {n}, {fault:?}: the log came first");
            }
            // When even the claim is gone, nothing is left to be done.
            if died && between != scene.closure {
                run(&scene, &words);
            }
            assert_eq!(wrong(&scene, &target).await, None, "call {n}, {fault:?}");
            if !died {
                break;
            }
            n += step();
        }
        println!("{n} calls, {fault:?}: each one asked for survived");
    }
}

/// What the program said, and its exit code.
fn outcome(mut command: Command, user: &str) -> (Option<i32>, String) {
    let output = command.env("USER", user).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code(), said)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ctrl_c_lets_go_of_a_table_at_once_and_a_kill_blocks_nobody_but_others() {
    let Some(server) = s3::server() else { return };
    let scene = Scene::set(server).await;
    let vault = scene.new_vault().await;
    run(&scene, &["--vault", &vault, "snapshot", &scene.live]);
    for signal in [Signal::INT, Signal::KILL] {
        let target = scene.place("restored");
        let table = &scene.live;
        let words = ["restore", table, "--latest", "--to", &target, "--yes"];
        let words = [&["--vault", &vault], &words[..]].concat();
        let machine = tempfile::tempdir().unwrap();
        let proxy: Proxy = scene.server.proxy();
        let is_data = |call: &S3Call| call.operation == "PutObject" && call.key.contains("/part");
        let mut held = proxy.hold(1, is_data, Fault::HeldBefore);
        let mut child = deltavault(&scene, proxy.url(), machine.path(), &words)
            .env("USER", "ann")
            .spawn()
            .unwrap();
        let call = held.arrives_within(LONGEST).unwrap();
        let process = Pid::from_child(&child);
        kill_process(process, signal).unwrap();
        let code = child.wait().unwrap().code();
        drop(call);
        let direct = || deltavault(&scene, &scene.server.endpoint, machine.path(), &words);
        if signal == Signal::INT {
            assert_eq!(code, Some(130));
        } else {
            let (code, said) = outcome(direct(), "bob");
            assert_eq!(code, Some(11), "{said}");
            assert!(
                said.contains("ann@") && said.contains("--take-over"),
                "{said}"
            );
        }
        let user = if signal == Signal::INT { "bob" } else { "ann" };
        let (code, said) = outcome(direct(), user);
        assert_eq!(code, Some(0), "{said}");
        assert_eq!(wrong(&scene, &target).await, None, "{signal:?}");
    }
}

async fn contents(scene: &Scene, target: &str) -> BTreeMap<String, Vec<u8>> {
    everything(Arc::new(scene.store(target))).await
}

/// What is wrong with a restored table.
async fn wrong(scene: &Scene, target: &str) -> Option<String> {
    let mut found = contents(scene, target).await;
    // Of a run that was killed when all was done, a claim may be left until its time is over.
    found.retain(|name, _| !name.starts_with("_deltavault/claim-"));
    let store = scene.store(target);
    (found != scene.closure).then(|| format!("{} has {:?}", store.uri(), found.keys()))
}
