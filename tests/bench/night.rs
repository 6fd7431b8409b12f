//! A night at a table of a hundred thousand files: what decoding its pages, encoding them, replaying its commits and
//! the whole snapshot cost, each beside the least that anybody would have to do; and what a checkpoint, which a writer
//! leaves every ten commits, adds to a night.
//!
//! `cargo bench --bench night [-- FILES [LOG_FILES]]`. Source and vault are in memory, so what is measured is this
//! machine and no store. The first snapshot of a log of many small files runs in a process of its own, so that its peak
//! memory is nobody else's.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    reason = "a program that measures; it fails loudly and reads the clock"
)]

use std::fmt::Write as _;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use deltalake::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use deltavault::delta::commit::read_commit;
use deltavault::delta::path::TableRoot;
use deltavault::delta::replay::Replay;
use deltavault::format::VaultFile;
use deltavault::format::record::TableIdentity;
use deltavault::format::{Entry, PageWriter, Scope, TableKey, TableUri, Trigger, decode_page};
use deltavault::ids::{Digest, Id128, ObjectKey, Timestamp, Version};
use deltavault::plan::retention::{Policy, RetentionRequest};
use deltavault::source::Source;
use deltavault::store::memory::MemoryStore;
use deltavault::store::{ReadStore, StoreError, StoreErrorKind, read_all};
use deltavault::vault::snapshot::{SnapshotDone, SnapshotRequest, Snapshotter};
use deltavault::vault::{PageCache, Vault, init};
use futures::TryStreamExt;
use serde::de::IgnoredAny;

#[path = "../it/support/parquet.rs"]
mod parquet;

use parquet::parquet;

const ROOT: &str = "s3://lake/big";

/// The commits after which a writer checkpoints, by default.
const CHECKPOINT_EVERY: usize = 10;

fn main() {
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|text| text != "--bench")
        .collect();
    let number = |text: &String| text.parse().expect("a number of files");
    match arguments.as_slice() {
        [what, files] if what == "log" => log(number(files)),
        [] => measure(100_000, 100_000),
        [files] => measure(number(files), 100_000),
        [files, log_files, ..] => measure(number(files), number(log_files)),
    }
}

fn measure(files: usize, log_files: usize) {
    night(files);
    let started = Instant::now();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["log", &log_files.to_string()])
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    print!("{}", String::from_utf8(output.stdout).unwrap());
    println!(
        "  (with making the log {:.1} s)",
        started.elapsed().as_secs_f64()
    );
}

/// Runs work a few times and prints its best time.
fn time<T>(what: &str, mut work: impl FnMut() -> T) -> T {
    let mut best = f64::MAX;
    let mut result = None;
    for _ in 0..3 {
        let started = Instant::now();
        result = Some(work());
        best = best.min(started.elapsed().as_secs_f64());
    }
    println!("{what:<58} {:>7.0} ms", best * 1000.0);
    result.unwrap()
}

#[tokio::main]
async fn night(files: usize) {
    let live = MemoryStore::without_locks(ROOT);
    let mut table = Table::new(live.clone());
    for _ in 0..4 {
        table.commit(0, files / 4);
    }
    let vault = MemoryStore::without_locks("s3://vault");
    let cache = tempfile::tempdir().unwrap();
    let first = take(&live, &vault, Some(&cache), 0).await;
    assert_eq!(first.record.totals.live_files, files as u64);

    let pages = pages(&vault).await;
    let bytes: usize = pages.iter().map(Vec::len).sum();
    let lines: Vec<Vec<u8>> = time("baseline: unpack the pages", || {
        pages
            .iter()
            .map(|page| zstd::decode_all(&page[..]).unwrap())
            .collect()
    });
    let unpacked: usize = lines.iter().map(Vec::len).sum();
    println!(
        "  {} pages, {} KiB, unpacked {} KiB",
        pages.len(),
        bytes >> 10,
        unpacked >> 10
    );
    time("baseline: SHA-256 of what was unpacked", || {
        lines.iter().map(|lines| Digest::of(lines)).max()
    });
    time("baseline: parse the lines and keep nothing", || {
        for line in lines
            .iter()
            .flat_map(|page| page.split(|byte| *byte == b'\n'))
        {
            drop(serde_json::from_slice::<IgnoredAny>(line));
        }
    });
    let entries: Vec<Entry> = time("decode the pages", || {
        pages
            .iter()
            .flat_map(|page| decode_page(page).unwrap())
            .collect()
    });
    time("baseline: pack the lines", || {
        lines
            .iter()
            .map(|lines| zstd::bulk::compress(lines, 3).unwrap().len())
            .sum::<usize>()
    });
    time("encode the pages", || {
        let mut writer = PageWriter::new();
        let mut bytes = 0;
        for entry in &entries {
            if let Some(page) = writer.push(entry).unwrap() {
                bytes += page.pack().unwrap().bytes.len();
            }
        }
        bytes
    });
    let commits: Vec<Vec<u8>> = table.commits().await;
    time("baseline: parse the commits and keep nothing", || {
        for line in commits
            .iter()
            .flat_map(|text| text.split(|byte| *byte == b'\n'))
        {
            drop(serde_json::from_slice::<IgnoredAny>(line));
        }
    });
    time("replay the commits", || {
        let root = TableRoot::new(ROOT).unwrap();
        let mut replay = Replay::new(&std::env::temp_dir()).unwrap();
        for (version, text) in commits.iter().enumerate() {
            let version = Version(version as u64);
            read_commit(&text[..], "commit", &root, &mut |action| {
                replay.commit(version, action)
            })
            .unwrap();
        }
        let (_, live) = replay.finish().unwrap();
        assert_eq!(live.map(Result::unwrap).count(), files);
    });

    nights(&mut table, (&live, &vault), &cache, files).await;
}

/// Takes snapshots of nights with and without a checkpoint, and of one in which nothing changed.
async fn nights(
    table: &mut Table,
    (live, vault): (&MemoryStore, &MemoryStore),
    cache: &tempfile::TempDir,
    files: usize,
) {
    // Until now no checkpoint came; from now on the table's writer leaves one every ten commits.
    let mut nights = Nights::default();
    for night in 1..=8 {
        let before = table.versions;
        for _ in 0..4 {
            table.commit(files / 400, files / 400);
        }
        let mut checkpoint = None;
        if night > 3 && before / CHECKPOINT_EVERY != table.versions / CHECKPOINT_EVERY {
            checkpoint = Some(table.checkpoint());
        }
        let started = Instant::now();
        let done = take(live, vault, Some(cache), 24 * night).await;
        let seconds = started.elapsed().as_secs_f64();
        assert_eq!(done.record.totals.live_files, files as u64);
        assert!(
            done.record.findings.is_empty(),
            "{:?}",
            done.record.findings
        );
        let and = if checkpoint.is_some() {
            ", a checkpoint"
        } else {
            ""
        };
        println!(
            "{:<58} {:>7.0} ms",
            format!("a night: 1 % new, 1 % gone from everywhere{and}"),
            seconds * 1000.0
        );
        nights.see(seconds, checkpoint);
    }
    nights.report();
    let started = Instant::now();
    assert!(take(live, vault, Some(cache), 216).await.unchanged);
    println!(
        "{:<58} {:>7.0} ms",
        "a night: nothing changed",
        started.elapsed().as_secs_f64() * 1000.0
    );
}

/// What nights with a checkpoint cost beyond those without.
#[derive(Default)]
struct Nights {
    without: Option<f64>,
    with: Option<f64>,
    newest: Option<Vec<u8>>,
}

impl Nights {
    fn see(&mut self, seconds: f64, checkpoint: Option<Vec<u8>>) {
        let best = if checkpoint.is_some() {
            &mut self.with
        } else {
            &mut self.without
        };
        *best = Some(best.map_or(seconds, |best| best.min(seconds)));
        self.newest = checkpoint.or(self.newest.take());
    }

    fn report(self) {
        let checkpoint = Bytes::from(self.newest.expect("a night with a checkpoint"));
        println!("  a checkpoint has {} KiB", checkpoint.len() >> 10);
        time("baseline: decode all columns of a checkpoint", || {
            let reader = ParquetRecordBatchReaderBuilder::try_new(checkpoint.clone());
            let reader = reader.unwrap().build().unwrap();
            reader.map(|batch| batch.unwrap().num_rows()).sum::<usize>()
        });
        println!(
            "{:<58} {:>7.0} ms",
            "what a checkpoint adds to the best night",
            (self.with.unwrap() - self.without.unwrap()) * 1000.0
        );
    }
}

/// Takes the first snapshot of a log of many small files.
#[tokio::main]
async fn log(files: usize) {
    let folder = tempfile::tempdir().unwrap();
    let live = deltavault::store::local::LocalStore::create(&folder.path().join("table")).unwrap();
    let log = folder.path().join("table/_delta_log");
    std::fs::create_dir_all(&log).unwrap();
    for version in 0..files {
        let path = log.join(format!("{version:020}.json"));
        std::fs::write(path, commit_text(version, &[], &[])).unwrap();
    }
    let vault = deltavault::store::local::LocalStore::create(&folder.path().join("vault")).unwrap();
    let before = peak();
    let started = Instant::now();
    let done = snapshot(Arc::new(live), Arc::new(vault), None, 0).await;
    println!(
        "{:<58} {:>7.0} ms, peak memory {} MiB (before it {before} MiB)",
        format!(
            "the first snapshot of a log of {} files",
            done.record.totals.files
        ),
        started.elapsed().as_secs_f64() * 1000.0,
        peak()
    );
}

/// The most memory that this process ever held, as the kernel counts it, in MiB.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let mut lines = status.lines();
    let line = lines.find(|line| line.starts_with("VmHWM")).unwrap();
    let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib / 1024
}

async fn pages(vault: &MemoryStore) -> Vec<Vec<u8>> {
    let listed: Vec<_> = vault.list("pages/", None).try_collect().await.unwrap();
    let mut pages = Vec::new();
    for page in listed {
        let (_, bytes) = read_all(vault, &page.key, None, u64::MAX).await.unwrap();
        let is_data = decode_page(&bytes)
            .unwrap()
            .iter()
            .all(|entry| !entry.kind.is_log());
        pages.extend(is_data.then(|| bytes.to_vec()));
    }
    pages
}

async fn take(
    live: &MemoryStore,
    vault: &MemoryStore,
    cache: Option<&tempfile::TempDir>,
    hours: i64,
) -> SnapshotDone {
    snapshot(
        Arc::new(live.clone()),
        Arc::new(vault.clone()),
        cache,
        hours,
    )
    .await
}

async fn snapshot(
    live: Arc<dyn ReadStore>,
    store: Arc<dyn deltavault::store::WriteStore>,
    cache: Option<&tempfile::TempDir>,
    hours: i64,
) -> SnapshotDone {
    let now: Timestamp = "2026-11-21T03:00:00Z".parse().unwrap();
    let id = Id128::from_bytes([7; 16]);
    if hours == 0 {
        init(store.as_ref(), VaultFile::new(id, now)).await.unwrap();
    }
    let uri: TableUri = live.uri().parse().unwrap();
    let now = now + jiff::SignedDuration::from_hours(hours);
    let readable: Arc<dyn ReadStore> = store.clone();
    let mut vault = Vault::open(readable).await.unwrap();
    if let Some(cache) = cache {
        vault = vault.with_pages(PageCache::new(cache.path().to_owned()));
    }
    let snapshotter = Snapshotter::new(vault, store, std::env::temp_dir());
    let request = SnapshotRequest {
        key: TableKey::of("local", &uri).unwrap(),
        table: TableIdentity {
            delta_id: String::new(),
            name: "big".to_owned(),
            source: "local".to_owned(),
            uri: uri.to_string(),
        },
        scope: Scope::Live,
        trigger: Trigger::Manual,
        policy: Policy::default(),
        ask: RetentionRequest::default(),
        max_commit: None,
        now,
        run: Id128::from_bytes([u8::try_from(hours).unwrap(); 16]),
        set: None,
        principal: "bench".to_owned(),
        tool: "bench".to_owned(),
        distrust: Vec::new(),
        accept_tip: None,
        outside: deltavault::source::outside::Outside::default(),
    };
    let outside = Arc::new(|uri: &str| {
        let kind = StoreErrorKind::Unsupported {
            reason: "no file is outside".to_owned(),
        };
        Err(StoreError {
            action: "open",
            uri: uri.to_owned(),
            kind,
        })
    });
    snapshotter
        .take(&Source::new(live, outside), &request)
        .await
        .unwrap()
}

/// A table in memory.
struct Table {
    store: MemoryStore,
    live: Vec<String>,
    files: usize,
    versions: usize,
}

impl Table {
    fn new(store: MemoryStore) -> Self {
        Self {
            store,
            live: Vec::new(),
            files: 0,
            versions: 0,
        }
    }

    /// Commits files that go, spread over all, and new ones of 4 KiB.
    fn commit(&mut self, gone: usize, new: usize) {
        let every = self.live.len().checked_div(gone).unwrap_or(0).max(1);
        let removed: Vec<String> = (0..gone)
            .rev()
            .map(|position| self.live.swap_remove(position * every))
            .collect();
        let mut added = Vec::new();
        for _ in 0..new {
            let id = Digest::of(&self.files.to_le_bytes()).to_string();
            let name = format!(
                "part-{:05}-{}-c000.snappy.parquet",
                self.files % 1000,
                &id[..36]
            );
            self.store.plant(&key(&name), id.repeat(64));
            self.files += 1;
            added.push(name);
        }
        let text = commit_text(self.versions, &removed, &added);
        self.store.plant(
            &key(&format!("_delta_log/{:020}.json", self.versions)),
            text,
        );
        self.versions += 1;
        self.live.extend(added);
    }

    /// Writes a checkpoint of the newest version, and returns its bytes.
    fn checkpoint(&self) -> Vec<u8> {
        let version = self.versions - 1;
        let head = commit_text(0, &[], &[]);
        let files = commit_text(1, &[], &self.live);
        let lines = head.lines().skip(1).chain(files.lines().skip(1));
        let actions: Vec<_> = lines
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let bytes = parquet(&actions);
        let name = format!("_delta_log/{version:020}.checkpoint.parquet");
        self.store.plant(&key(&name), bytes.clone());
        bytes
    }

    async fn commits(&self) -> Vec<Vec<u8>> {
        let mut commits = Vec::new();
        for version in 0..self.versions {
            let key = key(&format!("_delta_log/{version:020}.json"));
            let (_, bytes) = read_all(&self.store, &key, None, u64::MAX).await.unwrap();
            commits.push(bytes.to_vec());
        }
        commits
    }
}

fn key(name: &str) -> ObjectKey {
    name.parse().unwrap()
}

fn commit_text(version: usize, removed: &[String], added: &[String]) -> String {
    let mut text = String::new();
    writeln!(
        text,
        r#"{{"commitInfo":{{"timestamp":{},"operation":"WRITE"}}}}"#,
        1_760_000_000_000_u64 + version as u64
    )
    .unwrap();
    if version == 0 {
        text.push_str(
            "{\"protocol\":{\"minReaderVersion\":1,\"minWriterVersion\":2}}\n\
             {\"metaData\":{\"id\":\"big\",\"partitionColumns\":[],\"configuration\":{}}}\n",
        );
    }
    for name in removed {
        writeln!(
            text,
            r#"{{"remove":{{"path":"{name}","dataChange":true}}}}"#
        )
        .unwrap();
    }
    for name in added {
        writeln!(
            text,
            r#"{{"add":{{"path":"{name}","partitionValues":{{}},"size":4096,"modificationTime":1760000000000,"dataChange":true,"stats":"{{\"numRecords\":100,\"minValues\":{{\"id\":1}},\"maxValues\":{{\"id\":100}},\"nullCount\":{{\"id\":0}}}}"}}}}"#
        )
        .unwrap();
    }
    text
}
