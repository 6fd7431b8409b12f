//! `init`: makes a vault, and its bucket where there is none.

use deltavault::ids::Id128;
use deltavault::store::StoreErrorKind;
use deltavault::vault::{self, NewVault, Vault};
use deltavault::{Error, ExitCode};
use futures::TryStreamExt;

use super::Context;
use crate::cli::rows::{BucketRow, InitDone};
use crate::cli::stores::Place;

/// `init`
pub(super) async fn init(context: &mut Context) -> Result<ExitCode, Error> {
    let uri = context.vault()?.to_owned();
    let place = context.stores.vault(&uri).await?;
    let bucket = match &place {
        Place::Folder(_) => None,
        Place::Bucket(store) if store.create_bucket().await? => Some(BucketRow::Created),
        Place::Bucket(_) => Some(BucketRow::Adopted),
    };
    refuse_what_is_there(&place).await?;
    place.make()?;
    let new = NewVault {
        id: Id128::from_bytes(rand::random()),
        created: context.clock.now(),
    };
    let file = match vault::init(place.write().as_ref(), new).await {
        Err(Error::Store(error)) if matches!(error.kind, StoreErrorKind::AlreadyExists) => {
            // Another process was quicker.
            refuse_what_is_there(&place).await?;
            return Err(error.into());
        }
        made => made?,
    };
    context.output.init_done(&InitDone {
        vault: place.uri().to_owned(),
        id: file.id.to_string(),
        created: true,
        bucket,
        lock_mode: file.lock_mode,
    })?;
    Ok(ExitCode::Done)
}

async fn refuse_what_is_there(place: &Place) -> Result<(), Error> {
    let uri = place.uri().to_owned();
    match Vault::open(place.read()).await {
        Ok(vault) => {
            let id = vault.file().id;
            return Err(Error::AlreadyAVault { uri, id });
        }
        Err(Error::NoVault { .. }) => {}
        Err(error) => return Err(error),
    }
    // The oldest version of a key is what a vault reads, so what a delete marker hides counts, too.
    let store = place.read();
    let has_object = store.list_versions("", None).try_next().await?.is_some();
    if has_object || place.has_entry() {
        return Err(Error::FolderNotEmpty { uri });
    }
    Ok(())
}
