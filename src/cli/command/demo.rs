//! `demo`: its story, told by the same code that `snapshot` and `restore` run.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use deltavault::ExitCode;
use deltavault::format::ledger::Bodies;
use deltavault::format::{Scope, Trigger};
use deltavault::plan::choose::Wanted;
use deltavault::plan::retention::RetentionRequest;
use deltavault::store::StoreErrorKind;

use self::stage::Stage;
use self::story::{Taken, Wish, tell};
use super::Context;
use super::init::{InitArgs, make_vault};
use super::restore::{Extent, How, Work, choose};
use super::snapshot::{Run, TableToTake, Taker};
use crate::cli::again::Again;
use crate::cli::config::Config;
use crate::cli::error::CommandError;
use crate::cli::stores::{OpenVault, Place};
use crate::cli::table_name::TableName;

pub(crate) use self::story::DemoError;

mod stage;
mod story;

/// Flags of `demo`.
#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Work in DIR, which must be empty or not there [a temporary folder, kept]
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// Make the table there, with --vault s3://... [the vault's URI and -orders]
    #[arg(long, value_name = "URI", conflicts_with = "dir")]
    pub(crate) table: Option<String>,
}

/// Destroys a small table and gets it back.
pub(super) async fn demo(args: DemoArgs, context: &mut Context) -> Result<ExitCode, CommandError> {
    let set = match demo_place(args, context)? {
        DemoPlace::Folder(folder) => in_folder(folder, context).await?,
        DemoPlace::Bucket { vault, table } => in_bucket(vault, table, context).await?,
    };
    let Set {
        stage,
        vault,
        table,
        program,
    } = set;
    let open = OpenVault::open(&context.stores, &vault).await?;
    let Context {
        output,
        clock,
        progress,
        ..
    } = context;

    let taker = Taker::new(open.clone(), Arc::clone(progress));
    let table = TableName {
        text: stage.table(),
        configured: None,
        uri: table,
    };
    let take = TableToTake {
        table: table.clone(),
        scope: Scope::Live,
        class: None,
        outside: Vec::new(),
    };
    let config = Config::default();
    let snapshot = async || {
        let run = Run {
            trigger: Trigger::Manual,
            ask: RetentionRequest::default(),
            max_commit: None,
            clock: *clock,
            set: None,
            distrust: BTreeMap::new(),
            accept_tip: None,
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
        let found = open.find_table(&table, progress.as_ref()).await?;
        let history = open.vault.history(&found.key, Bodies::default()).await?;
        let chosen = choose(&open.vault, &history, &wanted).await?;
        let work = Work::new(
            &open,
            &chosen,
            &how,
            Extent::default(),
            clock.now(),
            Arc::clone(progress),
        )
        .await?;
        let done = work.carry_out(work.plan().await?, clock.now()).await?;
        Ok((chosen.version, done))
    };
    let mut say = |line: &str| output.text(line);
    Box::pin(tell(&stage, &program, snapshot, restore, &mut say)).await?;
    Ok(ExitCode::Done)
}

/// The stage with its vault made, and how its parts are named.
struct Set {
    stage: Stage,
    /// The vault's URI.
    vault: String,
    table: String,
    /// How the tool is called in the commands that the story ends with.
    program: String,
}

async fn in_folder(folder: Option<PathBuf>, context: &Context) -> Result<Set, CommandError> {
    let folder = match folder {
        Some(folder) => std::path::absolute(&folder).unwrap_or(folder),
        None => temporary_folder()?,
    };
    let stage = Stage::in_folder(&folder)?;
    let vault = format!("file://{}", stage.vault());
    let place = context.stores.vault(&vault).await?;
    make_vault(&place, &InitArgs::throwaway(), context.clock.now()).await?;
    Ok(Set {
        vault,
        table: format!("file://{}", stage.table()),
        program: Again::program(&std::env::args_os().next().unwrap_or_default()),
        stage,
    })
}

async fn in_bucket(vault: String, table: String, context: &Context) -> Result<Set, CommandError> {
    let inner = context.stores.table(&table).await?;
    let outer = context.stores.vault(&vault).await?;
    if inner.contains(&outer) || outer.contains(&inner) {
        return Err(CommandError::InvalidUri {
            uri: table,
            rule: "the table of the demo needs a place of its own beside the vault",
        });
    }
    let looked = match Stage::in_store(inner.restore(), &vault).await {
        // Often it is that of the vault, which makes it.
        Err(error) if error.is_without_bucket() => None,
        looked => Some(looked?),
    };
    refuse_locks(&outer).await?;
    make_vault(&outer, &InitArgs::throwaway(), context.clock.now()).await?;
    let stage = match looked {
        Some(stage) => stage,
        None => Stage::in_store(inner.restore(), &vault).await?,
    };
    Ok(Set {
        stage,
        vault,
        table,
        program: context.again.command(&[]),
    })
}

/// A bucket that locks whatever is put would keep the demo's files long after anybody looked at them.
async fn refuse_locks(place: &Place) -> Result<(), CommandError> {
    let Place::Bucket(store) = place else {
        return Ok(());
    };
    let state = match store.bucket_state().await {
        Err(error) if matches!(error.kind, StoreErrorKind::NoBucket) => return Ok(()),
        state => state?,
    };
    match state.object_lock.known().and_then(|lock| lock.default) {
        None => Ok(()),
        Some(_) => Err(CommandError::InvalidUri {
            uri: place.uri().to_owned(),
            rule: "its bucket locks every new object for days, and a demo is to be thrown away",
        }),
    }
}

/// A folder that stays after the demo, to look around in.
fn temporary_folder() -> Result<PathBuf, CommandError> {
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

/// Where the demo plays.
#[derive(Debug, PartialEq, Eq)]
enum DemoPlace {
    /// In a folder; a temporary one without.
    Folder(Option<PathBuf>),
    /// On S3.
    Bucket {
        /// The vault that it makes.
        vault: String,
        /// The table that it makes.
        table: String,
    },
}

/// A demo makes a vault, so only a flag leads it to S3, never what is set up for real work.
fn demo_place(args: DemoArgs, context: &Context) -> Result<DemoPlace, CommandError> {
    let on_s3 = context
        .vault_by_flag()
        .filter(|vault| vault.starts_with("s3://"));
    let unusable = |uri: &str, rule| CommandError::InvalidUri {
        uri: uri.to_owned(),
        rule,
    };
    let Some(vault) = on_s3 else {
        return match args.table {
            Some(table) => Err(unusable(
                &table,
                "a demo on S3 needs --vault s3://bucket/prefix",
            )),
            None => Ok(DemoPlace::Folder(args.dir)),
        };
    };
    let table = match args.table {
        Some(table) => context.place(&table)?,
        None if vault.matches('/').count() > 2 => format!("{vault}-orders"),
        None => {
            let rule = "a vault that has its bucket for itself leaves no place for a table: name one with --table";
            return Err(unusable(vault, rule));
        }
    };
    if !table.starts_with("s3://") {
        return Err(unusable(&table, "the table of a demo on S3 is on S3"));
    }
    let vault = vault.to_owned();
    Ok(DemoPlace::Bucket { vault, table })
}
