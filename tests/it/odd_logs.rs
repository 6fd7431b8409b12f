//! Random logs that are well-formed and odd: commits overwritten and lost, checkpoints with lost, dead and doubled files,
//! actions in another order, names in another spelling. Whatever a night makes of such a table, the snapshot brings back
//! what the independent reader saw before, or it says that something is odd, or it refuses.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use deltavault::ExitCode;
use deltavault::format::{EntryKind, Scope};
use deltavault::plan::verify::Severity;
use deltavault::store::ReadStore as _;
use deltavault::vault::Vault;
use deltavault::vault::snapshot::SnapshotDone;
use proptest::prelude::*;
use serde_json::Value;

use super::support::cases::cases;
use super::support::scene::{Files, Scene, take_as};
use super::support::table::{CheckpointForm, Table};
use super::support::verified::{NO_BYTES, verify};
use super::support::world::request;

/// One thing that a writer does, or that befalls the log. Numbers choose among what there is at that time.
#[derive(Debug, Clone)]
enum Op {
    Append(usize),
    Delete,
    Update,
    DeleteRows,
    Checkpoint(CheckpointForm, Lie),
    /// A checkpoint of an older version, in the place of one that was there.
    LateCheckpoint(usize, CheckpointForm, Lie),
    /// A checkpoint is lost.
    LoseCheckpoint(usize),
    /// A late writer puts another commit in the place of one.
    Overwrite(usize),
    /// A commit is lost.
    Lose(usize),
    /// The actions of a commit in the opposite order: the same commit.
    Reverse(usize),
    /// A file is written again under its name, with other bytes of its size, and added again.
    Rewrite(usize),
    /// The log's own clean-up.
    CleanUp,
    /// Data files that the independent reader does not see are deleted.
    Vacuum,
    /// A file is removed under another spelling of its name: the same file, to most readers.
    DeleteEscaped,
    Snapshot,
}

/// What a checkpoint says beside the truth.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Lie {
    None,
    Loses,
    KeepsDead,
    /// Dead files under another spelling of their names.
    RespellsDead,
    Doubles,
    IsEmpty,
    /// A file under another spelling of its name.
    Respells,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let form = prop_oneof![
        Just(CheckpointForm::Classic),
        Just(CheckpointForm::Json),
        Just(CheckpointForm::Sidecars(2)),
    ];
    let lie = prop_oneof![
        3 => Just(Lie::None),
        1 => Just(Lie::Loses),
        1 => Just(Lie::KeepsDead),
        1 => Just(Lie::RespellsDead),
        1 => Just(Lie::Doubles),
        1 => Just(Lie::IsEmpty),
        1 => Just(Lie::Respells),
    ];
    let op = prop_oneof![
        4 => (1_usize..3).prop_map(Op::Append),
        2 => Just(Op::Delete),
        1 => Just(Op::Update),
        1 => Just(Op::DeleteRows),
        1 => Just(Op::DeleteEscaped),
        4 => (form.clone(), lie.clone()).prop_map(|(form, lie)| Op::Checkpoint(form, lie)),
        1 => (any::<usize>(), form, lie)
            .prop_map(|(number, form, lie)| Op::LateCheckpoint(number, form, lie)),
        1 => any::<usize>().prop_map(Op::LoseCheckpoint),
        1 => any::<usize>().prop_map(Op::Overwrite),
        1 => any::<usize>().prop_map(Op::Lose),
        1 => any::<usize>().prop_map(Op::Reverse),
        1 => any::<usize>().prop_map(Op::Rewrite),
        1 => Just(Op::CleanUp),
        1 => Just(Op::Vacuum),
        3 => Just(Op::Snapshot),
    ];
    proptest::collection::vec(op, 1..14)
}

fn commit(version: u64) -> String {
    format!("_delta_log/{version:020}.json")
}

/// The commit that a number chooses, where there is one.
async fn chosen(table: &Table, number: usize) -> Option<String> {
    let name = commit(number as u64 % table.next);
    table.has(&name).await.then_some(name)
}

/// Whether a commit is the only trace of a file that was written again under its name.
async fn names_again(table: &Table, commit: &str) -> bool {
    String::from_utf8_lossy(&table.read(commit).await).contains("RESTORE")
}

async fn apply(scene: &mut Scene, op: &Op) {
    let table = &mut scene.table;
    match op {
        Op::Append(files) => table.append(*files, 40).await,
        Op::Delete if !table.live.is_empty() => table.delete(1).await,
        Op::Update if !table.live.is_empty() => table.update(50).await,
        Op::DeleteRows if !table.live.is_empty() => table.delete_rows(1).await,
        Op::DeleteEscaped => delete_escaped(table).await,
        Op::Checkpoint(form, lie) => checkpoint(table, *form, *lie).await,
        Op::LateCheckpoint(number, form, lie) => {
            late_checkpoint(table, *number as u64, *form, *lie).await;
        }
        Op::LoseCheckpoint(number) => {
            let all = checkpoints(table, "").await;
            if let Some(name) = all.get(number % all.len().max(1)) {
                table.remove(name).await;
            }
        }
        Op::Overwrite(number) => {
            if let Some(name) = chosen(table, *number).await
                && !names_again(table, &name).await
            {
                table.serial += 1;
                let file = format!("late-{}.parquet", table.serial);
                table.put(&file, vec![b'l'; 30]).await;
                let add = serde_json::json!({"add": {"path": file, "partitionValues": {}, "size": 30,
                    "modificationTime": 9, "dataChange": true}});
                table
                    .overwrite(&name, format!("{add}\n").into_bytes())
                    .await;
            }
        }
        Op::Lose(number) => {
            if let Some(name) = chosen(table, *number).await
                && !names_again(table, &name).await
            {
                table.remove(&name).await;
            }
        }
        Op::Reverse(number) => {
            if let Some(name) = chosen(table, *number).await {
                let text = String::from_utf8(table.read(&name).await).unwrap();
                let lines: Vec<_> = text.lines().rev().collect();
                let text = format!("{}\n", lines.join("\n"));
                table.overwrite(&name, text.into_bytes()).await;
            }
        }
        Op::Rewrite(number) => rewrite(table, *number).await,
        Op::CleanUp => table.clean_up_log().await,
        Op::Vacuum => vacuum(scene).await,
        Op::Delete | Op::Update | Op::DeleteRows | Op::Snapshot => {}
    }
}

async fn rewrite(table: &mut Table, number: usize) {
    let names: BTreeSet<_> = table.states.values().flat_map(BTreeMap::keys).collect();
    let Some(name) = names.iter().nth(number % names.len().max(1)) else {
        return;
    };
    let name = String::clone(name);
    if table.has(&name).await {
        let size = table.read(&name).await.len();
        table.serial += 1;
        let byte = u8::try_from(table.serial % 251).unwrap();
        table.overwrite(&name, vec![byte; size]).await;
        table.add_again(&name).await;
    }
}

async fn vacuum(scene: &mut Scene) {
    let Ok((_, names)) = seen(&scene.source_files().await).await else {
        return;
    };
    for name in scene.table.names("").await {
        let is_data = Path::new(&name)
            .extension()
            .is_some_and(|it| it == "parquet");
        if is_data && !name.starts_with('_') && !names.contains(&name) {
            scene.table.remove(&name).await;
        }
    }
}

async fn delete_escaped(table: &mut Table) {
    let Some(name) = table
        .live
        .iter()
        .find(|(_, add)| add.get("deletionVector").is_none())
        .map(|(name, _)| name.clone())
    else {
        return;
    };
    table.live.remove(&name);
    let path = name.replace("part-", "%70art-");
    let remove =
        serde_json::json!({"remove": {"path": path, "deletionTimestamp": 1, "dataChange": true}});
    table.commit("DELETE", vec![remove]).await;
}

async fn checkpoint(table: &mut Table, form: CheckpointForm, lie: Lie) {
    let mut said = table.live.clone();
    match lie {
        Lie::None | Lie::Doubles => {}
        Lie::Loses => drop(said.pop_first()),
        Lie::KeepsDead => said.extend(dead_files(table)),
        Lie::RespellsDead => {
            let dead = dead_files(table).into_iter();
            said.extend(dead.map(|(name, mut add)| {
                let spelled = name.replace("part-", "%70art-");
                add["path"] = spelled.clone().into();
                (spelled, add)
            }));
        }
        Lie::IsEmpty => said.clear(),
        Lie::Respells => {
            if let Some(add) = said.values_mut().next() {
                let path = add["path"].as_str().unwrap().replace("part-", "%70art-");
                add["path"] = path.into();
            }
        }
    }
    let truth = std::mem::replace(&mut table.live, said);
    table.checkpoint_as(form).await;
    table.live = truth;
    if lie == Lie::Doubles && form == CheckpointForm::Json {
        let version = table.version();
        let names = table
            .names(&format!("_delta_log/{version:020}.checkpoint."))
            .await;
        for name in names.iter().filter(|name| is_json(name)) {
            let bytes = table.read(name).await;
            table
                .overwrite(name, [&bytes[..], &bytes[..]].concat())
                .await;
        }
    }
}

/// Every file that the table ever had and has no more.
fn dead_files(table: &Table) -> BTreeMap<String, Value> {
    let all = table.states.values().flatten();
    let dead = all.filter(|(name, _)| !table.live.contains_key(*name));
    dead.map(|(name, add)| (name.clone(), add.clone()))
        .collect()
}

async fn late_checkpoint(table: &mut Table, number: u64, form: CheckpointForm, lie: Lie) {
    let version = number % table.next;
    for name in checkpoints(table, &format!("{version:020}")).await {
        table.remove(&name).await;
    }
    let (next, truth) = (table.next, table.live.clone());
    table.next = version + 1;
    table.live = table.states[&version].clone();
    checkpoint(table, form, lie).await;
    (table.next, table.live) = (next, truth);
}

/// The files of the checkpoints whose names begin so.
async fn checkpoints(table: &Table, version: &str) -> Vec<String> {
    let names = table.names(&format!("_delta_log/{version}")).await;
    let names = names.into_iter();
    names.filter(|name| name.contains(".checkpoint.")).collect()
}

fn is_json(name: &str) -> bool {
    Path::new(name)
        .extension()
        .is_some_and(|ending| ending == "json")
}

/// What `deltalake` sees: the version and the names of the live files.
async fn seen(files: &Files) -> Result<(u64, BTreeSet<String>), String> {
    seen_at(files, None).await
}

/// As [`seen`], of an older version.
async fn seen_at(files: &Files, version: Option<u64>) -> Result<(u64, BTreeSet<String>), String> {
    let folder = tempfile::tempdir().unwrap();
    write_all(folder.path(), files);
    let url = deltalake::ensure_table_uri(folder.path().to_str().unwrap()).unwrap();
    let opened = match version {
        Some(version) => deltalake::open_table_with_version(url, version).await,
        None => deltalake::open_table(url).await,
    };
    let table = opened.map_err(|error| error.to_string())?;
    let uris = table.get_file_uris().map_err(|error| error.to_string())?;
    let root = format!("{}/", folder.path().canonicalize().unwrap().display());
    let names = uris.map(|uri| uri.split(&root).last().unwrap_or_default().to_owned());
    Ok((table.version().unwrap(), names.collect()))
}

fn write_all(folder: &Path, files: &Files) {
    for (name, bytes) in files {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
}

/// Takes a snapshot and compares it with what the independent reader saw, and with what the last one `held`.
async fn night(scene: &Scene, scope: Scope, hours: i64, held: &mut Held) {
    let source = scene.source_files().await;
    let before = seen(&source).await;
    let mut request = request(scene.live.uri(), hours);
    request.scope = scope;
    let done = match take_as(&scene.live, &scene.vault, &scene.elsewhere, &request).await {
        Ok(done) => done,
        Err(error) => {
            assert_ne!(error.exit_code(), ExitCode::Damage, "{error:?}");
            if let Ok((_, names)) = &before {
                let is_whole = names.iter().all(|name| source.contains_key(name));
                assert!(!is_whole, "refused, and the reader opens it: {error:?}");
            }
            return;
        }
    };
    is_sound(scene, &done).await;
    let restored = scene.contents(&done).await;
    if let Ok(files) = &restored {
        older_are_whole(&done, files).await;
    }
    let findings = &done.record.findings;
    let last = std::mem::replace(held, Held::by(scene, &done).await);
    let dropped: Vec<_> = last
        .live
        .difference(&held.live)
        .filter(|name| scene.table.live.contains_key(*name))
        .collect();
    // What commits did that were cleaned up between two nights nobody can tell.
    let mut unseen = false;
    for version in last.version + 1..=held.version {
        unseen |= !scene.table.has(&commit(version)).await;
    }
    assert!(
        dropped.is_empty() || !findings.is_empty() || unseen,
        "{dropped:?} were held, nobody removed them, and they are left out in silence"
    );
    if !findings.is_empty() {
        // Odd, and said: the files that the reader saw are held all the same.
        if let (Ok((_, names)), Ok(files)) = (&before, &restored) {
            assert_has_all(&done, files, &source, names);
        }
        return;
    }
    let restored = restored.unwrap();
    let (version, names) = before.unwrap_or_else(|error| {
        panic!("the reader refused the table, and the snapshot has no finding: {error}")
    });
    assert_eq!(done.record.version.0, version);
    assert_has_all(&done, &restored, &source, &names);
    assert_eq!(seen(&restored).await, Ok((version, names)));
}

/// What the newest snapshot holds.
struct Held {
    version: u64,
    /// The live data files.
    live: BTreeSet<String>,
}

impl Held {
    async fn by(scene: &Scene, done: &SnapshotDone) -> Self {
        let entries = scene.entries(done).await.into_iter();
        let live = entries.filter(|it| it.kind == EntryKind::Data && !it.live.is_empty());
        Self {
            version: done.record.version.0,
            live: live.map(|entry| entry.file.to_string()).collect(),
        }
    }
}

/// Asserts that `verify` finds no damage in what was just published.
async fn is_sound(scene: &Scene, done: &SnapshotDone) {
    let vault = Vault::open(std::sync::Arc::new(scene.vault.clone())).await;
    let verified = verify(&vault.unwrap(), NO_BYTES).await;
    let mut about = verified.findings.iter();
    let damage = about.find(|it| it.severity >= Severity::Damage);
    assert!(damage.is_none(), "{damage:#?} {:?}", done.record.findings);
}

/// Asserts that every version that is called whole has the files that a reader wants.
async fn older_are_whole(done: &SnapshotDone, files: &Files) {
    let ranges = done.record.whole_versions.iter();
    for version in ranges.flat_map(|(first, last)| first.0..=last.0) {
        if let Ok((_, names)) = seen_at(files, Some(version)).await {
            let missing: Vec<_> = names
                .iter()
                .filter(|name| !files.contains_key(*name))
                .collect();
            assert!(missing.is_empty(), "version {version} lacks {missing:?}");
        }
    }
}

/// Asserts that what a reader saw is held, with the bytes that it had.
fn assert_has_all(done: &SnapshotDone, files: &Files, source: &Files, names: &BTreeSet<String>) {
    let is_held = |name: &&String| match (files.get(*name), source.get(*name)) {
        (held, Some(there)) => held == Some(there),
        // Readers may differ on a file that something deleted: then that is said.
        (held, None) => {
            let mut findings = done.record.findings.iter();
            held.is_some() || findings.any(|it| it.contains("no longer at the source"))
        }
    };
    let missing: Vec<_> = names.iter().filter(|name| !is_held(name)).collect();
    assert!(
        missing.is_empty(),
        "{missing:?} missing, or with other bytes; {:?}",
        done.record.findings
    );
}

proptest! {
    #![proptest_config(cases(60, "tests/it/odd_logs.proptest-regressions"))]

    #[test]
    fn what_is_odd_is_held_as_readers_see_it_or_said_or_refused(
        ops in ops(),
        scope in prop_oneof![Just(Scope::Live), Just(Scope::History)],
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let mut scene = Scene::set().await;
            let mut hours = 24;
            let mut held = Held::by(&scene, &scene.first).await;
            for op in &ops {
                apply(&mut scene, op).await;
                if matches!(op, Op::Snapshot) {
                    night(&scene, scope, hours, &mut held).await;
                    hours += 24;
                }
            }
            night(&scene, scope, hours, &mut held).await;
        });
    }
}
