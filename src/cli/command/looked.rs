//! A vault that is looked into: its ledgers, and the snapshot that somebody named.

use std::collections::BTreeMap;
use std::sync::Arc;

use clap::Args;
use deltavault::Error;
use deltavault::format::ledger::Bodies;
use deltavault::format::{EventRole, Manifest, TableKey, VaultKey};
use deltavault::ids::{SnapshotId, Timestamp, Version};
use deltavault::plan::choose::{ChooseError, Chosen, CommitTimes, History, Snapshot, Step, Wanted};
use deltavault::plan::keep::held;
use deltavault::progress::Progress;
use deltavault::vault::look::{Histories, find_snapshot};
use futures::stream::{self, StreamExt as _};
use serde::Serialize;

use super::Context;
use super::verify::typed;
use crate::cli::args::SnapshotPrefix;
use crate::cli::cache;
use crate::cli::cache::Cache;
use crate::cli::complete;
use crate::cli::error::CommandError;
use crate::cli::snapshot_name::{Pick, SnapshotName};
use crate::cli::stores::OpenVault;

/// Tables whose events are read side by side.
const TABLES_AHEAD: usize = 16;

/// Says what there is to say about a table's ledger.
pub(super) fn note_findings(history: &History, progress: &dyn Progress) {
    let name = history.name();
    for finding in &history.findings {
        let object = VaultKey::Record {
            table: history.table.clone(),
            seq: finding.slot(),
        };
        progress.note(&format!("{name}: {object}: {finding}"));
    }
}

/// A vault that is open, and what of its ledgers is on this machine already.
pub(super) struct Looked {
    pub(super) open: OpenVault,
    cache: Option<Cache>,
}

/// Since when a snapshot is held beyond its promise, and by whom.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Hold {
    /// Since when.
    pub(crate) since: Timestamp,
    /// By whom.
    pub(crate) by: String,
}

/// The snapshot that was named, and its table's history.
pub(super) struct Found {
    pub(super) history: History,
    pub(super) snapshot: Snapshot,
}

impl Looked {
    /// Opens the vault for somebody who only looks: what this machine remembers is not asked for again.
    pub(super) async fn new(context: &Context) -> Result<Self, CommandError> {
        let open = context.open_vault().await?;
        let cache = Cache::open(&open.vault, Arc::clone(&context.progress));
        let vault = cache::with_pages(open.vault.clone());
        Ok(Self {
            open: OpenVault { vault, ..open },
            cache: Some(cache),
        })
    }

    /// For somebody who changes something: everything is read from the vault.
    pub(super) fn without_cache(open: OpenVault) -> Self {
        Self { open, cache: None }
    }

    /// Reads the histories of all tables.
    pub(super) async fn histories(&mut self) -> Result<Histories, CommandError> {
        let cache = &mut self.cache;
        let remembered = |table: &TableKey| remembered(cache, table);
        let histories = self.open.vault.histories(remembered).await?;
        self.remember(&histories.read);
        Ok(histories)
    }

    /// Reads the history of one table.
    pub(super) async fn history(&mut self, table: &TableKey) -> Result<History, CommandError> {
        let bodies = remembered(&mut self.cache, table);
        let history = self.open.vault.history(table, bodies).await?;
        self.remember(std::slice::from_ref(&history));
        Ok(history)
    }

    fn remember(&mut self, histories: &[History]) {
        if let Some(cache) = &mut self.cache {
            cache.put(histories);
        }
    }

    /// Reads which snapshots of each table are held; says so where its events cannot be read.
    pub(super) async fn holds(
        &self,
        histories: &[History],
        context: &Context,
    ) -> Result<Vec<BTreeMap<SnapshotId, Hold>>, CommandError> {
        let vault = &self.open.vault;
        let tables = stream::iter(histories.iter().map(|history| &history.table));
        let mut events = tables
            .map(|table| vault.events(table, EventRole::Holder))
            .buffered(TABLES_AHEAD);
        let mut holds = Vec::new();
        for history in histories {
            let held = match events.next().await {
                Some(Ok(events)) => {
                    if let Some(finding) = events.out_of_sight().next() {
                        let what = format!(
                            "{}: a hold may be out of sight, in the events of the holder: {finding}; `deltavault verify` names the \
                             object",
                            history.name()
                        );
                        context.progress.note(&context.again.in_text(&what));
                    }
                    held(events.records())
                }
                None => BTreeMap::new(),
                Some(Err(Error::Ledger(error))) => {
                    let what = format!("{}: its holds are not shown: {error}", history.name());
                    context.progress.note(&what);
                    BTreeMap::new()
                }
                Some(Err(error)) => return Err(error.into()),
            };
            let held = held.into_iter();
            holds.push(
                held.map(|(id, (since, by))| (id, Hold { since, by }))
                    .collect(),
            );
        }
        Ok(holds)
    }

    /// Finds the snapshot that a name means. Where it names no table, it is about `beside`, else about the only table.
    ///
    /// # Errors
    /// That there is none, or that several may be meant.
    pub(super) async fn find(
        &mut self,
        name: &SnapshotName,
        beside: Option<&TableKey>,
        context: &Context,
    ) -> Result<Found, CommandError> {
        match name {
            SnapshotName::Digits(digits) => self.by_digits(digits, beside, context).await,
            SnapshotName::Of { table, pick } => {
                let table = match (table, beside) {
                    (Some(text), _) => {
                        let name = context.table(text)?;
                        self.open
                            .find_table(&name, context.progress.as_ref())
                            .await?
                            .key
                    }
                    (None, Some(beside)) => beside.clone(),
                    (None, None) => self.only_table(*pick).await?,
                };
                let history = self.history(&table).await?;
                self.pick(history, *pick, context).await
            }
        }
    }

    /// Digits are those of an id; decimal ones may also be a version of the one table that can be meant.
    async fn by_digits(
        &mut self,
        digits: &SnapshotPrefix,
        beside: Option<&TableKey>,
        context: &Context,
    ) -> Result<Found, CommandError> {
        let Histories {
            read: histories,
            refused,
        } = self.histories().await?;
        let by_id = match find_snapshot(&histories, digits.as_str()) {
            Ok((history, snapshot)) => Ok(Found {
                history: history.clone(),
                snapshot: snapshot.clone(),
            }),
            // It may be one of a table that cannot be read.
            Err(error) => Err(refused
                .into_iter()
                .next()
                .map_or_else(|| error.into(), |(_, refusal)| refusal)),
        };
        let table = match histories.as_slice() {
            [only] => Some(only),
            several => several.iter().find(|it| Some(&it.table) == beside),
        };
        let version = digits.as_str().parse().ok();
        // No version is written with zeros before it, as an id may begin.
        let version = version.filter(|it: &u64| it.to_string() == digits.as_str());
        let (Some(history), Some(version)) = (table, version) else {
            return Ok(by_id?);
        };
        let by_version = self.pick(history.clone(), Pick::Version(version), context);
        match (by_id, by_version.await) {
            (by_id, Err(_)) => Ok(by_id?),
            (Ok(by_id), Ok(by_version)) if by_id.snapshot.id != by_version.snapshot.id => {
                let what = format!(
                    "{} is a version and the beginning of an id",
                    digits.as_str()
                );
                let choices = vec![format!("v{version}"), by_id.snapshot.id.to_string()];
                Err(ChooseError::Several { what, choices }.into())
            }
            (_, Ok(by_version)) => Ok(by_version),
        }
    }

    /// The table that needs no name.
    async fn only_table(&self, pick: Pick) -> Result<TableKey, CommandError> {
        let tables = self.open.vault.table_refs().await?;
        match tables.as_slice() {
            [only] => Ok(only.key.clone()),
            [] => {
                let (name, known) = (pick.to_string(), Vec::new());
                Err(Error::UnknownTable { name, known }.into())
            }
            tables => {
                let what = format!("the vault holds {} tables", tables.len());
                let names = tables
                    .iter()
                    .map(|table| format!("{}@{pick}", table.name()));
                let choices = names.collect();
                Err(ChooseError::Several { what, choices }.into())
            }
        }
    }

    async fn pick(
        &self,
        mut history: History,
        pick: Pick,
        context: &Context,
    ) -> Result<Found, CommandError> {
        let vault = &self.open.vault;
        let now = context.clock.now();
        let one = std::slice::from_mut(&mut history);
        vault.mark_pruned(one, now).await?;
        let (wanted, back) = match pick {
            Pick::Latest(back) => (Wanted::Latest, back),
            Pick::Version(version) => (Wanted::Version(Version(version)), 0),
        };
        let chosen = match history.choose(&wanted, &CommitTimes::new()) {
            Ok(Step::Done(Chosen { snapshot, .. }) | Step::Read(snapshot)) => snapshot,
            Err(ChooseError::Several { what, choices }) => {
                // They are the flags of a restore.
                let ids = choices.iter().map(|it| it.replace("--snapshot ", ""));
                let choices = ids.map(|it| match pick {
                    Pick::Version(version) => it.replace(&format!(" --version {version} "), " "),
                    Pick::Latest(_) => it,
                });
                let choices = choices.collect();
                return Err(ChooseError::Several { what, choices }.into());
            }
            Err(error) => return Err(error.into()),
        };
        let counts = |it: &&Snapshot| it.seq < chosen.seq && !it.is_distrusted && !it.is_pruned;
        let before = history.snapshots.iter().rev().filter(counts);
        let picked = std::iter::once(chosen).chain(before).nth(back);
        let Some(snapshot) = picked.cloned() else {
            return Err(CommandError::NotSoManySnapshots {
                table: history.name().to_owned(),
                back,
            });
        };
        Ok(Found { history, snapshot })
    }

    /// Reads a snapshot's manifest, or says that it was pruned.
    pub(super) async fn manifest(
        &self,
        found: &Found,
        context: &Context,
    ) -> Result<Manifest, CommandError> {
        let vault = &self.open.vault;
        match vault.manifest(&found.snapshot.record).await {
            Ok(manifest) => Ok(manifest),
            Err(error) => Err(self.unreadable(error, found, context).await),
        }
    }

    /// Why a snapshot cannot be read: it was pruned, or it is damaged and then may be forged, too.
    pub(super) async fn unreadable(
        &self,
        error: Error,
        found: &Found,
        context: &Context,
    ) -> CommandError {
        let (vault, now) = (&self.open.vault, context.clock.now());
        let Found { history, snapshot } = found;
        let error = vault.why_unreadable(error, snapshot, history, now).await;
        if !error.is_damage() {
            return error.into();
        }
        let typed = typed(&self.open, &context.config).await(&snapshot.table);
        let id = snapshot.id.short();
        let command = |words: &[&str]| context.again.command(words);
        CommandError::SnapshotUnreadable {
            snapshot: snapshot.id,
            table: history.name().to_owned(),
            repair: command(&["verify", &typed, "--repair"]),
            distrust: command(&["snapshot", &typed, "--distrust", &id]),
            source: Box::new(error),
        }
    }
}

fn remembered(cache: &mut Option<Cache>, table: &TableKey) -> Bodies {
    let cache = cache.as_mut();
    cache.map_or_else(Bodies::default, |cache| cache.records(table))
}

/// Flags of `show`, `ls`, `hold` and `release`.
#[derive(Debug, Args)]
pub(crate) struct OneSnapshotArgs {
    /// Snapshot: 4 or more digits of its id, its TABLE, or like orders@latest~1, orders@v12
    #[arg(value_name = "SNAPSHOT", add = complete::snapshots())]
    pub(crate) snapshot: SnapshotName,
}
