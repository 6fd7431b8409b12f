//! One night over a fleet in whose vault somebody with the keys of a snapshotter or a holder planted what is too large, unfolds
//! to too much, or lies about its size. It costs no other table anything, and what the table was before comes back.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use deltavault::format::layout::Suffix;
use deltavault::format::{
    Entry, EntryKind, EventRole, Manifest, PageRef, Placement, Reference, TableKey, VaultKey,
};
use deltavault::ids::{Digest, Generation, Id128, Location, SnapshotId};
use deltavault::store::local::LocalStore;

use super::support::attacked::{Fleet, MEMORY, NIGHT, healthy, published};
use super::support::forge::forge_signed;
use super::support::vault_builder::put_content;
use super::support::world::files;

/// What was planted for a table that was held before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Planted {
    /// A data page of a few KB with a GiB of lines.
    PageBomb,
    /// A log page, likewise.
    LogPageBomb,
    /// One line of 60 MiB.
    LongLine,
    /// Many pages that each unfold to nearly as much as one may.
    LargePages,
    /// A page with more entries than one may have.
    ManyEntries,
    /// A manifest of a terabyte.
    SparseManifest,
    /// A manifest that names thousands of pages, none of which is there.
    ManyPages,
    /// A record of a terabyte in the next slot.
    SparseRecord,
    /// A record that is nested deeply.
    NestedRecord,
    /// Thousands of seals of the next slot.
    Seals,
    /// An event of a terabyte.
    SparseEvent,
    /// A journal of a few KB with a GiB of lines.
    JournalBomb,
    /// Hundreds of journals.
    Journals,
    /// A file behind the end of a pack.
    PackRange,
    /// A file of an exbibyte in a blob of a byte.
    BlobSize,
    /// A checkpoint of a few KB that unfolds to gigabytes: one of `tests/data/bombs`.
    Checkpoint(&'static str),
    /// A commit of a terabyte.
    Commit,
}

use Planted::{
    BlobSize, Checkpoint, Commit, JournalBomb, Journals, LargePages, LogPageBomb, LongLine,
    ManyEntries, ManyPages, NestedRecord, PackRange, PageBomb, Seals, SparseEvent, SparseManifest,
    SparseRecord,
};

const PLANTED: [Planted; 23] = [
    PageBomb,
    LogPageBomb,
    LongLine,
    LargePages,
    ManyEntries,
    SparseManifest,
    ManyPages,
    SparseRecord,
    NestedRecord,
    Seals,
    SparseEvent,
    JournalBomb,
    Journals,
    PackRange,
    BlobSize,
    Checkpoint("page"),
    Checkpoint("dictionary"),
    Checkpoint("value"),
    Checkpoint("sidecars"),
    Checkpoint("panic"),
    Checkpoint("deep"),
    Checkpoint("brotli"),
    Commit,
];

impl Planted {
    fn table(self) -> String {
        if let Checkpoint(bomb) = self {
            return format!("checkpoint-{bomb}");
        }
        format!("{self:?}").to_lowercase()
    }
}

/// Lines of so many MiB under zstd.
fn packed(mib: usize, byte: u8) -> Vec<u8> {
    let mut packed = zstd::Encoder::new(Vec::new(), 1).unwrap();
    let chunk = vec![byte; 1 << 20];
    for _ in 0..mib {
        packed.write_all(&chunk).unwrap();
    }
    packed.write_all(b"\n").unwrap();
    packed.finish().unwrap()
}

/// A file of a terabyte that takes no room.
fn sparse(path: &Path) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::File::create(path).unwrap().set_len(1 << 40).unwrap();
}

/// The keys of a snapshotter, used against one table of the vault.
struct Keys<'a> {
    vault: &'a Path,
    store: &'a LocalStore,
    key: &'a TableKey,
}

impl Keys<'_> {
    fn path(&self, key: &VaultKey) -> PathBuf {
        self.vault.join(key.to_string())
    }

    fn slot(&self, seq: u64) -> VaultKey {
        let table = self.key.clone();
        VaultKey::Record { table, seq }
    }

    async fn put(&self, of: fn(Digest, Option<Suffix>) -> VaultKey, bytes: Vec<u8>) -> Reference {
        put_content(self.store, of, bytes.into()).await
    }

    /// An object of a terabyte under a content-addressed name.
    fn huge(&self, of: fn(Digest, Option<Suffix>) -> VaultKey) -> Reference {
        let sha256 = Digest::of(self.key.to_string().as_bytes());
        let key = of(sha256, None);
        sparse(&self.path(&key));
        Reference {
            generation: Generation(0),
            key: key.object_key().unwrap(),
            sha256,
            size: 1 << 40,
            version: None,
        }
    }

    fn journal(&self, n: u32, body: &[u8]) {
        let run = Id128::from_bytes([7; 16]);
        let (table, next_seq) = (self.key.hash(), 2);
        let path = self.path(&VaultKey::Journal {
            table,
            next_seq,
            run,
            n,
        });
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, body).unwrap();
    }

    async fn plant(&self, planted: Planted) {
        match planted {
            PageBomb => {
                let page = self.put(VaultKey::page, packed(1024, b'\n')).await;
                self.forge_pages(vec![PageRef { entries: 1, page }], false)
                    .await;
            }
            LogPageBomb => {
                let page = self.put(VaultKey::page, packed(1024, b'\n')).await;
                self.forge_pages(vec![PageRef { entries: 1, page }], true)
                    .await;
            }
            LongLine => {
                let page = self.put(VaultKey::page, packed(60, b'x')).await;
                self.forge_pages(vec![PageRef { entries: 1, page }], false)
                    .await;
            }
            LargePages => self.forge_large_pages().await,
            ManyEntries => {
                let line =
                    br#"{"file":{"key":"x"},"kind":"data","placement":{"absent":{}},"size":0}"#;
                let lines = [line.as_slice(), b"\n"].concat().repeat(900_000);
                let page = zstd::bulk::compress(&lines, 3).unwrap();
                let page = self.put(VaultKey::page, page).await;
                self.forge_pages(
                    vec![PageRef {
                        entries: 4096,
                        page,
                    }],
                    false,
                )
                .await;
            }
            SparseManifest => {
                let huge = self.huge(VaultKey::manifest);
                forge_signed(
                    self.store,
                    self.key,
                    |_, _| {},
                    |_| {},
                    |it| it.manifest = huge,
                )
                .await;
            }
            ManyPages => {
                let pages = (0..1000_u32).map(|n| {
                    let sha256 = Digest::of(&n.to_le_bytes());
                    let page = Reference {
                        generation: Generation(0),
                        key: VaultKey::page(sha256, None).object_key().unwrap(),
                        sha256,
                        size: 1,
                        version: None,
                    };
                    PageRef { entries: 1, page }
                });
                self.forge_pages(pages.collect(), false).await;
            }
            SparseRecord => sparse(&self.path(&self.slot(2))),
            NestedRecord => {
                fs::write(self.path(&self.slot(2)), "[".repeat(1 << 20)).unwrap();
            }
            Seals => {
                for n in 0..3000 {
                    let (table, seq) = (self.key.clone(), 2);
                    let sha256 = Digest::of(n.to_string().as_bytes());
                    fs::write(self.path(&VaultKey::RecordSeal { table, seq, sha256 }), "").unwrap();
                }
            }
            SparseEvent => {
                let (table, seq) = (self.key.clone(), 1);
                let role = EventRole::Holder;
                sparse(&self.path(&VaultKey::Event { table, role, seq }));
            }
            JournalBomb => self.journal(0, &packed(1024, b'\n')),
            Journals => (0..400).for_each(|n| self.journal(n, b"x")),
            PackRange => self.forge_sizes(Some(8 << 20), 1 << 20, 16 << 20).await,
            BlobSize => self.forge_sizes(None, 1 << 60, 1 << 60).await,
            Checkpoint(bomb) => {
                let bombs = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/bombs");
                let bytes = fs::read(bombs.join(format!("{bomb}.checkpoint.parquet"))).unwrap();
                let reference = self.put(VaultKey::blob, bytes).await;
                self.forge_log(
                    "_delta_log/00000000000000000001.checkpoint.parquet",
                    reference,
                )
                .await;
            }
            Commit => {
                let reference = self.huge(VaultKey::blob);
                self.forge_log("_delta_log/00000000000000000001.json", reference)
                    .await;
            }
        }
    }

    /// Publishes a snapshot with these pages for its own.
    async fn forge_pages(&self, pages: Vec<PageRef>, is_log: bool) -> SnapshotId {
        let change = |manifest: &mut Manifest| {
            if is_log {
                manifest.log_pages = pages;
            } else {
                manifest.data_pages = pages;
            }
        };
        forge_signed(self.store, self.key, |_, _| {}, change, |_| {})
            .await
            .0
    }

    async fn forge_large_pages(&self) {
        let mut pages = Vec::new();
        for byte in b'a'..b'm' {
            let page = self.put(VaultKey::page, packed(60, byte)).await;
            pages.push(PageRef { entries: 1, page });
        }
        self.forge_pages(pages, false).await;
    }

    /// Publishes a snapshot whose data file has so many bytes at `offset` of an object that has one byte.
    async fn forge_sizes(&self, offset: Option<u64>, size: u64, of: u64) {
        let mut reference = self.put(VaultKey::blob, b"x".to_vec()).await;
        reference.size = of;
        let change = |entries: &mut Vec<Entry>| {
            for entry in entries.iter_mut().filter(|it| !it.kind.is_log()) {
                entry.size = size;
                entry.sha256 = Some(reference.sha256);
                let reference = reference.clone();
                entry.placement = Placement::Blob { offset, reference };
            }
        };
        forge_signed(self.store, self.key, |it, _| change(it), |_| {}, |_| {}).await;
    }

    /// Publishes a snapshot whose log has another file, or other bytes of one.
    async fn forge_log(&self, name: &str, reference: Reference) {
        let change = |entries: &mut Vec<Entry>| {
            let commits = entries.iter().filter(|it| it.kind.is_log());
            let mut entry = commits.last().unwrap().clone();
            let file = Location::Inside(name.parse().unwrap());
            if name.ends_with(".parquet") {
                entry.kind = EntryKind::Checkpoint;
            }
            entries.retain(|it| it.file != file);
            entry.file = file;
            entry.size = reference.size;
            entry.sha256 = Some(reference.sha256);
            entry.placement = Placement::Blob {
                offset: None,
                reference,
            };
            entries.push(entry);
        };
        forge_signed(self.store, self.key, |it, _| change(it), |_| {}, |_| {}).await;
    }
}

#[test]
fn what_lies_in_the_vault_costs_no_other_table_its_night_and_takes_nothing_away() {
    let fleet = Fleet::new(PLANTED.iter().map(|it| it.table()));
    let attacked: Vec<_> = PLANTED.iter().map(|it| it.table()).collect();
    for name in healthy().chain(attacked.iter().cloned()) {
        fleet.table(&name).begin();
    }
    let (code, first, _) = fleet.run(&["snapshot"]);
    assert_eq!(code, Some(0), "{first}");
    let vault = fleet.folder.path().join("vault");
    let store = LocalStore::open(&vault).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for planted in PLANTED {
        let table = fleet.table(&planted.table());
        let uri = format!("file://{}", table.0.canonicalize().unwrap().display());
        let key = TableKey::of("local", &uri.parse().unwrap()).unwrap();
        let keys = Keys {
            vault: &vault,
            store: &store,
            key: &key,
        };
        runtime.block_on(keys.plant(planted));
    }
    for name in healthy().chain(attacked.iter().cloned()) {
        fleet.table(&name).append(2);
    }
    let run = |words: &[&str]| {
        let begun = Instant::now();
        let (code, said, peak) = fleet.run(words);
        println!(
            "{words:?} took {:?} and {peak} MiB: {code:?}",
            begun.elapsed()
        );
        assert!(begun.elapsed() < NIGHT, "{words:?} {:?}", begun.elapsed());
        assert!(peak < MEMORY, "{words:?}: {peak} MiB");
        assert!(said.len() < 200_000, "{words:?}: {} bytes", said.len());
        (code, said)
    };
    let (code, said) = run(&["snapshot"]);
    assert!(matches!(code, Some(3 | 5)), "{code:?} {said}");
    for name in healthy() {
        assert!(published(&said, &name, 2).is_some(), "{name}: {said}");
    }
    let (code, said) = run(&["verify"]);
    assert_eq!(code, Some(12), "{said}");
    for words in [&["snapshots"][..], &["prune", "--dry-run"]] {
        let (code, said) = run(words);
        assert!(
            matches!(code, Some(0 | 3 | 12)),
            "{words:?} {code:?}: {said}"
        );
    }
    // What the table was before comes back by its id, whatever was put on top.
    for (planted, name) in PLANTED.iter().zip(&attacked) {
        let id = &published(&first, name, 1).unwrap()[..8];
        let lost = fleet.table(name).0.join("1.parquet");
        let bytes = fs::read(&lost).unwrap();
        fs::remove_file(&lost).unwrap();
        let to = format!("copies/{name}");
        let (code, said) = run(&["restore", name, "--latest"]);
        assert!(matches!(code, Some(4 | 12)), "{code:?} {said}");
        // The lie is about the bytes of the very file, so that only a copy is certain.
        let is_disputed = matches!(planted, PackRange | BlobSize);
        for (place, expected) in [
            (&["--to", &to][..], 0),
            (&["--heal"], if is_disputed { 4 } else { 0 }),
        ] {
            let words = [&["restore", name, "--snapshot", id, "--yes"][..], place].concat();
            let (code, said) = run(&words);
            assert_eq!(code, Some(expected), "{words:?}: {said}");
        }
        if !is_disputed {
            assert_eq!(fs::read(&lost).unwrap(), bytes, "{name}");
        }
        let copy = files(&fleet.folder.path().join(&to));
        assert_eq!(copy["1.parquet"], bytes, "{name}");
    }
}
