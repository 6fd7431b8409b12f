//! What a plan asks of the vault.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use clap::Parser as _;
use deltavault::demo::make_table;
use deltavault::format::{Record, TableKey, TableUri, VaultKey};
use deltavault::ids::{ObjectKey, ObjectVersion};
use deltavault::progress::NoProgress;
use deltavault::store::{Attributes, ListedVersion, ObjectReader, ReadStore, StoreError};
use deltavault::vault::Vault;
use futures::stream::BoxStream;
use indicatif::ProgressBar;
use jiff::tz::TimeZone;

use super::*;
use crate::cli::args::Arguments;
use crate::cli::cache::index_path;
use crate::cli::command::{Clock, Command};
use crate::cli::config::{Config, ConfiguredTable};
use crate::cli::output::Output;
use crate::cli::progress::Bar;
use crate::cli::stores::Stores;

/// A store that counts its calls.
#[derive(Debug)]
struct Counted {
    inner: Arc<dyn ReadStore>,
    calls: AtomicUsize,
}

impl Counted {
    fn count(&self) {
        self.calls.fetch_add(1, Ordering::Relaxed);
    }
}

#[async_trait]
impl ReadStore for Counted {
    fn uri(&self) -> &str {
        self.inner.uri()
    }

    async fn open(
        &self,
        key: &ObjectKey,
        version: Option<&ObjectVersion>,
        range: Option<Range<u64>>,
    ) -> Result<ObjectReader, StoreError> {
        self.count();
        self.inner.open(key, version, range).await
    }

    async fn attributes(
        &self,
        key: &ObjectKey,
        version: Option<&ObjectVersion>,
    ) -> Result<Attributes, StoreError> {
        self.count();
        self.inner.attributes(key, version).await
    }

    fn list<'a>(
        &'a self,
        prefix: &'a str,
        start_after: Option<&'a str>,
    ) -> BoxStream<'a, Result<Attributes, StoreError>> {
        self.count();
        self.inner.list(prefix, start_after)
    }

    fn list_versions<'a>(
        &'a self,
        prefix: &'a str,
        start_after: Option<&'a str>,
    ) -> BoxStream<'a, Result<ListedVersion, StoreError>> {
        self.count();
        self.inner.list_versions(prefix, start_after)
    }
}

fn context(folder: &Path) -> Context {
    let again = Again::new("deltavault", None, None, &[]);
    let place = |name: &str| format!("file://{}/{name}", folder.display());
    Context {
        output: Output::to_stdout(true, ProgressBar::hidden(), again.clone()),
        again,
        stores: Stores::new(Config::default().s3),
        vault: Some(place("vault")),
        is_vault_by_flag: true,
        folder: folder.to_owned(),
        zone: TimeZone::UTC,
        config: Config {
            tables: vec![ConfiguredTable {
                name: "sales.orders".to_owned(),
                uri: place("lake"),
                scope: deltavault::format::Scope::Live,
                class: None,
                rpo: None,
                outside: Vec::new(),
            }],
            ..Config::default()
        },
        clock: Clock::System,
        progress: Arc::new(Bar::new(true, true)),
        interrupt: deltavault::vault::snapshot::Interrupt::default(),
        has_terminal: false,
        can_ask: false,
    }
}

async fn run(words: &str, context: &mut Context) {
    let words = ["deltavault"].into_iter().chain(words.split(' '));
    let command = Arguments::try_parse_from(words).unwrap().command;
    assert_eq!(
        Box::pin(command.run(context)).await.unwrap(),
        ExitCode::Done
    );
}

/// The calls to the vault until the plan of a restore is there.
async fn calls(table: &str, open: &OpenVault, context: &Context) -> usize {
    let words = ["deltavault", "restore", table, "--latest", "--to", "copy"];
    let Command::Restore(args) = Arguments::try_parse_from(words).unwrap().command else {
        panic!("no restore");
    };
    let counted = Arc::new(Counted {
        inner: open.place.read(),
        calls: AtomicUsize::new(0),
    });
    let open = OpenVault {
        vault: Vault::open(counted.clone()).await.unwrap(),
        ..open.clone()
    };
    let name = context.table(table).unwrap();
    let asked = args.read(name, &context.folder, &context.here()).unwrap();
    let found = find(&asked.table, &open, &NoProgress).await.unwrap();
    Box::pin(plan(asked, &found, &open, context)).await.unwrap();
    counted.calls.load(Ordering::Relaxed)
}

#[tokio::test(flavor = "multi_thread")]
async fn one_table_costs_as_many_calls_among_fifty_as_alone() {
    let folder = tempfile::tempdir().unwrap();
    let lake: PathBuf = folder.path().join("lake");
    std::fs::create_dir(&lake).unwrap();
    make_table(lake.as_path()).await.unwrap();
    let context = &mut context(folder.path());
    run("init", context).await;
    run("snapshot sales.orders", context).await;
    let open = context.open_vault().await.unwrap();
    let named = ["sales.orders", lake.to_str().unwrap()];
    // The first plan brings the pages onto this machine.
    calls(named[0], &open, context).await;
    let mut alone = Vec::new();
    for name in named {
        alone.push(calls(name, &open, context).await);
    }
    let table = open.vault.tables().await.unwrap().remove(0);
    let first = |table| VaultKey::Record { table, seq: 1 }.object_key().unwrap();
    let vault = folder.path().join("vault");
    let body = std::fs::read(vault.join(first(table).as_str())).unwrap();
    for other in 1..50 {
        let mut record = Record::decode(&body).unwrap();
        let uri: TableUri = format!("file:///lake/other{other}").parse().unwrap();
        record.table.uri = uri.to_string();
        record.table.name = format!("other{other}");
        let key = first(TableKey::of("local", &uri).unwrap());
        let file = vault.join(key.as_str());
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, record.encode().unwrap()).unwrap();
    }
    assert_eq!(open.vault.tables().await.unwrap().len(), 50);
    for (name, alone) in named.iter().zip(alone) {
        assert_eq!(calls(name, &open, context).await, alone, "{name}");
    }
    let pages = index_path(open.vault.file().id).unwrap();
    std::fs::remove_dir_all(pages.with_extension("pages")).ok();
}
