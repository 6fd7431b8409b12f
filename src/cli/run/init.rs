//! `init`: makes a vault, and its bucket where there is none.

use deltavault::ids::{Id128, Timestamp};
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
    let done = make_vault(&place, context.clock.now()).await?;
    context.output.init_done(&done)?;
    Ok(ExitCode::Done)
}

/// Makes a vault where nothing is, and its bucket where that is missing.
pub(super) async fn make_vault(place: &Place, now: Timestamp) -> Result<InitDone, Error> {
    let bucket = match (place, refuse_what_is_there(place).await) {
        (Place::Bucket(store), Err(Error::Store(error)))
            if matches!(error.kind, StoreErrorKind::NoBucket) =>
        {
            let created = store.create_bucket().await?;
            // Somebody else may have been quicker, also with a vault.
            refuse_what_is_there(place).await?;
            Some(if created {
                BucketRow::Created
            } else {
                BucketRow::Adopted
            })
        }
        (Place::Bucket(_), checked) => {
            checked?;
            Some(BucketRow::Adopted)
        }
        (Place::Folder(_), checked) => {
            checked?;
            place.make()?;
            None
        }
    };
    let new = NewVault::new(Id128::from_bytes(rand::random()), now);
    let file = match vault::init(place.write().as_ref(), new).await {
        Err(Error::Store(error)) if matches!(error.kind, StoreErrorKind::AlreadyExists) => {
            // Another process was quicker.
            refuse_what_is_there(place).await?;
            return Err(error.into());
        }
        made => made?,
    };
    Ok(InitDone {
        vault: place.uri().to_owned(),
        id: file.id.to_string(),
        created: true,
        bucket,
        lock_mode: file.lock_mode,
    })
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
