//! The local index and the pages beside it as commands use them: where they are, and going on without them when they
//! cannot be used.

use std::path::PathBuf;
use std::sync::Arc;

use deltavault::format::TableKey;
use deltavault::format::ledger::Bodies;
use deltavault::ids::Id128;
use deltavault::plan::choose::History;
use deltavault::progress::Progress;
use deltavault::vault::{PageCache, Vault};

use super::index::{Index, IndexError, Opened, Proposals};

/// The index of a vault, or nothing.
#[derive(Debug)]
pub(crate) struct Cache {
    index: Option<Index>,
    progress: Arc<dyn Progress>,
}

impl Cache {
    /// Opens the index of a vault where there can be one.
    pub(crate) fn open(vault: &Vault, progress: Arc<dyn Progress>) -> Self {
        let id = vault.file().id;
        let mut cache = Self {
            index: None,
            progress,
        };
        // No folder for it is as good a state as any.
        if let Some(path) = index_path(id) {
            let opened = Index::open(&path, id);
            cache.take(opened);
        }
        let uri = vault.uri();
        let put = cache.index.as_mut().map(|index| index.put_uri(uri));
        if let Some(Err(error)) = put {
            cache.renew(error);
        }
        cache
    }

    /// What it holds of a table's ledger.
    pub(crate) fn records(&mut self, table: &TableKey) -> Bodies {
        let read = self.index.as_ref().map(|index| index.records(table));
        let bodies = read.transpose().unwrap_or_else(|error| {
            self.renew(error);
            None
        });
        bodies.unwrap_or_default()
    }

    /// Takes in what was read.
    pub(crate) fn put(&mut self, histories: &[History]) {
        for history in histories {
            match self.index.as_mut().map(|index| index.put_records(history)) {
                Some(Ok(lost)) => {
                    if let Some((seq, id)) = lost.last() {
                        self.progress.note(&format!(
                            "{}: this machine has seen snapshot {} in slot {seq}, and the vault no longer has it: its newest \
                             records were lost, or it was set back; compare with a replica (`deltavault index rebuild` \
                             forgets what was seen)",
                            history.name(),
                            id.get(..8).unwrap_or(id),
                        ));
                    }
                }
                Some(Err(error)) => self.renew(error),
                None => {}
            }
        }
    }

    fn renew(&mut self, error: IndexError) {
        if let Some(index) = self.index.take() {
            let opened = index.renew(error);
            self.take(opened);
        }
    }

    fn take(&mut self, opened: Result<Opened, IndexError>) {
        match opened {
            Ok(Opened { index, moved_aside }) => {
                if let Some(aside) = moved_aside {
                    self.progress.note(&format!(
                        "the local index could not be used and is rebuilt; the old file is {}",
                        aside.display()
                    ));
                }
                self.index = Some(index);
            }
            Err(error) => tracing::info!(%error, "going on without the local index"),
        }
    }
}

/// The vault with its pages kept on this machine, beside its index, where there can be a folder for them.
pub(crate) fn with_pages(vault: Vault) -> Vault {
    match page_cache(vault.file().id) {
        Some(cache) => vault.with_pages(cache),
        None => vault,
    }
}

/// The pages of a vault that are kept on this machine: `$XDG_CACHE_HOME/deltavault/<vault id>.pages`.
pub(crate) fn page_cache(vault: Id128) -> Option<PageCache> {
    index_path(vault).map(|path| PageCache::new(path.with_extension("pages")))
}

/// What the index of the vault at a URI proposes, where this machine has one.
pub(crate) fn proposals(uri: &str) -> Option<Proposals> {
    let entries = std::fs::read_dir(folder()?).ok()?;
    let mut paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    paths.find_map(|path| {
        let is_index = path.extension().is_some_and(|it| it == "db");
        is_index.then(|| Proposals::of(&path, uri)).flatten()
    })
}

/// Where the index of a vault is: `$XDG_CACHE_HOME/deltavault/<vault id>.db`, else below `~/.cache`.
pub(crate) fn index_path(vault: Id128) -> Option<PathBuf> {
    Some(folder()?.join(format!("{vault}.db")))
}

fn folder() -> Option<PathBuf> {
    // A relative path there is to be ignored: https://specifications.freedesktop.org/basedir-spec/latest/
    let folder = |variable, below: &str| {
        let path = PathBuf::from(std::env::var_os(variable)?);
        path.is_absolute().then(|| path.join(below))
    };
    let cache = folder("XDG_CACHE_HOME", "").or_else(|| folder("HOME", ".cache"))?;
    Some(cache.join("deltavault"))
}
