//! Looks whether the vault still has what the record of an unchanged table would name: beside the manifest, which was
//! read, one page or one object of it, whose turn it is.
//!
//! It looks as a restore reads: what is not where it was put, but served by another version of its key or by what a
//! repair has put, is there.

use std::path::Path;

use super::failure::Failure;
use super::past::Past;
use crate::error::Error;
use crate::format::{Entry, Manifest, Record};
use crate::ids::ObjectKey;
use crate::plan::snapshot::Rotation;
use crate::shell::operand;
use crate::vault::{LedgerView, Vault};

/// What was looked for.
#[derive(Debug)]
pub(super) enum Looked {
    Present,
    /// The vault refuses to say; what it says instead.
    Unknown(String),
    /// The object is gone, or cut short, and nothing serves the file in it that was looked for.
    Lost(ObjectKey),
}

/// Looks at the page or the object of a manifest whose turn it is for the record in slot `seq`. A page is read, past all
/// that this machine keeps; of an object, the store is asked for its size.
///
/// # Errors
/// [`Error::Damaged`] for a page of which the vault has no right copy.
pub(super) async fn look(
    vault: &Vault,
    manifest: &Manifest,
    seq: u64,
    folder: &Path,
) -> Result<Looked, Failure> {
    let mut turn = Rotation::of(seq);
    let is_page = turn.pick(&[true, false]) == Some(&true);
    let pages: Vec<_> = manifest
        .log_pages
        .iter()
        .chain(&manifest.data_pages)
        .collect();
    let Some(page) = turn.pick(&pages) else {
        return Ok(Looked::Present);
    };
    if is_page {
        vault.without_pages().page(page).await?;
        return Ok(Looked::Present);
    }
    let mut entries = vault.page(page).await?;
    entries.retain(|entry| entry.placement.reference().is_some());
    let Some(entry) = turn.pick(&entries) else {
        return Ok(Looked::Present);
    };
    Ok(look_at(vault, entry, folder).await?)
}

/// Looks whether the vault still has the bytes of an entry: its object's size tells, or, where that is not there, what
/// else serves the file.
pub(super) async fn look_at(vault: &Vault, entry: &Entry, folder: &Path) -> Result<Looked, Error> {
    let Some(reference) = entry.placement.reference() else {
        return Ok(Looked::Present);
    };
    let (key, version) = (&reference.key, reference.version.as_ref());
    match vault.store().attributes(key, version).await {
        Ok(found) if found.size == reference.size => return Ok(Looked::Present),
        Ok(_) => {}
        Err(error) if error.is_not_found() => {}
        Err(error) if error.is_permanent() => {
            return Ok(Looked::Unknown(format!("{key}: {}", error.kind)));
        }
        Err(error) => return Err(error.into()),
    }
    match vault.payload(entry, folder).await {
        Ok(_) => Ok(Looked::Present),
        Err(Error::Damaged { .. }) => Ok(Looked::Lost(key.clone())),
        Err(error) => Err(error),
    }
}

/// How findings begin that are about the vault, as it was on one night.
const VAULT: &str = "the vault ";

/// The findings of a record that hold for as long as the table does not change: those about its log and its files.
pub(super) fn lasting(record: &Record) -> impl Iterator<Item = &String> {
    let findings = record.findings.iter();
    findings.filter(|finding| !finding.starts_with(VAULT))
}

/// What is said of a ledger in which records are gone or put out of reach.
pub(super) fn of_ledger(view: &LedgerView) -> impl Iterator<Item = String> {
    let slot = view.head.next_free;
    let findings = view.head.findings.iter();
    let hiding = findings.filter(|finding| finding.may_hide_a_record());
    hiding.map(move |finding| {
        format!(
            "{VAULT}may hide snapshots of this table: {finding}; this snapshot is put into slot {slot}, and `deltavault \
             verify` says what is missing"
        )
    })
}

/// What is said of an object that could not be looked at.
pub(super) fn unknown(what: &str) -> String {
    format!("{VAULT}does not say whether it still has {what}")
}

/// What the vault has lost of an older snapshot.
pub(super) enum Lost<'a> {
    /// An object, whose files the snapshot copies again.
    Object(&'a ObjectKey),
    /// An object, so that the snapshot is not built on.
    Part,
    /// Its manifest, or a page of it: it is not built on either.
    List,
    /// A checkpoint, which is read from the table again.
    Checkpoint(&'a ObjectKey),
}

/// What is said of something that the vault has lost of a snapshot.
pub(super) fn lost(what: &Lost<'_>, past: &Past, table: &str) -> String {
    let (id, table) = (past.id.short(), operand(table));
    let lost = match what {
        Lost::Object(object) => {
            format!("{object}: the files that snapshot {id} has in it are")
        }
        Lost::Part => format!("an object of snapshot {id}: what only that snapshot held is"),
        Lost::List => format!(
            "the manifest of snapshot {id}, or a page of it: what only that snapshot held is"
        ),
        Lost::Checkpoint(file) => format!("{file} as snapshot {id} holds it: it is"),
    };
    let forged = match what {
        Lost::List => format!(
            "; if that snapshot is forged, `deltavault snapshot {table} --distrust {id}` builds on nothing from it on"
        ),
        Lost::Object(_) | Lost::Part | Lost::Checkpoint(_) => String::new(),
    };
    format!(
        "{VAULT}no longer has {lost} copied again; for it and older ones run `deltavault verify {table} --repair`{forged}"
    )
}

/// What is said where no snapshot can be built on.
pub(super) fn no_base() -> String {
    format!("{VAULT}has no snapshot to build on: all files of the table are copied again")
}
