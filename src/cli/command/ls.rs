//! `ls`: the files of a snapshot.

use deltavault::ExitCode;
use deltavault::format::{Entry, Placement};
use deltavault::ids::Digest;
use futures::TryStreamExt;
use serde::Serialize;

use super::Context;
use super::looked::{Looked, OneSnapshotArgs};
use crate::cli::error::CommandError;
use crate::cli::output::{Message, Output};

/// `ls`
pub(super) async fn ls(
    args: OneSnapshotArgs,
    context: &mut Context,
) -> Result<ExitCode, CommandError> {
    let mut looked = Looked::new(context).await?;
    let found = looked.find(&args.snapshot, None, context).await?;
    let manifest = looked.manifest(&found, context).await?;
    let mut files = looked.open.vault.files(&manifest);
    loop {
        match files.try_next().await {
            Ok(Some(entry)) => context.output.say(&file_row(&entry))?,
            Ok(None) => return Ok(ExitCode::Done),
            Err(error) => return Err(looked.unreadable(error, &found, context).await),
        }
    }
}

fn file_row(entry: &Entry) -> FileRow {
    let placement = match &entry.placement {
        Placement::Absent {} => "absent".to_owned(),
        Placement::Inline(_) => "inline".to_owned(),
        Placement::Copy { reference }
        | Placement::Blob {
            offset: None,
            reference,
        } => reference.key.to_string(),
        Placement::Blob {
            offset: Some(offset),
            reference,
        } => format!("{}@{offset}", reference.key),
    };
    FileRow {
        kind: entry.kind.as_str(),
        path: entry.file.to_string(),
        size: entry.size,
        rows: entry.rows,
        sha256: entry.sha256,
        placement,
    }
}

/// A file of a snapshot.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct FileRow {
    /// What it is for the table.
    pub(crate) kind: &'static str,
    /// Its path below the table, or its URI.
    pub(crate) path: String,
    /// Bytes.
    pub(crate) size: u64,
    /// Rows, where they are known.
    pub(crate) rows: Option<u64>,
    /// SHA-256; none for an absent file.
    pub(crate) sha256: Option<Digest>,
    /// Where its bytes are: `inline`, `absent`, or a key of the vault.
    pub(crate) placement: String,
}

impl Message for FileRow {
    const TYPE: &'static str = "file";

    fn text(&self, out: &mut Output) -> Result<(), CommandError> {
        let digest = self
            .sha256
            .map_or_else(|| "-".repeat(8), |digest| digest.short());
        out.print(format_args!(
            "{:<15} {:>12} {digest}  {}",
            self.kind, self.size, self.path
        ))
    }
}
