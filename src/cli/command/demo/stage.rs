//! Where the demo plays: in a folder of its own, or in a bucket.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use deltavault::Error;
use deltavault::reader::TableStore;
use deltavault::shell::quoted;
use deltavault::store::RestoreStore;
use futures::TryStreamExt;

use super::story::DemoError;
use crate::cli::error::CommandError;

/// The places of the table and the vault, and how they are called in the story.
#[derive(Debug, Clone)]
pub(crate) struct Stage {
    table: Ground,
    vault: String,
    set_out: String,
    clean_up: String,
}

#[derive(Debug, Clone)]
enum Ground {
    Folder(PathBuf),
    Store(Arc<dyn RestoreStore>),
}

impl Stage {
    /// Makes the folder, or takes an empty one.
    ///
    /// # Errors
    /// [`Error::TargetNotEmpty`] when something is in it.
    pub(crate) fn in_folder(folder: &Path) -> Result<Self, CommandError> {
        let failed = |action| move |source| folder_error(action, folder, source);
        std::fs::create_dir_all(folder).map_err(failed("create"))?;
        let mut entries = std::fs::read_dir(folder).map_err(failed("read"))?;
        if entries.next().is_some() {
            let uri = folder.display().to_string();
            return Err(Error::TargetNotEmpty { uri }.into());
        }
        let told = folder.display().to_string();
        Ok(Self {
            table: Ground::Folder(folder.join("lake").join("orders")),
            vault: folder.join("vault").display().to_string(),
            set_out: format!("A table and its vault, in {told}"),
            clean_up: format!("rm -r {}", quoted(&told)),
        })
    }

    /// Takes a place for the table where nothing is, beside the vault at `vault`.
    ///
    /// # Errors
    /// [`Error::TargetNotEmpty`] when something is in it.
    pub(crate) async fn in_store(
        table: Arc<dyn RestoreStore>,
        vault: &str,
    ) -> Result<Self, CommandError> {
        let uri = table.uri().to_owned();
        if table.list("", None).try_next().await?.is_some() {
            return Err(Error::TargetNotEmpty { uri }.into());
        }
        let places = [vault.to_owned(), uri.clone(), copy_of(&uri)];
        let remove =
            places.map(|uri| format!("aws s3 rm --recursive {}", quoted(&format!("{uri}/"))));
        Ok(Self {
            table: Ground::Store(table),
            vault: vault.to_owned(),
            set_out: format!("A table at {uri}, and its vault at {vault}"),
            clean_up: remove.join("; "),
        })
    }

    /// The table, as it is named in a command.
    pub(crate) fn table(&self) -> String {
        match &self.table {
            Ground::Folder(folder) => folder.display().to_string(),
            Ground::Store(store) => store.uri().to_owned(),
        }
    }

    /// The vault, as it is named in a command.
    pub(crate) fn vault(&self) -> &str {
        &self.vault
    }

    /// What spares naming the vault in every command; on S3 the commands name it, as the one did that was typed.
    pub(super) fn export(&self) -> Option<String> {
        match &self.table {
            Ground::Folder(_) => Some(format!("export DELTAVAULT_VAULT={}", quoted(&self.vault))),
            Ground::Store(_) => None,
        }
    }

    /// Where `deltalake` finds the table.
    pub(super) fn store(&self) -> TableStore {
        match &self.table {
            Ground::Folder(folder) => TableStore::Folder(folder.clone()),
            Ground::Store(store) => TableStore::Writable(Arc::clone(store)),
        }
    }

    /// The table, as the story calls it.
    pub(super) fn name(&self) -> String {
        match &self.table {
            Ground::Folder(_) => "lake/orders".to_owned(),
            Ground::Store(store) => store.uri().to_owned(),
        }
    }

    /// What is where.
    pub(super) fn set_out(&self) -> &str {
        &self.set_out
    }

    /// A place for a copy of the table.
    pub(super) fn copy(&self) -> String {
        match &self.table {
            Ground::Folder(folder) => {
                let beside = folder.parent().and_then(Path::parent);
                beside.unwrap_or(folder).join("copy").display().to_string()
            }
            Ground::Store(store) => copy_of(store.uri()),
        }
    }

    /// What removes all of it.
    pub(super) fn clean_up(&self) -> &str {
        &self.clean_up
    }

    /// Deletes the table: data, log and all.
    pub(super) async fn drop_table(&self) -> Result<(), CommandError> {
        match &self.table {
            Ground::Folder(folder) => Ok(std::fs::remove_dir_all(folder)
                .map_err(|source| folder_error("delete", folder, source))?),
            Ground::Store(store) => {
                let mut files = store.list("", None);
                while let Some(file) = files.try_next().await? {
                    store.remove(&file.key, &file.etag).await?;
                }
                Ok(())
            }
        }
    }
}

fn copy_of(table: &str) -> String {
    format!("{table}-copy")
}

fn folder_error(action: &'static str, path: &Path, source: std::io::Error) -> DemoError {
    let path = path.display().to_string();
    DemoError::Folder {
        action,
        path,
        source,
    }
}
