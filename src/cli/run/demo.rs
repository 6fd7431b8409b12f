//! `demo`: the story of [`deltavault::demo`], told by the same code that `snapshot` and `restore` run.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use deltavault::demo::{self, DemoError, PutBack, Taken, Wish};
use deltavault::format::ledger::Bodies;
use deltavault::format::{Scope, Trigger};
use deltavault::ids::Id128;
use deltavault::plan::choose::Wanted;
use deltavault::store::local::LocalStore;
use deltavault::vault::{self, NewVault};
use deltavault::{Error, ExitCode};

use super::Context;
use super::restore::{Work, choose};
use super::snapshot::{Run, Taker};
use crate::cli::again::Again;
use crate::cli::config::Config;
use crate::cli::request::{How, TableName, TableToTake};
use crate::cli::stores::OpenVault;

/// Destroys a small table and gets it back.
pub(super) async fn demo(
    folder: Option<PathBuf>,
    context: &mut Context,
) -> Result<ExitCode, Error> {
    let folder = match folder {
        Some(folder) => std::path::absolute(&folder).unwrap_or(folder),
        None => temporary_folder()?,
    };
    demo::prepare(&folder)?;
    let store = LocalStore::create(&demo::vault_folder(&folder))?.with_read_only_files();
    let new = NewVault {
        id: Id128::from_bytes(rand::random()),
        created: context.clock.now(),
    };
    vault::init(&store, new).await?;
    let open = OpenVault::open(&context.stores, &uri(&demo::vault_folder(&folder))).await?;
    let Context {
        output,
        clock,
        progress,
        ..
    } = context;

    let taker = Taker::new(open.clone(), Arc::clone(progress));
    let table = TableName {
        text: demo::table_folder(&folder).display().to_string(),
        configured: None,
        uri: uri(&demo::table_folder(&folder)),
    };
    let take = TableToTake {
        table: table.clone(),
        scope: Scope::Live,
        class: None,
    };
    let config = Config::default();
    let snapshot = async || {
        let run = Run {
            trigger: Trigger::Manual,
            class: None,
            now: clock.now(),
            set: None,
            distrust: BTreeMap::new(),
        };
        let done = taker.take(&taker.job(&take, &run, &config).await?).await?;
        Ok(Taken {
            version: done.version,
            snapshot: done.snapshot,
            files: done.files,
            bytes: done.bytes,
            new_files: done.new_files,
            new_bytes: done.new_bytes,
        })
    };
    let restore = async |wish| {
        let (wanted, how) = match wish {
            Wish::Heal(version) => (Wanted::Version(version), How::Heal),
            Wish::Newest => (Wanted::Latest, How::InPlace),
        };
        let found = open.find_table(&table).await?;
        let history = open.vault.history(&found.key, Bodies::default()).await?;
        let chosen = choose(&history, &wanted)?;
        let work = Work::new(
            &open,
            &chosen,
            &how,
            false,
            clock.now(),
            Arc::clone(progress),
        )
        .await?;
        let done = work.carry_out(work.plan().await?, clock.now()).await?;
        Ok(PutBack {
            version: chosen.version,
            files_written: done.files_written,
            bytes_written: done.bytes_written,
            files_kept: done.files_kept,
        })
    };
    let program = Again::program(&std::env::args_os().next().unwrap_or_default());
    let mut say = |line: &str| output.text(line);
    Box::pin(demo::tell(&folder, &program, snapshot, restore, &mut say)).await?;
    Ok(ExitCode::Done)
}

fn uri(folder: &Path) -> String {
    format!("file://{}", folder.display())
}

/// A folder that stays after the demo, to look around in.
fn temporary_folder() -> Result<PathBuf, Error> {
    let made = tempfile::Builder::new()
        .prefix("deltavault-demo-")
        .tempdir();
    made.map(tempfile::TempDir::keep).map_err(|source| {
        let path = std::env::temp_dir().display().to_string();
        let action = "make a folder in";
        DemoError::Folder {
            action,
            path,
            source,
        }
        .into()
    })
}
