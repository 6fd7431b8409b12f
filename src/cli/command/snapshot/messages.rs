//! What `snapshot` says: what a snapshot would take, and what it took.

use deltavault::ids::{SnapshotId, Timestamp, Version};
use deltavault::plan::price::{Commitment, NanoUsd};
use deltavault::plan::unheld::Unheld;
use indicatif::{HumanBytes, HumanCount};
use serde::Serialize;

use crate::cli::error::CommandError;
use crate::cli::output::{Message, Output, counted, minute};

/// What a snapshot would take.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct SnapshotPlanned {
    /// The table's name.
    pub(crate) table: String,
    /// The version that was pinned.
    pub(crate) version: Version,
    /// The snapshot that it would build on.
    pub(crate) base: Option<SnapshotId>,
    /// Whether nothing has changed since that.
    pub(crate) unchanged: bool,
    /// Data files that the vault does not hold yet.
    pub(crate) new_files: u64,
    /// Their bytes, as the log gives them.
    pub(crate) new_bytes: u64,
    /// How they would go into the vault.
    pub(crate) ways: Vec<WayRow>,
    /// GET, HEAD and the like that it would take, estimated.
    pub(crate) read_requests: u64,
    /// PUT, COPY, POST and LIST that it would take, estimated.
    pub(crate) write_requests: u64,
    /// What requests, and storage until the promise ends, cost by the list in US dollars, estimated; of a vault on S3.
    pub(crate) usd: Option<NanoUsd>,
    /// Data files that it holds already.
    pub(crate) known_files: u64,
    /// The retention class it would get.
    pub(crate) class: String,
    /// Why it would get that class.
    pub(crate) reason: String,
    /// Until when it would be promised.
    pub(crate) promise: Timestamp,
    /// What it would commit to beside what was promised before; absent when that is nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) commits: Option<CommitRow>,
    /// What the owner should know.
    pub(crate) findings: Vec<String>,
}

impl Message for SnapshotPlanned {
    const TYPE: &'static str = "snapshot_plan";

    fn text(&self, out: &mut Output) -> Result<(), CommandError> {
        let base = self
            .base
            .map_or_else(|| "nothing".to_owned(), |base| base.short());
        let copy = if self.unchanged {
            format!(
                "nothing changed since snapshot {base}, {} held",
                counted(self.known_files, "data file")
            )
        } else {
            format!(
                "{} to copy, {}; {} held already; builds on {base}",
                counted(self.new_files, "data file"),
                HumanBytes(self.new_bytes),
                HumanCount(self.known_files)
            )
        };
        out.print(format_args!(
            "{} v{}: {copy}; class {}, would be kept until {}",
            self.table,
            self.version,
            self.class,
            minute(self.promise),
        ))?;
        for way in &self.ways {
            out.print(format_args!(
                "  {}: {}, {}, because {}",
                way.way,
                counted(way.files, "file"),
                HumanBytes(way.bytes),
                way.reason
            ))?;
        }
        if let Some(usd) = &self.usd {
            out.print(format_args!(
                "  about {} reading and {} writing requests; about {usd} USD by S3 list prices, storage until then included",
                HumanCount(self.read_requests),
                HumanCount(self.write_requests),
            ))?;
        }
        commits(self.commits.as_ref(), out)?;
        out.findings(&self.findings)
    }
}

/// New files that go one way into the vault.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct WayRow {
    /// `pack`, `stream`, `copy` or `parts`.
    pub(crate) way: &'static str,
    /// Why.
    pub(crate) reason: String,
    pub(crate) files: u64,
    /// Their bytes, as the log gives them.
    pub(crate) bytes: u64,
}

/// What a snapshot binds its owner to.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct CommitRow {
    /// Terabytes times months, with three decimals.
    pub(crate) terabyte_months: String,
    #[serde(flatten)]
    pub(crate) commitment: Commitment,
    /// What it costs by the list in US dollars, estimated; of a vault on S3.
    pub(crate) usd: Option<String>,
}

/// A snapshot is published.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct SnapshotDone {
    /// The table's name.
    pub(crate) table: String,
    /// The version that it holds.
    pub(crate) version: Version,
    /// Its id.
    pub(crate) snapshot: SnapshotId,
    /// Its slot in the ledger.
    pub(crate) sequence: u64,
    /// Files that it holds.
    pub(crate) files: u64,
    pub(crate) bytes: u64,
    /// Files that the vault had to take in.
    pub(crate) new_files: u64,
    /// Their bytes.
    pub(crate) new_bytes: u64,
    /// Whether the table is as it was in the snapshot before.
    pub(crate) unchanged: bool,
    /// How long it took.
    pub(crate) seconds: f64,
    /// The retention class.
    pub(crate) class: String,
    /// Why it has that class.
    pub(crate) reason: String,
    /// Until when it is promised.
    pub(crate) promise: Timestamp,
    /// What it commits to beside what was promised before; absent when that is nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) commits: Option<CommitRow>,
    /// Files that were looked for at the source; absent when that was not asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) source_files: Option<u64>,
    /// How many of them are gone, have another size or could not be looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) source_faults: Option<u64>,
    /// How many of those that are gone the vault has lost, too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) source_lost: Option<u64>,
    /// What the owner should know.
    pub(crate) findings: Vec<String>,
    /// What it does not hold: said once, no finding.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) not_held: Vec<NotHeld>,
}

impl Message for SnapshotDone {
    const TYPE: &'static str = "snapshot_taken";

    fn text(&self, out: &mut Output) -> Result<(), CommandError> {
        let new = if self.unchanged {
            "nothing changed since the one before".to_owned()
        } else {
            format!(
                "{} new, {}",
                HumanCount(self.new_files),
                HumanBytes(self.new_bytes)
            )
        };
        out.print(format_args!(
            "{} v{} is snapshot {} (#{}): {}, {}; {new}; {:.1} s; kept until {}",
            self.table,
            self.version,
            self.snapshot.short(),
            self.sequence,
            counted(self.files, "file"),
            HumanBytes(self.bytes),
            self.seconds,
            minute(self.promise),
        ))?;
        commits(self.commits.as_ref(), out)?;
        if let (Some(files), Some(0)) = (self.source_files, self.source_faults) {
            out.print(format_args!(
                "  the source has all {} files that v{} needs, each with the right size",
                HumanCount(files),
                self.version
            ))?;
        }
        for not_held in &self.not_held {
            out.print(format_args!("  not held: {}", not_held.text))?;
        }
        out.findings(&self.findings)
    }
}

/// Something of a table that a snapshot does not hold.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct NotHeld {
    /// A word for scripts: `older-versions`, `change-feed`, `uniform`, `symlink-manifests`, `object-attributes`,
    /// `catalog-commits`.
    pub(crate) what: &'static str,
    /// What it is, and what can be done.
    pub(crate) text: String,
}

impl From<&Unheld> for NotHeld {
    fn from(unheld: &Unheld) -> Self {
        Self {
            what: unheld.as_str(),
            text: format!("{}: {}", unheld.what(), unheld.advice()),
        }
    }
}

/// Says what a snapshot newly commits to, where that is paid for.
fn commits(commits: Option<&CommitRow>, out: &mut Output) -> Result<(), CommandError> {
    let Some((row, usd)) = commits.and_then(|row| Some((row, row.usd.as_ref()?))) else {
        return Ok(());
    };
    let longer = match row.commitment.longer_objects {
        0 => String::new(),
        objects => format!(
            ", {} with {} locked for longer",
            counted(objects, "object"),
            HumanBytes(row.commitment.longer_bytes)
        ),
    };
    out.print(format_args!(
        "  newly committed: at most {} terabyte-months, about {usd} USD by S3 list prices; {} new{longer}",
        row.terabyte_months,
        HumanBytes(row.commitment.new_bytes),
    ))
}

/// What the snapshots of several tables would take together.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct RunPlanned {
    pub(crate) tables: usize,
    /// Tables that have not changed.
    pub(crate) unchanged: usize,
    /// Tables that cannot be taken, by name.
    pub(crate) failed: Vec<String>,
    /// Data files that the vault does not hold yet.
    pub(crate) new_files: u64,
    /// Their bytes, as the logs give them.
    pub(crate) new_bytes: u64,
    /// GET, HEAD and the like, estimated.
    pub(crate) read_requests: u64,
    /// PUT, COPY, POST and LIST, estimated.
    pub(crate) write_requests: u64,
    /// What it costs by the list in US dollars, estimated; of a vault on S3.
    pub(crate) usd: Option<NanoUsd>,
}

impl RunPlanned {
    /// Adds the plan of one table.
    pub(super) fn add(&mut self, plan: &SnapshotPlanned) {
        self.unchanged += usize::from(plan.unchanged);
        self.new_files += plan.new_files;
        self.new_bytes = self.new_bytes.saturating_add(plan.new_bytes);
        self.read_requests += plan.read_requests;
        self.write_requests += plan.write_requests;
        if let Some(NanoUsd(usd)) = plan.usd {
            self.usd.get_or_insert_default().0 += usd;
        }
    }
}

impl Message for RunPlanned {
    const TYPE: &'static str = "run_plan";

    fn text(&self, out: &mut Output) -> Result<(), CommandError> {
        out.print(format_args!(
            "{}{}{}: {} to copy, {}",
            counted(self.tables as u64, "table"),
            some(self.unchanged, "unchanged"),
            some(self.failed.len(), "failed"),
            counted(self.new_files, "data file"),
            HumanBytes(self.new_bytes)
        ))?;
        let Some(usd) = self.usd else { return Ok(()) };
        out.print(format_args!(
            "  about {} reading and {} writing requests; about {usd} USD by S3 list prices, storage included",
            HumanCount(self.read_requests),
            HumanCount(self.write_requests),
        ))
    }
}

/// What a run of several tables did.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct RunSummary {
    pub(crate) tables: usize,
    /// Tables of which a snapshot was taken.
    pub(crate) taken: usize,
    /// Of those, tables that had not changed.
    pub(crate) unchanged: usize,
    /// Of those, tables with findings.
    pub(crate) with_findings: usize,
    /// Tables that failed, by name.
    pub(crate) failed: Vec<String>,
    /// Files that the vault took in.
    pub(crate) new_files: u64,
    /// Their bytes.
    pub(crate) new_bytes: u64,
    /// How long it took.
    pub(crate) seconds: f64,
}

impl RunSummary {
    /// Adds the snapshot of one table.
    pub(super) fn add(&mut self, done: &SnapshotDone) {
        self.taken += 1;
        self.unchanged += usize::from(done.unchanged);
        self.with_findings += usize::from(!done.findings.is_empty());
        self.new_files += done.new_files;
        self.new_bytes = self.new_bytes.saturating_add(done.new_bytes);
    }
}

impl Message for RunSummary {
    const TYPE: &'static str = "run_summary";

    fn text(&self, out: &mut Output) -> Result<(), CommandError> {
        out.print(format_args!(
            "{}: {} taken{}{}{}; {} new, {}; {:.1} s",
            counted(self.tables as u64, "table"),
            HumanCount(self.taken as u64),
            some(self.unchanged, "unchanged"),
            some(self.with_findings, "with findings"),
            some(self.failed.len(), "failed"),
            counted(self.new_files, "file"),
            HumanBytes(self.new_bytes),
            self.seconds,
        ))
    }
}

/// `, 3 failed`; nothing where there are none.
fn some(count: usize, what: &str) -> String {
    match count {
        0 => String::new(),
        count => format!(", {} {what}", HumanCount(count as u64)),
    }
}
