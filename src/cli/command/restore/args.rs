//! What `restore` is asked for.

use std::path::Path;

use clap::Args;
use deltavault::ids::Version;
use deltavault::plan::restore::consent::ChosenBy;
use deltavault::plan::restore::deed::Deed;
use deltavault::vault::restore::LogWanted;
use jiff::Zoned;

use crate::cli::args::SnapshotPrefix;
use crate::cli::args::parse_version;
use crate::cli::complete;
use crate::cli::error::CommandError;
use crate::cli::place::{parse_outside, parse_place};
use crate::cli::table_name::TableName;
use crate::cli::when::When;

/// Flags of `restore`.
#[derive(Debug, Default, Args)]
#[group(skip)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "one field a flag; the request made from them has enums"
)]
pub(crate) struct RestoreArgs {
    /// Tables: names from the configuration or the vault, patterns of names like 'sales.*', paths or URIs
    #[arg(value_name = "TABLE", required_unless_present = "all", add = complete::tables())]
    pub(crate) tables: Vec<String>,
    /// Restore every table of the configuration
    #[arg(long, conflicts_with = "tables")]
    pub(crate) all: bool,
    /// Put back snapshot ID
    #[arg(long, value_name = "ID", group = "which", add = complete::ids())]
    pub(crate) snapshot: Option<SnapshotPrefix>,
    /// Put back Delta version N; with --snapshot, as that snapshot holds it
    #[arg(long, value_name = "N", conflicts_with_all = ["at", "latest"], value_parser = parse_version)]
    pub(crate) version: Option<u64>,
    /// Put back the newest version committed at or before TIME (2026-11-20T03:00Z, 2026-11-20 03:00); without a fraction
    /// all of its second counts
    #[arg(long, value_name = "TIME", group = "which")]
    pub(crate) at: Option<String>,
    /// Put back the newest snapshot
    #[arg(long, group = "which")]
    pub(crate) latest: bool,
    /// Copy it whole to the empty folder URI, several tables each to a folder of its name below it; the table itself is not
    /// touched [in place]
    #[arg(long, value_name = "URI", conflicts_with = "heal")]
    pub(crate) to: Option<String>,
    /// Put back data files only, under a live table that is newer; its log is not touched
    #[arg(long)]
    pub(crate) heal: bool,
    /// Put back data files, then print the statements that bring the version back as a new commit of the live table
    #[arg(long, conflicts_with_all = ["to", "rewind", "replace"])]
    pub(crate) as_commit: bool,
    /// Then run CMD, which finds the statements in its environment, and check what it has committed
    #[arg(long, value_name = "CMD", requires = "as_commit")]
    pub(crate) exec: Option<String>,
    /// Take the live log itself back to the snapshot: what is above it goes, after a safety snapshot; `undo` takes that back
    #[arg(long, conflicts_with_all = ["to", "heal"])]
    pub(crate) rewind: bool,
    /// Put it in the place of another table that lives there, or of another history, after a safety snapshot of that
    #[arg(long, conflicts_with_all = ["to", "heal", "rewind"])]
    pub(crate) replace: bool,
    /// Also put back files that the log names outside the table's folder, where they lie in PLACE; repeatable [refuse]
    #[arg(long, value_name = "PLACE")]
    pub(crate) outside: Vec<String>,
    /// Put checkpoints back although nobody can read them [leave them out where the rest of the log suffices]
    #[arg(long, conflicts_with = "without_checkpoint")]
    pub(crate) as_it_was: bool,
    /// Put the log back without checkpoint N, so that readers use the rest of it
    #[arg(long, value_name = "N", value_parser = parse_version)]
    pub(crate) without_checkpoint: Option<u64>,
    /// Put back everything but the files that the vault has lost, which are looked for elsewhere first [refuse]
    #[arg(long)]
    pub(crate) accept_damaged: bool,
    /// Take the table over from another restore that is at work; that one stops within a minute [refuse]
    #[arg(long)]
    pub(crate) take_over: bool,
    /// Print the plan and change nothing [act on it]
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Act on the plan without being asked [ask]
    #[arg(long)]
    pub(crate) yes: bool,
}

/// Which state of a table is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Which {
    /// Nothing was said: the plan shows what there is.
    Unsaid,
    /// The newest snapshot.
    Latest,
    /// A snapshot.
    Snapshot(SnapshotPrefix),
    /// A version.
    Version(Version),
    /// A version out of a snapshot.
    VersionOf(SnapshotPrefix, Version),
    /// The newest version committed at or before a time.
    At(When),
}

impl Which {
    /// Who chose the snapshot.
    pub(crate) fn named(&self) -> ChosenBy {
        match self {
            Self::Unsaid => ChosenBy::Nobody,
            Self::Latest => ChosenBy::Newest,
            Self::Snapshot(_) | Self::Version(_) | Self::VersionOf(..) | Self::At(_) => {
                ChosenBy::ByOwner
            }
        }
    }
}

/// How a table is put back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum How {
    /// In place, as far as nothing is the owner's choice.
    InPlace,
    /// In place, data files only.
    Heal,
    /// A full copy elsewhere.
    To(String),
    /// In place; what a newer live table has above it goes.
    Rewind,
    /// In place; another table or another history makes room.
    Replace,
    /// In place; a rewind or a replacement is taken back.
    Undo(Deed),
}

/// What `restore` was asked for, of one table.
#[derive(Debug)]
pub(crate) struct Asked<'a> {
    /// The flags.
    pub(crate) args: &'a RestoreArgs,
    pub(crate) table: TableName,
    /// What to put back.
    pub(crate) which: Which,
    /// Where and how.
    pub(crate) how: How,
    /// Which of the snapshot's checkpoints are put back.
    pub(crate) log: LogWanted,
    /// URIs of places outside the table's folder that files may be put back in.
    pub(crate) outside: Vec<String>,
    /// Whether a place on S3 was typed as `s3a://`; what is printed to be typed again says the same.
    pub(crate) s3a: bool,
}

impl RestoreArgs {
    /// Reads what they ask of one table, against the working directory and the time.
    ///
    /// # Errors
    /// A place that is none, a time that is none.
    pub(crate) fn read(
        &self,
        table: TableName,
        folder: &Path,
        now: &Zoned,
    ) -> Result<Asked<'_>, CommandError> {
        let typed = std::iter::once(&table.text).chain(&self.to);
        let outside = self.outside.iter();
        let outside = outside.map(|place| parse_outside(place, folder, &table.uri));
        let outside = outside.collect::<Result<_, _>>()?;
        Ok(Asked {
            s3a: typed.into_iter().any(|text| is_s3a(text)),
            table,
            outside,
            which: self.which(now)?,
            how: self.how(folder)?,
            log: match self.without_checkpoint {
                Some(version) => LogWanted::Without(Version(version)),
                None if self.as_it_was => LogWanted::AsItWas,
                None => LogWanted::Readable,
            },
            args: self,
        })
    }

    fn which(&self, now: &Zoned) -> Result<Which, CommandError> {
        let version = self.version.map(Version);
        Ok(if let Some(prefix) = self.snapshot.clone() {
            version.map_or_else(
                || Which::Snapshot(prefix.clone()),
                |version| Which::VersionOf(prefix.clone(), version),
            )
        } else if let Some(version) = version {
            Which::Version(version)
        } else if let Some(text) = &self.at {
            Which::At(When::parse(text, now)?)
        } else if self.latest {
            Which::Latest
        } else {
            Which::Unsaid
        })
    }

    fn how(&self, folder: &Path) -> Result<How, CommandError> {
        Ok(if let Some(to) = &self.to {
            How::To(parse_place(to, folder)?)
        } else if self.heal || self.as_commit {
            How::Heal
        } else if self.rewind {
            How::Rewind
        } else if self.replace {
            How::Replace
        } else {
            How::InPlace
        })
    }
}

/// Whether a place is spelled as Hadoop does.
fn is_s3a(text: &str) -> bool {
    text.get(..6)
        .is_some_and(|scheme| scheme.eq_ignore_ascii_case("s3a://"))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::args::Arguments;
    use crate::cli::command::Command;
    use crate::cli::config::Config;

    #[test]
    fn restore_says_which_state_and_how() {
        let restore = |line: &str| {
            let words = ["deltavault"].into_iter().chain(line.split(' '));
            let Command::Restore(args) = Arguments::try_parse_from(words).unwrap().command else {
                panic!("{line} is no restore");
            };
            let home = Path::new("/home/ann");
            let table = TableName::new(&args.tables[0], &Config::default(), home).unwrap();
            let asked = args.read(table, home, &Zoned::default()).unwrap();
            (asked.which, asked.how)
        };
        let to = How::To("file:///home/ann/back".into());
        for (flags, which, how) in [
            ("", Which::Unsaid, How::InPlace),
            (" --version 7 --heal", Which::Version(Version(7)), How::Heal),
            (" --latest --to back", Which::Latest, to),
        ] {
            assert_eq!(restore(&format!("restore orders{flags}")), (which, how));
        }
        let (which, _) = restore("restore orders --at 2026-11-20T03:00Z");
        assert!(matches!(which, Which::At(_)));
    }

    #[test]
    fn a_restore_chooses_by_one_thing_only() {
        let parse = |flags: &[&str]| {
            Arguments::try_parse_from(["deltavault", "restore", "t"].iter().chain(flags)).is_ok()
        };
        assert!(parse(&["--version", "3"]));
        assert!(parse(&["--latest", "--to", "/x", "--yes"]));
        assert!(!parse(&["--version", "3", "--latest"]));
        assert!(!parse(&["--to", "/x", "--heal"]));
    }
}
