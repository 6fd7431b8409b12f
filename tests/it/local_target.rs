//! What comes back into a folder: the modes and times that files had, modes like those of its neighbours; and what a folder
//! cannot hold is refused in the plan.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use deltavault::Error;
use deltavault::ExitCode;
use deltavault::plan::restore::Mode;
use deltavault::store::local::LocalStore;
use deltavault::store::memory::MemoryStore;
use deltavault::store::{Payload, WriteStore as _};
use deltavault::vault::restore::RestorePlan;
use serde_json::{Value, json};

use super::support::scene::{Scene, assert_says};
use super::support::table::Table;
use super::support::world::{
    files, hours_later, init, request, restore, restore_request, restorer, snapshotter, source,
    take,
};
use super::told_live::Lake;

async fn vault() -> Arc<MemoryStore> {
    let vault = MemoryStore::without_locks("s3://vault");
    vault.set_now(hours_later(0));
    init(&vault).await;
    Arc::new(vault)
}

async fn table(path: &Path) -> Table {
    let store = LocalStore::create(path).unwrap();
    let mut table = Table::create(Arc::new(store), "orders").await;
    table.append(3, 100).await;
    table.append(2, 100).await;
    table
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// Every file below a folder, with its permissions and its time.
fn modes_and_times(folder: &Path) -> BTreeMap<String, (u32, SystemTime)> {
    let names = files(folder).into_keys();
    names
        .map(|name| {
            let found = fs::metadata(folder.join(&name)).unwrap();
            let had = (found.mode() & 0o7777, found.modified().unwrap());
            (name, had)
        })
        .collect()
}

#[test]
fn files_have_their_modes_and_times_again_whatever_the_umask() {
    let mut lake = Lake::with_snapshot();
    lake.append();
    let past = SystemTime::UNIX_EPOCH + Duration::new(1_700_000_000, 123_456_789);
    let names = [
        ("r=a/2.parquet", 0o600),
        ("r=b/2.parquet", 0o640),
        ("_delta_log/00000000000000000002.json", 0o444),
    ];
    for (n, (name, mode)) in (1..).zip(names) {
        let path = lake.table().join(name);
        let file = fs::File::options().write(true).open(&path).unwrap();
        file.set_modified(past + n * Duration::from_hours(1))
            .unwrap();
        set_mode(&path, mode);
    }
    // Bits above the permissions are not given back.
    lake.append();
    set_mode(&lake.table().join("r=b/3.parquet"), 0o4755);
    lake.ends(&["snapshot", "lake/t"], 0);
    let mut had = modes_and_times(&lake.table());
    had.get_mut("r=b/3.parquet").unwrap().0 = 0o755;
    // The mode alone is no reason to read a file again: it is held as it was first seen.
    set_mode(&lake.table().join("r=a/2.parquet"), 0o444);
    lake.ends(&["snapshot", "lake/t"], 0);

    for (umask, target) in [
        ("077", "copy 1"),
        ("000", "copy 2"),
        ("077", ""),
        ("000", ""),
    ] {
        let words = if target.is_empty() {
            fs::remove_dir_all(lake.table()).unwrap();
            vec!["restore", "lake/t", "--latest", "--yes"]
        } else {
            vec!["restore", "lake/t", "--latest", "--yes", "--to", target]
        };
        let output = Command::new("sh")
            .args(["-c", "umask $0; exec \"$@\"", umask])
            .args([env!("CARGO_BIN_EXE_deltavault"), "--vault", "vault"])
            .args(words)
            .current_dir(lake.folder())
            .env_clear()
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        let found = if target.is_empty() {
            lake.table()
        } else {
            lake.folder().join(target)
        };
        assert_eq!(modes_and_times(&found), had, "{umask} {target:?}");
    }
}

#[test]
fn a_file_under_a_newer_table_keeps_the_time_at_which_it_came_back() {
    let mut lake = Lake::with_snapshot();
    let path = lake.table().join("r=a/1.parquet");
    set_mode(&path, 0o640);
    lake.delete_partition_a();
    let before = fs::metadata(&path).unwrap().modified().unwrap();
    fs::remove_file(&path).unwrap();
    lake.ends(
        &["restore", "lake/t", "--version", "1", "--heal", "--yes"],
        0,
    );
    // By its old time the next VACUUM would remove it: no version that it looks at names it.
    assert!(fs::metadata(&path).unwrap().modified().unwrap() > before);
}

#[tokio::test]
async fn what_comes_back_from_s3_has_the_modes_of_its_neighbours() {
    // Of the folder that the table is in, of folders that come back in it, of files.
    for (above, folders, files) in [
        (0o2775, 0o2775, 0o664),
        (0o750, 0o755, 0o644),
        (0o2770, 0o2775, 0o664),
        (0o1777, 0o755, 0o644),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let lake = folder.path().join("lake");
        fs::create_dir(&lake).unwrap();
        let path = lake.join("orders");
        let on_s3 = Arc::new(MemoryStore::new("s3://lake/orders"));
        let mut table = Table::create(on_s3.clone(), "orders").await;
        table.append(3, 100).await;
        let vault = vault().await;
        let snapshotter = snapshotter(vault.clone()).await.unwrap();
        let request = request("s3://lake/orders", 0);
        let done = snapshotter.take(&source(on_s3), &request).await.unwrap();
        set_mode(&lake, above);
        restore(vault, &done, &path, Mode::To).await.unwrap();
        for name in ["", "_delta_log", "part=1"] {
            assert_eq!(mode(&path.join(name)), folders, "{above:o} {name:?}");
        }
        for name in table.names("").await {
            assert_eq!(mode(&path.join(&name)), files, "{above:o} {name}");
        }
    }
}

#[tokio::test]
async fn files_that_need_a_new_folder_at_once_all_get_their_modes_from_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("table");
    fs::create_dir(&path).unwrap();
    set_mode(&path, 0o2775);
    let store = LocalStore::open(&path).unwrap();
    for round in 0..100 {
        let puts = (0..4).map(|file| {
            let key = format!("part={round}/{file}").parse().unwrap();
            let (store, payload) = (store.clone(), Payload::from_bytes("bytes"));
            async move { store.put_new(&key, &payload, None).await }
        });
        for put in futures::future::join_all(puts).await {
            put.unwrap();
        }
    }
    for round in 0..100 {
        for file in 0..4 {
            let made = mode(&path.join(format!("part={round}/{file}")));
            assert_eq!(made, 0o664, "{round} {file}");
        }
    }
}

#[tokio::test]
async fn a_vault_takes_no_modes_from_its_neighbours() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vault");
    fs::create_dir(&path).unwrap();
    set_mode(&path, 0o2775);
    let store = LocalStore::open(&path).unwrap().with_read_only_files();
    init(&store).await;
    assert_eq!(mode(&path.join("vault.json")) & 0o222, 0);
    let orders = folder.path().join("orders");
    table(&orders).await;
    take(Arc::new(store), &orders, 0).await.unwrap();
    let made = mode(&path.join("tables"));
    assert_eq!(made & 0o020, 0, "{made:o}");
}

#[tokio::test]
async fn commits_get_their_times_back_also_where_they_were_broken() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("orders");
    let table = table(&path).await;
    let commits = table.names("_delta_log/").await;
    assert_eq!(commits.len(), 3);
    let past = SystemTime::UNIX_EPOCH + Duration::new(1_700_000_000, 123_456_789);
    for (n, name) in (1..).zip(&commits) {
        let file = fs::File::options()
            .write(true)
            .open(path.join(name))
            .unwrap();
        file.set_modified(past + n * Duration::from_hours(1))
            .unwrap();
    }
    let vault = vault().await;
    let done = take(vault.clone(), &path, 0).await.unwrap();
    let to = folder.path().join("copy");
    for (target, mode) in [(&path, Mode::InPlace), (&to, Mode::To)] {
        fs::remove_dir_all(target).ok();
        let plan = plan(vault.clone(), &done, target, mode).await.unwrap();
        assert_eq!(plan.new_times, 0, "no time is new");
        restore(vault.clone(), &done, target, mode).await.unwrap();
        for (n, name) in (1..).zip(&commits) {
            let found = fs::metadata(target.join(name)).unwrap().modified().unwrap();
            assert_eq!(found, past + n * Duration::from_hours(1), "{name}");
        }
    }
    // One that nobody can read is replaced by one of the right time.
    let broken = path.join(&commits[1]);
    set_mode(&broken, 0o600);
    fs::write(&broken, b"").unwrap();
    let plan = plan(vault.clone(), &done, &path, Mode::InPlace)
        .await
        .unwrap();
    assert_eq!((plan.wrong.files, plan.new_times), (1, 0));
    restore(vault.clone(), &done, &path, Mode::InPlace)
        .await
        .unwrap();
    let found = fs::metadata(&broken).unwrap().modified().unwrap();
    assert_eq!(found, past + 2 * Duration::from_hours(1));
    assert_eq!(mode(&broken), 0o644);
    let on_s3 = MemoryStore::new("s3://copy/orders");
    let restorer = restorer(vault, Arc::new(on_s3)).await.unwrap();
    let request = restore_request(&done, Mode::To, 1);
    assert_eq!(restorer.plan(&request).await.unwrap().new_times, 3);
}

async fn plan(
    vault: Arc<MemoryStore>,
    done: &deltavault::vault::snapshot::SnapshotDone,
    target: &Path,
    mode: Mode,
) -> Result<RestorePlan, Error> {
    let store = LocalStore::open(target)?;
    let restorer = restorer(vault, Arc::new(store)).await?;
    restorer.plan(&restore_request(done, mode, 1)).await
}

fn add(path: &str) -> Value {
    json!({"add": {"path": path, "partitionValues": {}, "size": 5, "modificationTime": 1_760_000_000_000_u64,
        "dataChange": true}})
}

#[tokio::test]
async fn names_that_a_folder_cannot_hold_are_refused_in_the_plan_and_nothing_is_made() {
    let long = "x".repeat(256);
    let longest = format!("{}.parquet", "x".repeat(247));
    let umlauts = "ü".repeat(128);
    let below_long = format!("p={long}/a.parquet");
    let cases: [(&[&str], &str); 8] = [
        (&[&long], "255 bytes"),
        (&[&umlauts], "255 bytes"),
        (&[&below_long], "255 bytes"),
        (&["a", "a-b", "a/b"], "below another file, a"),
        (
            &["p=1/f", "p=1/f.x", "p=1/f/y/z"],
            "below another file, p=1/f",
        ),
        (&[".deltavault-x"], "reserved"),
        (&[&longest], ""),
        (&["a", "ab", "a-/b"], ""),
    ];
    for (names, why) in cases {
        let mut scene = Scene::set().await;
        let adds: Vec<Value> = names.iter().map(|name| add(name)).collect();
        for name in names {
            scene.table.put(name, b"right".to_vec()).await;
        }
        scene.table.commit("WRITE", adds).await;
        let done = scene.take(24).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("copy");
        let store = Arc::new(LocalStore::open(&target).unwrap());
        let restorer = scene.restorer(store).await;
        let planned = restorer.plan(&restore_request(&done, Mode::To, 1)).await;
        if why.is_empty() {
            planned.unwrap();
            continue;
        }
        let error = planned.unwrap_err();
        let last = names.last().unwrap();
        assert_says(&error, ExitCode::Failed, &["cannot hold", last, why]);
        assert!(error.hint().unwrap().contains("s3://"));
        assert!(!target.exists());
    }
}

#[tokio::test]
async fn a_partition_that_is_a_link_to_another_disk_gets_a_hint_that_helps() {
    for name in ["part=1", "_delta_log"] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("orders");
        table(&path).await;
        let elsewhere = folder.path().join("elsewhere");
        fs::rename(path.join(name), &elsewhere).unwrap();
        symlink(&elsewhere, path.join(name)).unwrap();
        let error = take(vault().await, &path, 0).await.unwrap_err();
        assert_says(
            &error,
            ExitCode::Failed,
            &[&format!(
                "a symbolic link leads out of the folder: {}",
                path.join(name).display()
            )],
        );
        let hint = error.hint().unwrap();
        assert!(hint.contains("mount --bind"), "{hint}");
        assert!(!hint.contains("S3"), "{hint}");
    }
}
