//! Walks what a record leads to: its manifest, the pages of that, and their entries, each manifest and page once.

use std::collections::HashSet;

use futures::StreamExt;

use super::Vault;
use crate::error::Error;
use crate::format::{Entry, Manifest, PageRef, Record, Reference};
use crate::ids::{Digest, ObjectKey, ObjectVersion};

/// An object version.
pub(super) type Place = (ObjectKey, Option<ObjectVersion>);

pub(super) fn place(reference: &Reference) -> Place {
    (reference.key.clone(), reference.version.clone())
}

/// An object as a reference names it. Another one may give the same place another digest or size: a lie, and what it
/// leads to is not what the honest one leads to.
pub(super) type Whole = (Place, Digest, u64);

pub(super) fn whole(reference: &Reference) -> Whole {
    (place(reference), reference.sha256, reference.size)
}

/// The manifests and pages that were read.
pub(super) type Seen = HashSet<Whole>;

/// What a record leads to.
#[derive(Debug, Clone, Copy)]
pub(super) enum Use<'a> {
    /// A manifest or a page.
    Structure(&'a Reference),
    /// A file, wherever it is held.
    File(&'a Entry),
}

impl<'a> Use<'a> {
    /// The object that is used; `None` for a file that is in a page, or is not held.
    pub(super) fn reference(self) -> Option<&'a Reference> {
        match self {
            Self::Structure(reference) => Some(reference),
            Self::File(entry) => entry.placement.reference(),
        }
    }
}

/// What is done about a manifest or a page that is damaged. What the store could not do is an error in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OnDamage {
    /// The walk ends with that error: who has to know everything knows that it does not.
    Refuse,
    /// The walk goes on with the next page; what is damaged is not read again.
    PassOver,
}

/// Takes what a walk comes to.
pub(super) type Each<'a> = dyn FnMut(Use<'_>) -> Result<(), Error> + Send + 'a;

/// Calls `each` with what a record leads to: manifest, pages, files. What `seen` holds is not read again, and what it leads
/// to is not named again.
pub(super) async fn walk(
    vault: &Vault,
    record: &Record,
    on_damage: OnDamage,
    seen: &mut Seen,
    each: &mut Each<'_>,
) -> Result<(), Error> {
    if seen.contains(&whole(&record.manifest)) {
        return Ok(());
    }
    match vault.manifest(record).await {
        Ok(manifest) => {
            walk_manifest(vault, &record.manifest, &manifest, on_damage, seen, each).await
        }
        Err(error) if error.is_damage() && on_damage == OnDamage::PassOver => {
            seen.insert(whole(&record.manifest));
            Ok(())
        }
        Err(error) => Err(error),
    }
}

/// As [`walk`], of a manifest that was read.
pub(super) async fn walk_manifest(
    vault: &Vault,
    reference: &Reference,
    manifest: &Manifest,
    on_damage: OnDamage,
    seen: &mut Seen,
    each: &mut Each<'_>,
) -> Result<(), Error> {
    each(Use::Structure(reference))?;
    let is_new = |page: &&PageRef| !seen.contains(&whole(&page.page));
    let new: Vec<PageRef> = manifest.pages().filter(is_new).cloned().collect();
    let mut pages = vault.read_pages(&new);
    for page in &new {
        let entries = match pages.next().await {
            Some(Ok(entries)) => entries,
            Some(Err(error)) if error.is_damage() && on_damage == OnDamage::PassOver => {
                seen.insert(whole(&page.page));
                continue;
            }
            Some(Err(error)) => return Err(error),
            None => break,
        };
        each(Use::Structure(&page.page))?;
        entries
            .iter()
            .try_for_each(|entry| each(Use::File(entry)))?;
        seen.insert(whole(&page.page));
    }
    // Last: a manifest counts as read when all of it was.
    seen.insert(whole(reference));
    Ok(())
}

/// Takes each object alone, whatever files are in it. The files of a pack follow each other mostly; each pack is named
/// once a page.
pub(super) fn each_object(
    mut each: impl FnMut(&Reference) -> Result<(), Error> + Send,
) -> impl FnMut(Use<'_>) -> Result<(), Error> + Send {
    let mut named: HashSet<(Place, u64)> = HashSet::new();
    move |used| {
        let Some(reference) = used.reference() else {
            return Ok(());
        };
        if matches!(used, Use::Structure(_)) {
            named.clear();
        }
        if named.insert((place(reference), reference.size)) {
            each(reference)?;
        }
        Ok(())
    }
}
