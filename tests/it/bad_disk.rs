//! Disks that are full or read-only, under the vault and under a restore's target: a clear error, nothing half made
//! that shows, and the same command finishes once there is room.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use deltavault::Error;
use deltavault::ExitCode;
use deltavault::plan::restore::Mode;
use deltavault::store::local::LocalStore;
use deltavault::store::{RestoreStore, WriteStore};
use deltavault::vault::snapshot::SnapshotDone;

use super::support::scene::{LARGE, assert_holds, assert_says};
use super::support::table::Table;
use super::support::world::{files, init, restore, take};

/// A small disk of its own, unmounted when the test ends.
struct Disk(PathBuf);

impl Disk {
    /// `None`, and a word about it, where disks cannot be made.
    fn mount(path: &Path, size: &str) -> Option<Self> {
        fs::create_dir(path).unwrap();
        let options = format!("size={size}");
        let made = run(&["mount", "-t", "tmpfs", "-o", &options, "tmpfs"], path);
        if !made {
            println!("SKIPPED: a disk of {size} cannot be mounted here; run as root");
        }
        made.then(|| Self(path.to_owned()))
    }

    fn remount(&self, options: &str) {
        let options = format!("remount,{options}");
        assert!(run(&["mount", "-o", &options], &self.0));
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        run(&["umount"], &self.0);
    }
}

fn run(command: &[&str], path: &Path) -> bool {
    let output = Command::new(command[0])
        .args(&command[1..])
        .arg(path)
        .output();
    output.is_ok_and(|output| output.status.success())
}

/// A table of some megabytes, in files large and small.
async fn table(path: &Path) -> Table {
    let store: Arc<dyn RestoreStore> = Arc::new(LocalStore::create(path).unwrap());
    let mut table = Table::create(store, "orders").await;
    table.append(3, 200).await;
    table.append(2, LARGE).await;
    table
}

async fn new_vault(path: &Path) -> Arc<dyn WriteStore> {
    let vault = LocalStore::create(path).unwrap();
    init(&vault).await;
    Arc::new(vault)
}

async fn restored(
    vault: &Arc<dyn WriteStore>,
    done: &SnapshotDone,
    path: &Path,
) -> Result<(), Error> {
    restore(vault.clone(), done, path, Mode::To)
        .await
        .map(|_| ())
}

#[tokio::test]
async fn a_full_disk_under_the_vault_is_named_and_a_run_with_room_finishes() {
    let folder = tempfile::tempdir().unwrap();
    let Some(disk) = Disk::mount(&folder.path().join("small"), "400k") else {
        return;
    };
    let vault = new_vault(&disk.0.join("vault")).await;
    let path = folder.path().join("orders");
    let mut table = table(&path).await;
    let before = files(&path);
    for _ in 0..2 {
        let error = take(vault.clone(), &path, 0).await.unwrap_err();
        assert_says(
            &error,
            ExitCode::Failed,
            &["create", "blobs/", "no space left"],
        );
        assert!(error.hint().unwrap().contains("make room"));
        assert_eq!(files(&path), before);
        let records = files(&disk.0)
            .into_keys()
            .filter(|name| name.contains("/ledger/"));
        assert_eq!(records.count(), 0);
    }
    disk.remount("size=20m");
    let first = take(vault.clone(), &path, 1).await.unwrap();
    let held = table.closure().await;
    restored(&vault, &first, &folder.path().join("to"))
        .await
        .unwrap();
    assert_holds(&files(&folder.path().join("to")), &held);

    // Full again with a snapshot in it: that one is as safe as before.
    disk.remount("size=4m");
    table.append(3, LARGE).await;
    let error = take(vault.clone(), &path, 2).await.unwrap_err();
    assert_says(&error, ExitCode::Failed, &["no space left"]);
    restored(&vault, &first, &folder.path().join("again"))
        .await
        .unwrap();
    assert_holds(&files(&folder.path().join("again")), &held);
    disk.remount("size=20m");
    let second = take(vault.clone(), &path, 3).await.unwrap();
    assert_eq!(second.record.seq, 2);
}

#[tokio::test]
async fn a_full_disk_under_the_target_is_named_and_a_run_with_room_finishes() {
    let folder = tempfile::tempdir().unwrap();
    let vault = new_vault(&folder.path().join("vault")).await;
    let path = folder.path().join("orders");
    let table = table(&path).await;
    let done = take(vault.clone(), &path, 0).await.unwrap();
    let Some(disk) = Disk::mount(&folder.path().join("small"), "1500k") else {
        return;
    };
    let target = disk.0.join("to");
    for _ in 0..2 {
        let error = restored(&vault, &done, &target).await.unwrap_err();
        assert_says(&error, ExitCode::Failed, &["create", "no space left"]);
        let there = files(&target);
        assert!(
            there.keys().all(|name| !name.starts_with("_delta_log/")),
            "a log before its data"
        );
        let held = table.closure().await;
        for (name, bytes) in there
            .iter()
            .filter(|(name, _)| !name.starts_with("_deltavault/"))
        {
            assert_eq!(held.get(name), Some(bytes), "{name}");
        }
    }
    disk.remount("size=20m");
    restored(&vault, &done, &target).await.unwrap();
    assert_holds(&files(&target), &table.closure().await);
}

#[tokio::test]
async fn a_read_only_vault_can_be_restored_from_and_refuses_snapshots_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let Some(disk) = Disk::mount(&folder.path().join("disk"), "20m") else {
        return;
    };
    let vault = new_vault(&disk.0.join("vault")).await;
    let path = folder.path().join("orders");
    let mut table = table(&path).await;
    let done = take(vault.clone(), &path, 0).await.unwrap();
    let held = table.closure().await;
    table.append(1, 100).await;
    disk.remount("ro");
    let before = files(&disk.0);
    let error = take(vault.clone(), &path, 1).await.unwrap_err();
    assert_says(&error, ExitCode::Failed, &["create", "read-only"]);
    assert!(error.hint().unwrap().contains("writable"));
    assert_eq!(files(&disk.0), before);
    let target = folder.path().join("to");
    restored(&vault, &done, &target).await.unwrap();
    assert_holds(&files(&target), &held);
}

#[tokio::test]
async fn a_read_only_target_is_named_and_nothing_is_claimed() {
    let folder = tempfile::tempdir().unwrap();
    let vault = new_vault(&folder.path().join("vault")).await;
    let path = folder.path().join("orders");
    let table = table(&path).await;
    let done = take(vault.clone(), &path, 0).await.unwrap();
    let Some(disk) = Disk::mount(&folder.path().join("disk"), "20m") else {
        return;
    };
    let target = disk.0.join("to");
    fs::create_dir(&target).unwrap();
    disk.remount("ro");
    let error = restored(&vault, &done, &target).await.unwrap_err();
    assert_says(
        &error,
        ExitCode::Failed,
        &["_deltavault/claim-1", "read-only"],
    );
    assert!(files(&target).is_empty());
    disk.remount("rw");
    restored(&vault, &done, &target).await.unwrap();
    assert_holds(&files(&target), &table.closure().await);
}

#[tokio::test]
async fn a_source_on_a_read_only_disk_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let vault = new_vault(&folder.path().join("vault")).await;
    let Some(disk) = Disk::mount(&folder.path().join("disk"), "20m") else {
        return;
    };
    let path = disk.0.join("orders");
    let table = table(&path).await;
    disk.remount("ro");
    let done = take(vault.clone(), &path, 0).await.unwrap();
    let target = folder.path().join("to");
    restored(&vault, &done, &target).await.unwrap();
    assert_holds(&files(&target), &table.closure().await);
}
