//! `init`: makes a vault.

use std::sync::Arc;

use deltavault::ids::Id128;
use deltavault::store::local::LocalStore;
use deltavault::store::{ReadStore as _, StoreErrorKind};
use deltavault::vault::{self, NewVault, Vault};
use deltavault::{Error, ExitCode};
use futures::TryStreamExt;

use super::Context;
use crate::cli::rows::InitDone;
use crate::cli::stores::{make_folder, open_folder};

/// `init`
pub(super) async fn init(context: &mut Context) -> Result<ExitCode, Error> {
    let uri = context.vault()?.to_owned();
    let store = open_folder(&uri)?.with_read_only_files();
    refuse_what_is_there(&store).await?;
    make_folder(&store)?;
    let new = NewVault {
        id: Id128::from_bytes(rand::random()),
        created: context.clock.now(),
    };
    let file = match vault::init(&store, new).await {
        Err(Error::Store(error)) if matches!(error.kind, StoreErrorKind::AlreadyExists) => {
            // Another process was quicker.
            refuse_what_is_there(&store).await?;
            return Err(error.into());
        }
        made => made?,
    };
    context.output.init_done(&InitDone {
        vault: store.uri().to_owned(),
        id: file.id.to_string(),
        created: true,
        lock_mode: file.lock_mode,
    })?;
    Ok(ExitCode::Done)
}

async fn refuse_what_is_there(store: &LocalStore) -> Result<(), Error> {
    let uri = store.uri().to_owned();
    match Vault::open(Arc::new(store.clone())).await {
        Ok(vault) => {
            let id = vault.file().id;
            return Err(Error::AlreadyAVault { uri, id });
        }
        Err(Error::NoVault { .. }) => {}
        Err(error) => return Err(error),
    }
    // The store shows neither an empty folder nor what it cannot name, and both may be somebody's.
    let has_object = store.list("", None).try_next().await?.is_some();
    let has_entry =
        std::fs::read_dir(store.path()).is_ok_and(|mut entries| entries.next().is_some());
    if has_object || has_entry {
        return Err(Error::FolderNotEmpty { uri });
    }
    Ok(())
}
