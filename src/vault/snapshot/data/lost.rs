//! Finds what is left of a file that the source has just deleted: an object version below its delete marker.

use futures::TryStreamExt;

use crate::ids::ObjectKey;
use crate::plan::snapshot::Need;
use crate::store::{Attributes, ListedVersion, ReadStore, StoreError, StoreErrorKind};

/// The newest object version of `key`, of the right size where one is known. Delta never writes another file under a
/// name that it used, so bytes of that name and size are the file.
pub(super) async fn find(
    store: &dyn ReadStore,
    key: &ObjectKey,
    need: &Need,
) -> Result<Option<Attributes>, StoreError> {
    let mut newest = None;
    let mut listing = store.list_versions(key.as_str(), None);
    loop {
        match listing.try_next().await {
            Ok(Some(row)) if row.key() != key => break,
            Ok(Some(ListedVersion::Object(object))) => {
                if need.may_have(object.size) && object.version.is_some() {
                    newest = Some(object);
                }
            }
            Ok(Some(ListedVersion::DeleteMarker { .. })) => {}
            // Where it may not be found out, the file is missing, which is said in any case.
            Ok(None)
            | Err(StoreError {
                kind: StoreErrorKind::Denied { .. } | StoreErrorKind::Unsupported { .. },
                ..
            }) => break,
            Err(error) => return Err(error),
        }
    }
    Ok(newest)
}
