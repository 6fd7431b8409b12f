//! What only a store in a folder has: links, permissions, temporary files, a disk that fills up.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use deltavault::store::local::LocalStore;
use deltavault::store::{
    Deletion, Payload, PayloadData, PruneStore, ReadStore, RestoreStore, StoreErrorKind, WriteStore,
};
use futures::stream::TryStreamExt;
use tempfile::TempDir;

use crate::store_conformance::{assert_fails, content, key, names, put};

fn store() -> (TempDir, LocalStore) {
    let folder = tempfile::tempdir().unwrap();
    let store = LocalStore::create(&folder.path().join("root")).unwrap();
    (folder, store)
}

/// Makes a pipe, whose reader would wait for ever.
pub(crate) fn make_pipe(path: &Path) {
    let (kind, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR);
    rustix::fs::mknodat(rustix::fs::CWD, path, kind, mode, 0).unwrap();
}

/// Every path below a folder, hidden ones too.
fn tree(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.is_symlink() {
            found.extend(tree(&path));
        }
        found.push(path);
    }
    found
}

async fn try_list(
    store: &LocalStore,
    prefix: &str,
) -> Result<usize, deltavault::store::StoreError> {
    let rows: Vec<_> = store.list(prefix, None).try_collect().await?;
    Ok(rows.len())
}

#[tokio::test]
async fn links_out_of_the_root_are_refused_by_every_call() {
    let (folder, store) = store();
    let outside = folder.path().join("root-outside");
    fs::create_dir_all(outside.join("sub")).unwrap();
    fs::write(outside.join("secret"), "secret").unwrap();
    put(&store, "log/0", "0").await;
    symlink(&outside, store.path().join("out")).unwrap();
    fs::create_dir(store.path().join("data")).unwrap();
    symlink("../../root-outside/secret", store.path().join("data/file")).unwrap();
    let before = tree(&outside);

    let payload = Payload::from_bytes("x");
    let seen = store.attributes(&key("log/0"), None).await.unwrap().etag;
    for name in ["out/secret", "data/file"] {
        let name = key(name);
        assert_fails!(
            store.open(&name, None, None).await,
            StoreErrorKind::InvalidKey { .. } | StoreErrorKind::InTheWay { .. }
        );
        assert_fails!(
            store.attributes(&name, None).await,
            StoreErrorKind::InvalidKey { .. } | StoreErrorKind::InTheWay { .. }
        );
        assert_fails!(
            store.put_new(&name, &payload, None).await,
            StoreErrorKind::InvalidKey { .. } | StoreErrorKind::InTheWay { .. }
        );
        assert_fails!(
            store.replace(&name, &payload, &seen).await,
            StoreErrorKind::InvalidKey { .. } | StoreErrorKind::InTheWay { .. }
        );
        assert_fails!(
            store.remove(&name, &seen).await,
            StoreErrorKind::InvalidKey { .. } | StoreErrorKind::InTheWay { .. }
        );
    }
    for name in ["out/new", "out/new/folder/x", "out/sub/x"] {
        assert_fails!(
            store.put_new(&key(name), &payload, None).await,
            StoreErrorKind::InvalidKey { .. } | StoreErrorKind::InTheWay { .. }
        );
    }
    for prefix in ["", "out", "out/", "out/sub/", "data/"] {
        assert_fails!(
            try_list(&store, prefix).await,
            StoreErrorKind::InvalidKey { .. } | StoreErrorKind::InTheWay { .. }
        );
    }
    assert_eq!(names(&store, "log/", None).await, ["log/0"]);
    assert_eq!(tree(&outside), before);
    assert_eq!(fs::read(outside.join("secret")).unwrap(), b"secret");
}

#[tokio::test]
async fn links_that_stay_inside_are_followed() {
    let (_folder, store) = store();
    put(&store, "real/a", "a").await;
    symlink(store.path().join("real"), store.path().join("link")).unwrap();
    symlink("real/a", store.path().join("file")).unwrap();
    symlink("nowhere", store.path().join("dangling")).unwrap();
    assert_eq!(content(&store, "link/a").await, "a");
    assert_eq!(content(&store, "file").await, "a");
    put(&store, "link/sub/b", "b").await;
    assert_eq!(content(&store, "real/sub/b").await, "b");
    let expected = ["file", "link/a", "link/sub/b", "real/a", "real/sub/b"];
    assert_eq!(names(&store, "", None).await, expected);
    let payload = Payload::from_bytes("new");
    assert_fails!(
        store.put_new(&key("file"), &payload, None).await,
        StoreErrorKind::AlreadyExists
    );
    assert_fails!(
        store.put_new(&key("dangling"), &payload, None).await,
        StoreErrorKind::InvalidKey { .. } | StoreErrorKind::InTheWay { .. }
    );
    assert_fails!(
        store.attributes(&key("dangling"), None).await,
        StoreErrorKind::NotFound
    );
    let seen = store.attributes(&key("file"), None).await.unwrap().etag;
    store.replace(&key("file"), &payload, &seen).await.unwrap();
    assert_eq!(content(&store, "file").await, "new");
    assert_eq!(content(&store, "real/a").await, "a");
}

#[tokio::test]
async fn what_is_replaced_or_removed_under_the_name_of_a_link_is_the_link() {
    let folder = tempfile::tempdir().unwrap();
    let store = LocalStore::create(&folder.path().join("table")).unwrap();
    put(&store, "folder/target", "kept").await;
    for name in ["replaced", "removed", "deleted"] {
        symlink("folder/target", store.path().join(name)).unwrap();
    }
    let seen = store.attributes(&key("replaced"), None).await.unwrap().etag;
    let payload = Payload::from_bytes("new");
    store
        .replace(&key("replaced"), &payload, &seen)
        .await
        .unwrap();
    store.remove(&key("removed"), &seen).await.unwrap();
    let outcomes = store.delete_versions(&[(key("deleted"), None)]).await;
    assert_eq!(outcomes.unwrap(), [Deletion::Deleted]);
    assert_eq!(content(&store, "folder/target").await, "kept");
    assert_eq!(content(&store, "replaced").await, "new");
    let mut files = tree(store.path());
    files.retain(|path| !path.is_dir());
    assert_eq!(files.len(), 2, "{files:?}");
}

#[tokio::test]
async fn links_in_a_circle_are_refused_and_not_walked_for_ever() {
    let (_folder, store) = store();
    put(&store, "a/x", "x").await;
    put(&store, "b/x", "x").await;
    symlink("../b", store.path().join("a/to-b")).unwrap();
    symlink("../a", store.path().join("b/to-a")).unwrap();
    symlink("self", store.path().join("self")).unwrap();
    for prefix in ["a/", "b/", "a/to-b/"] {
        assert_fails!(
            try_list(&store, prefix).await,
            StoreErrorKind::InvalidKey { .. } | StoreErrorKind::InTheWay { .. }
        );
    }
    assert_fails!(
        store.open(&key("self/x"), None, None).await,
        StoreErrorKind::InvalidKey { .. } | StoreErrorKind::InTheWay { .. }
    );
}

#[tokio::test]
async fn a_link_that_cannot_be_followed_ends_the_listing_of_a_table_and_is_an_object_of_a_vault() {
    for (name, target) in [
        ("out", "/etc"),
        ("file", "/etc/passwd"),
        ("loop", ".."),
        ("self", "self"),
    ] {
        let (_folder, store) = store();
        put(&store, "folder/a", "a").await;
        put(&store, "folder/z", "z").await;
        symlink(target, store.path().join("folder").join(name)).unwrap();
        assert_fails!(
            store.list("folder/", None).try_collect::<Vec<_>>().await,
            StoreErrorKind::InTheWay { .. } | StoreErrorKind::InvalidKey { .. }
        );
        let vault = store.with_read_only_files();
        let link = format!("folder/{name}");
        assert_eq!(
            names(&vault, "folder/", None).await,
            ["folder/a", &link, "folder/z"]
        );
        let link = key(&link);
        assert_fails!(
            vault.open(&link, None, None).await,
            StoreErrorKind::InTheWay { .. }
                | StoreErrorKind::InvalidKey { .. }
                | StoreErrorKind::NotFound
        );
        let deleted = vault.delete_versions(&[(link, None)]).await.unwrap();
        assert_eq!(deleted, [Deletion::Deleted]);
        assert_eq!(
            names(&vault, "folder/", None).await,
            ["folder/a", "folder/z"]
        );
        assert!(Path::new("/etc/passwd").exists());
    }
}

#[tokio::test]
async fn a_root_behind_a_link_is_named_by_its_real_path() {
    let (folder, real) = store();
    let link = folder.path().join("link");
    symlink(real.path(), &link).unwrap();
    let store = LocalStore::open(&link.join("../link/.")).unwrap();
    assert_eq!(store.uri(), real.uri());
    assert_eq!(
        Path::new(store.uri().strip_prefix("file://").unwrap()),
        fs::canonicalize(folder.path()).unwrap().join("root")
    );
}

#[tokio::test]
async fn an_absent_root_reads_as_empty_and_is_made_only_on_demand() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("not/yet");
    let store = LocalStore::open(&path).unwrap();
    assert_eq!(try_list(&store, "").await.unwrap(), 0);
    assert_fails!(
        store.attributes(&key("a"), None).await,
        StoreErrorKind::NotFound
    );
    let payload = Payload::from_bytes("x");
    assert_fails!(
        store.put_new(&key("a"), &payload, None).await,
        StoreErrorKind::Unsupported { .. }
    );
    assert!(!path.exists());
    LocalStore::create(&path).unwrap();
    put(&store, "a", "x").await;

    fs::write(folder.path().join("file"), "").unwrap();
    for unusable in ["file", "file/below", "absent/../up"] {
        assert!(LocalStore::create(&folder.path().join(unusable)).is_err());
    }
    assert!(LocalStore::open(Path::new("/")).is_err());
}

#[tokio::test]
async fn keys_that_are_no_paths_are_refused() {
    let (folder, store) = store();
    let payload = Payload::from_bytes("x");
    let long = "x".repeat(256);
    for name in [
        "../escape",
        "a/../b",
        "a/./b",
        "a//b",
        "a/",
        ".",
        "..",
        &long,
    ] {
        let name = key(name);
        assert_fails!(
            store.put_new(&name, &payload, None).await,
            StoreErrorKind::InvalidKey { .. } | StoreErrorKind::InTheWay { .. }
        );
        assert_fails!(
            store.open(&name, None, None).await,
            StoreErrorKind::InvalidKey { .. } | StoreErrorKind::InTheWay { .. }
        );
    }
    assert_eq!(tree(folder.path()), [store.path()]);
}

#[tokio::test]
async fn an_object_below_an_object_is_refused_and_so_is_one_where_a_folder_is() {
    let (_folder, store) = store();
    put(&store, "a", "a").await;
    put(&store, "b/c", "c").await;
    let payload = Payload::from_bytes("x");
    for name in ["a/b", "a/b/c", "b"] {
        let error = store.put_new(&key(name), &payload, None).await.unwrap_err();
        assert!(
            matches!(
                error.kind,
                StoreErrorKind::InvalidKey { .. } | StoreErrorKind::InTheWay { .. }
            ),
            "{error:?}"
        );
        assert!(error.is_permanent());
    }
    assert_eq!(names(&store, "", None).await, ["a", "b/c"]);
}

#[tokio::test]
async fn a_failed_put_leaves_nothing_and_a_killed_one_nothing_that_shows() {
    let (_folder, store) = store();
    put(&store, "folder/a", "a").await;
    let mut payload = Payload::from_bytes("announced");
    payload.data = PayloadData::Bytes("something else".into());
    assert_fails!(
        store.put_new(&key("folder/b"), &payload, None).await,
        StoreErrorKind::WrongDigest { .. }
    );
    let taken = Payload::from_bytes("x");
    assert_fails!(
        store.put_new(&key("folder/a"), &taken, None).await,
        StoreErrorKind::AlreadyExists
    );
    let root = store.path();
    let mut expected = vec![root.join("folder"), root.join("folder/a")];
    let mut found = tree(root);
    found.sort();
    assert_eq!(found, expected);

    // As a killed run leaves them.
    let leftover = ".deltavault-tmp-0123";
    fs::write(root.join("folder").join(leftover), "half").unwrap();
    fs::create_dir(root.join(".deltavault-tmp")).unwrap();
    expected.pop();
    assert_eq!(names(&store, "", None).await, ["folder/a"]);
    assert!(names(&store, "folder/.d", None).await.is_empty());
    assert!(names(&store, ".deltavault-tmp/", None).await.is_empty());
    let hidden = key(&format!("folder/{leftover}"));
    assert_fails!(
        store.open(&hidden, None, None).await,
        StoreErrorKind::InvalidKey { .. } | StoreErrorKind::InTheWay { .. }
    );
    assert_fails!(
        store.put_new(&hidden, &taken, None).await,
        StoreErrorKind::InvalidKey { .. } | StoreErrorKind::InTheWay { .. }
    );
}

#[tokio::test]
async fn files_of_a_vault_are_read_only_and_those_of_a_table_are_not() {
    let (_folder, table) = store();
    fs::set_permissions(table.path(), fs::Permissions::from_mode(0o700)).unwrap();
    let vault = table.clone().with_read_only_files();
    put(&vault, "vault", "x").await;
    put(&table, "table", "x").await;
    let mode = |name: &str| {
        let found = fs::metadata(table.path().join(name)).unwrap();
        found.permissions().mode() & 0o777
    };
    fs::write(table.path().join("plain"), "").unwrap();
    assert_eq!(mode("table"), mode("plain"), "as the umask has it");
    assert_eq!(mode("vault"), 0o400, "as the folder has it");
    fs::set_permissions(table.path(), fs::Permissions::from_mode(0o755)).unwrap();
    put(&vault, "open", "x").await;
    assert_eq!(
        mode("open"),
        mode("plain") & 0o444,
        "as the umask has it, too"
    );

    fs::set_permissions(
        table.path().join("table"),
        fs::Permissions::from_mode(0o640),
    )
    .unwrap();
    let seen = table.attributes(&key("table"), None).await.unwrap().etag;
    let payload = Payload::from_bytes("new");
    table.replace(&key("table"), &payload, &seen).await.unwrap();
    assert_eq!(mode("table"), 0o640, "a replaced file keeps its mode");
}

#[tokio::test]
async fn names_that_no_key_can_express_are_passed_over_and_so_are_pipes_in_a_table() {
    use std::os::unix::ffi::OsStrExt;
    let (_folder, store) = store();
    put(&store, "new\nline/a", "a").await;
    let latin1 = std::ffi::OsStr::from_bytes(b"caf\xe9");
    fs::write(store.path().join(latin1), "").unwrap();
    make_pipe(&store.path().join("pipe"));
    assert_eq!(names(&store, "", None).await, ["new\nline/a"]);
    assert_fails!(
        store.open(&key("pipe"), None, None).await,
        StoreErrorKind::InvalidKey { .. } | StoreErrorKind::InTheWay { .. }
    );
    assert_fails!(
        store.attributes(&key("pipe"), None).await,
        StoreErrorKind::InvalidKey { .. } | StoreErrorKind::InTheWay { .. }
    );
    let vault = store.with_read_only_files();
    assert_eq!(names(&vault, "", None).await, ["new\nline/a", "pipe"]);
    let pipe = (key("pipe"), None);
    vault.delete_versions(&[pipe]).await.unwrap();
    assert_eq!(names(&vault, "", None).await, ["new\nline/a"]);
}

#[tokio::test]
async fn a_long_listing_goes_on_over_batches() {
    let (_folder, store) = store();
    for folder in ["a", "b", "c"] {
        fs::create_dir(store.path().join(folder)).unwrap();
        for number in 0..700 {
            fs::write(store.path().join(folder).join(format!("{number:03}")), "").unwrap();
        }
    }
    let all = names(&store, "", None).await;
    assert_eq!(all.len(), 2100);
    assert!(all.is_sorted());
    assert_eq!(names(&store, "", Some("b/349")).await, all[1050..]);
    assert_eq!(names(&store, "b/3", None).await, all[1000..1100]);
}

#[tokio::test]
async fn a_file_that_shrinks_while_it_is_read_is_an_error() {
    let (_folder, store) = store();
    put(&store, "a", vec![7; 3 << 20]).await;
    let mut body = store.open(&key("a"), None, None).await.unwrap().body;
    body.try_next().await.unwrap().unwrap();
    let file = fs::File::options()
        .write(true)
        .open(store.path().join("a"))
        .unwrap();
    file.set_len(3 << 19).unwrap();
    assert_fails!(body.try_next().await, StoreErrorKind::InvalidRange);
}

#[tokio::test]
async fn a_file_touched_by_others_has_another_tag() {
    let (_folder, store) = store();
    put(&store, "a", "old").await;
    let seen = store.attributes(&key("a"), None).await.unwrap().etag;
    fs::write(store.path().join("a"), "other").unwrap();
    let payload = Payload::from_bytes("new");
    assert_fails!(
        store.replace(&key("a"), &payload, &seen).await,
        StoreErrorKind::Changed
    );
    assert_fails!(
        store.remove(&key("a"), &seen).await,
        StoreErrorKind::Changed
    );
    assert_eq!(content(&store, "a").await, "other");
}

#[tokio::test]
async fn replace_and_remove_wait_for_who_holds_the_file_and_look_again() {
    let (_folder, store) = store();
    for is_removal in [false, true] {
        let name = key(&format!("a-{is_removal}"));
        put(&store, name.as_str(), "old").await;
        let seen = store.attributes(&name, None).await.unwrap().etag;
        let path = store.path().join(name.as_str());
        let held = fs::File::open(&path).unwrap();
        held.lock().unwrap();
        let (waiting_store, waiting_name) = (store.clone(), name.clone());
        let waiting = tokio::spawn(async move {
            if is_removal {
                return waiting_store.remove(&waiting_name, &seen).await;
            }
            let payload = Payload::from_bytes("late");
            let replaced = waiting_store.replace(&waiting_name, &payload, &seen).await;
            replaced.map(|_| ())
        });
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(!waiting.is_finished());
        fs::write(store.path().join("new"), "first").unwrap();
        fs::rename(store.path().join("new"), &path).unwrap();
        drop(held);
        assert_fails!(waiting.await.unwrap(), StoreErrorKind::Changed);
        assert_eq!(content(&store, name.as_str()).await, "first");
    }
}

#[tokio::test]
async fn many_may_share_the_lock_and_one_may_have_it_alone() {
    let (_folder, store) = store();
    let first = store.try_lock_shared().unwrap().unwrap();
    let second = store.try_lock_shared().unwrap().unwrap();
    assert!(store.try_lock_exclusive().unwrap().is_none());
    drop(first);
    assert!(store.try_lock_exclusive().unwrap().is_none());
    drop(second);
    let alone = store.try_lock_exclusive().unwrap().unwrap();
    assert!(store.try_lock_shared().unwrap().is_none());
    assert!(store.try_lock_exclusive().unwrap().is_none());
    drop(alone);
    assert!(store.try_lock_shared().unwrap().is_some());
    assert!(names(&store, "", None).await.is_empty());
}

#[tokio::test]
async fn a_folder_that_may_not_be_written_to_is_denied() {
    let (_folder, store) = store();
    put(&store, "closed/a", "a").await;
    let closed = store.path().join("closed");
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o555)).unwrap();
    let payload = Payload::from_bytes("x");
    let result = store.put_new(&key("closed/b"), &payload, None).await;
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o755)).unwrap();
    if result.is_ok() {
        eprintln!("skipped: this user (root?) may write into a read-only folder");
        return;
    }
    assert_fails!(result, StoreErrorKind::Denied { .. });
    assert_eq!(names(&store, "", None).await, ["closed/a"]);
}

/// A small file system of its own, unmounted in the end.
struct Mounted(TempDir);

impl Mounted {
    /// `None`, having said so, where mounting is not allowed.
    fn tmpfs() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mounted = run(Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=64k", "tmpfs"])
            .arg(folder.path()));
        if !mounted {
            eprintln!("skipped: a small file system can be mounted by root only");
        }
        mounted.then_some(Self(folder))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        run(Command::new("umount").arg(self.0.path()));
    }
}

fn run(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}

#[tokio::test]
async fn a_full_disk_and_a_read_only_one_are_told_apart_and_leave_nothing() {
    let Some(mounted) = Mounted::tmpfs() else {
        return;
    };
    let store = LocalStore::create(&mounted.0.path().join("root")).unwrap();
    put(&store, "small", "kept").await;
    let large = Payload::from_bytes(vec![1; 200_000]);
    assert_fails!(
        store.put_new(&key("large"), &large, None).await,
        StoreErrorKind::NoSpace
    );
    let seen = store.attributes(&key("small"), None).await.unwrap().etag;
    assert_fails!(
        store.replace(&key("small"), &large, &seen).await,
        StoreErrorKind::NoSpace
    );
    assert_eq!(tree(store.path()), [store.path().join("small")]);
    put(&store, "another", "fits").await;

    let remount = ["-o", "remount,ro"];
    assert!(run(Command::new("mount")
        .args(remount)
        .arg(mounted.0.path())));
    let payload = Payload::from_bytes("x");
    for name in ["new", "folder/new"] {
        assert_fails!(
            store.put_new(&key(name), &payload, None).await,
            StoreErrorKind::ReadOnly
        );
    }
    assert_fails!(
        store.remove(&key("small"), &seen).await,
        StoreErrorKind::ReadOnly
    );
    assert_eq!(content(&store, "small").await, "kept");
}

#[tokio::test]
async fn a_folder_goes_with_the_last_object_that_it_was_made_for() {
    let folder = tempfile::tempdir().unwrap();
    let store = LocalStore::create(&folder.path().join("table")).unwrap();
    put(&store, "a/b/one", "1").await;
    put(&store, "a/two", "2").await;
    for (name, left) in [("a/b/one", "a"), ("a/two", "")] {
        let found = store.attributes(&key(name), None).await.unwrap();
        store.remove(&key(name), &found.etag).await.unwrap();
        let names: Vec<_> = fs::read_dir(store.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        assert_eq!(names.join(" "), left);
    }
    assert!(!store.path().join("a").exists());
    put(&store, "a/b/one", "again").await;
    assert_eq!(fs::read(store.path().join("a/b/one")).unwrap(), b"again");
}
