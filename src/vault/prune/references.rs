//! Everything that a snapshot names, one object version at a time.

use std::collections::HashSet;

use futures::TryStreamExt;

use crate::error::Error;
use crate::format::{Entry, Manifest, PageRef, Record, Reference};
use crate::ids::{Digest, ObjectKey, ObjectVersion};
use crate::vault::Vault;

/// An object version.
pub(in crate::vault) type Place = (ObjectKey, Option<ObjectVersion>);

pub(in crate::vault) fn place(reference: &Reference) -> Place {
    (reference.key.clone(), reference.version.clone())
}

/// An object as a reference names it. Another one may give the same place another digest or size: a lie, and what it
/// leads to is not what the honest one leads to.
pub(in crate::vault) type Seen = HashSet<(Place, Digest, u64)>;

fn whole(reference: &Reference) -> (Place, Digest, u64) {
    (place(reference), reference.sha256, reference.size)
}

/// What a record leads to.
#[derive(Debug, Clone, Copy)]
pub(in crate::vault) enum Use<'a> {
    /// A manifest or a page.
    Structure(&'a Reference),
    /// The object that holds a file, and the file.
    File(&'a Reference, &'a Entry),
}

/// Calls `each` with what a record leads to: manifest, pages, files. `seen` holds the manifests and pages that were read
/// before; they are not read again, and what they name is not told again.
pub(in crate::vault) async fn each_use(
    vault: &Vault,
    record: &Record,
    seen: &mut Seen,
    each: &mut (dyn FnMut(Use<'_>) -> Result<(), Error> + Send),
) -> Result<(), Error> {
    if seen.contains(&whole(&record.manifest)) {
        return Ok(());
    }
    let manifest = vault.manifest(record).await?;
    each_use_of(vault, &record.manifest, &manifest, seen, each).await
}

/// As [`each_use`], of a manifest that was read.
async fn each_use_of(
    vault: &Vault,
    reference: &Reference,
    manifest: &Manifest,
    seen: &mut Seen,
    each: &mut (dyn FnMut(Use<'_>) -> Result<(), Error> + Send),
) -> Result<(), Error> {
    each(Use::Structure(reference))?;
    let mut fresh: Vec<PageRef> = Vec::new();
    for page in manifest.log_pages.iter().chain(&manifest.data_pages) {
        if !seen.contains(&whole(&page.page)) {
            fresh.push(page.clone());
        }
    }
    let mut pages = vault.read_pages(&fresh);
    let mut read = fresh.iter();
    while let Some(entries) = pages.try_next().await? {
        let Some(page) = read.next() else {
            break;
        };
        each(Use::Structure(&page.page))?;
        for entry in &entries {
            if let Some(reference) = entry.placement.reference() {
                each(Use::File(reference, entry))?;
            }
        }
        seen.insert(whole(&page.page));
    }
    // Last: a manifest counts as read when all of it was.
    seen.insert(whole(reference));
    Ok(())
}

/// As [`each_use`], and tells each object alone, whatever files are in it.
pub(in crate::vault) async fn each_reference(
    vault: &Vault,
    record: &Record,
    seen: &mut Seen,
    each: &mut (dyn FnMut(&Reference) -> Result<(), Error> + Send),
) -> Result<(), Error> {
    each_use(vault, record, seen, &mut each_object(each)).await
}

/// As [`each_reference`], of a manifest that was read.
pub(super) async fn each_reference_of(
    vault: &Vault,
    reference: &Reference,
    manifest: &Manifest,
    seen: &mut Seen,
    each: &mut (dyn FnMut(&Reference) -> Result<(), Error> + Send),
) -> Result<(), Error> {
    each_use_of(vault, reference, manifest, seen, &mut each_object(each)).await
}

/// The files of a pack follow each other mostly; each pack is told once a page.
fn each_object(
    each: &mut (dyn FnMut(&Reference) -> Result<(), Error> + Send),
) -> impl FnMut(Use<'_>) -> Result<(), Error> + Send {
    let mut told: HashSet<(Place, u64)> = HashSet::new();
    move |used| match used {
        Use::Structure(reference) => {
            told.clear();
            each(reference)
        }
        Use::File(reference, _) => {
            if told.insert((place(reference), reference.size)) {
                each(reference)?;
            }
            Ok(())
        }
    }
}
