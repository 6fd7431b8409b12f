//! What the caller asked for, validated once: names resolved against the configuration, places made URIs, times
//! read. From here on nothing is parsed again and no combination is left that means nothing.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap_complete::Shell;
use deltavault::format::{LockMode, Scope, Trigger};
use deltavault::ids::{Timestamp, Version};
use deltavault::plan::price::NanoUsd;
use deltavault::vault::prune::Forget;
use deltavault::vault::restore::LogWanted;
use jiff::SignedDuration;
use jiff::tz::TimeZone;

use super::args::{
    CommandArgs, DemoArgs, DiffSide, IamArgs, IndexArgs, InitArgs, ModeArg, ReadArg, RestoreArgs,
    SnapshotArgs, SnapshotPrefix, Subset, WallArgs, WallCheckArgs,
};
use super::config::{Config, ConfiguredTable};
use super::place::parse_place;
use super::when::When;
use crate::cli::error::CommandError;

mod iam;

pub(crate) use self::iam::IamRenderRequest;

/// One command, ready to be carried out.
#[derive(Debug)]
pub(crate) enum Request {
    /// `init`
    Init(InitRequest),
    /// `wall check`
    WallCheck(WallCheckArgs),
    /// `snapshot`
    Snapshot(SnapshotRequest),
    /// `snapshots`
    Snapshots {
        /// One table; all without.
        table: Option<TableName>,
    },
    /// `show`
    Show(SnapshotPrefix),
    /// `ls`
    Ls(SnapshotPrefix),
    /// `diff`
    Diff {
        /// What is compared.
        before: SnapshotPrefix,
        /// With what.
        after: DiffSide,
    },
    /// `restore`
    Restore(RestoreRequest),
    /// `verify`
    Verify(VerifyRequest),
    /// `prune`
    Prune(PruneRequest),
    /// `hold` and `release`
    Hold {
        /// The snapshot.
        snapshot: SnapshotPrefix,
        /// Whether it is to be held.
        on: bool,
    },
    /// `retire`
    Retire(RetireRequest),
    /// `index rebuild`
    IndexRebuild,
    /// `iam render`
    IamRender(Box<IamRenderRequest>),
    /// `demo`
    Demo(DemoPlace),
    /// `completions`
    Completions(Shell),
}

/// What `init` was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct InitRequest {
    /// The lock mode that was named; `None` of the two where nothing was.
    pub(crate) mode: Option<LockMode>,
    /// The shortest promise allowed, days.
    pub(crate) shortest_days: u32,
    /// The longest promise allowed, days.
    pub(crate) longest_days: u32,
    /// Length of a lock generation, days.
    pub(crate) generation_days: u32,
    /// Whether the owner has said yes.
    pub(crate) yes: bool,
}

impl InitRequest {
    fn new(args: &InitArgs) -> Result<Self, CommandError> {
        if args.longest < args.shortest {
            return Err(CommandError::UnusableFlag {
                flag: "--longest",
                rule: "it is less than --shortest",
            });
        }
        let named = args.mode.map(|mode| match mode {
            ModeArg::Governance => LockMode::Governance,
            ModeArg::Compliance => LockMode::Compliance,
        });
        Ok(Self {
            mode: named.or(args.no_lock.then_some(LockMode::None)),
            shortest_days: args.shortest,
            longest_days: args.longest,
            generation_days: args.generation,
            yes: args.yes,
        })
    }

    /// A vault that is made to be thrown away: without locks.
    pub(crate) fn to_play() -> Self {
        Self {
            mode: Some(LockMode::None),
            shortest_days: 3,
            longest_days: 3650,
            generation_days: 10,
            yes: true,
        }
    }
}

/// Where the demo plays.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum DemoPlace {
    /// In a folder; a temporary one without.
    Folder(Option<PathBuf>),
    /// On S3.
    Bucket {
        /// The vault that it makes.
        vault: String,
        /// The table that it makes.
        table: String,
    },
}

/// What `snapshot` was asked for.
#[derive(Debug)]
pub(crate) struct SnapshotRequest {
    /// The tables, never none.
    pub(crate) tables: Vec<TableToTake>,
    /// The class asked for; known to the configuration.
    pub(crate) class: Option<String>,
    /// The end of the promise asked for.
    pub(crate) retain_until: Option<When>,
    /// The most to newly commit to, for one table.
    pub(crate) max_commit_usd: Option<NanoUsd>,
    /// Why.
    pub(crate) trigger: Trigger,
    /// Whether the plan is all that is wanted.
    pub(crate) dry_run: bool,
    /// Whether the source is looked through for lost files.
    pub(crate) check_source: bool,
    /// When to begin no more files.
    pub(crate) until: Option<Until>,
    /// The most bytes to copy.
    pub(crate) max_bytes: Option<u64>,
    /// The most money to spend.
    pub(crate) max_usd: Option<NanoUsd>,
    /// Snapshots to build nothing on.
    pub(crate) distrust: Vec<SnapshotPrefix>,
    /// The version that the owner of the one table calls its newest.
    pub(crate) accept_tip: Option<Version>,
}

/// When a run begins no more files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Until {
    /// At a time.
    Time(When),
    /// So long after it began.
    After(SignedDuration),
}

impl Until {
    fn parse(text: &str, zone: &TimeZone) -> Result<Self, CommandError> {
        match text.parse::<SignedDuration>() {
            Ok(after) if after.is_positive() => Ok(Self::After(after)),
            Ok(_) | Err(_) => When::parse(text, zone).map(Self::Time),
        }
    }

    /// How long after `now`; nothing for what is past.
    pub(crate) fn after(&self, now: Timestamp) -> Duration {
        let after = match self {
            Self::Time(when) => when.time.duration_since(now),
            Self::After(after) => *after,
        };
        Duration::try_from(after).unwrap_or_default()
    }
}

/// A table that a snapshot is taken of.
#[derive(Debug, Clone)]
pub(crate) struct TableToTake {
    /// The table.
    pub(crate) table: TableName,
    /// What to hold.
    pub(crate) scope: Scope,
    /// The class that the configuration gives this table.
    pub(crate) class: Option<String>,
}

/// A TABLE as it was typed, and all that it can mean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TableName {
    /// As typed.
    pub(crate) text: String,
    /// The name in the configuration, when it is one; it then means nothing else.
    pub(crate) configured: Option<String>,
    /// Where it is by the configuration, else what it means as a path or URI. A word that the configuration
    /// does not know may also be the name of a table in the vault: the vault decides which it is.
    pub(crate) uri: String,
}

/// What `restore` was asked for.
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a flag of the command line, in any combination"
)]
pub(crate) struct RestoreRequest {
    /// The table.
    pub(crate) table: TableName,
    /// What to put back.
    pub(crate) which: Which,
    /// Where and how.
    pub(crate) how: How,
    /// Whether files outside the table's folder may be put back too.
    pub(crate) outside: bool,
    /// Whether a place on S3 was typed as `s3a://`; what is printed to be typed again says the same.
    pub(crate) s3a: bool,
    /// Which of the snapshot's checkpoints are put back.
    pub(crate) log: LogWanted,
    /// Whether what the vault has lost is left out.
    pub(crate) accept_damaged: bool,
    /// Whether to take the table over from another restore that is at work.
    pub(crate) take_over: bool,
    /// Whether the plan is all that is wanted.
    pub(crate) dry_run: bool,
    /// Whether the owner has said yes.
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
    /// The newest version committed at or before a time.
    At(When),
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
    /// In place, in a way that this version only plans; the flag that asked for it.
    Later(&'static str),
}

/// What `verify` was asked for.
#[derive(Debug)]
pub(crate) struct VerifyRequest {
    /// The tables; all without.
    pub(crate) tables: Vec<TableName>,
    /// How many bytes to read again.
    pub(crate) read: ReadArg,
    /// Which part of the vault.
    pub(crate) subset: Option<Subset>,
    /// Whether lost objects are put again.
    pub(crate) repair: bool,
    /// A replica to take them from.
    pub(crate) from: Option<String>,
    /// Whether to put them without being asked.
    pub(crate) yes: bool,
}

/// What `prune` was asked for.
#[derive(Debug)]
pub(crate) struct PruneRequest {
    /// How long what nothing needs stays.
    pub(crate) grace: SignedDuration,
    /// Whether to change nothing.
    pub(crate) dry_run: bool,
    /// Whether to delete without being asked.
    pub(crate) yes: bool,
    /// Manifests of snapshots that were never finished.
    pub(crate) forget: Forget,
}

/// What `retire` was asked for.
#[derive(Debug)]
pub(crate) struct RetireRequest {
    /// The table.
    pub(crate) table: TableName,
    /// Whether to do it without being asked.
    pub(crate) yes: bool,
}

/// What the edge knows and a request is read against.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Surroundings<'a> {
    /// The configuration.
    pub(crate) config: &'a Config,
    /// The vault, where a flag of this command named it.
    pub(crate) vault: Option<&'a str>,
    /// The working directory.
    pub(crate) folder: &'a Path,
    /// The system's time zone.
    pub(crate) zone: &'a TimeZone,
}

impl Request {
    /// Validates what clap has read.
    ///
    /// # Errors
    /// Usage errors: a place that cannot be reached, a time that is none, an unknown class, no table.
    pub(crate) fn new(args: CommandArgs, around: Surroundings<'_>) -> Result<Self, CommandError> {
        let name = |text: String| TableName::new(text, around);
        Ok(match args {
            CommandArgs::Init(args) => Self::Init(InitRequest::new(&args)?),
            CommandArgs::Snapshot(args) => Self::Snapshot(SnapshotRequest::new(args, around)?),
            CommandArgs::Snapshots(args) => Self::Snapshots {
                table: args.table.map(name).transpose()?,
            },
            CommandArgs::Show(args) => Self::Show(args.snapshot),
            CommandArgs::Ls(args) => Self::Ls(args.snapshot),
            CommandArgs::Diff(args) => Self::Diff {
                before: args.before,
                after: args.after,
            },
            CommandArgs::Restore(args) => Self::Restore(RestoreRequest::new(args, around)?),
            CommandArgs::Verify(args) => Self::Verify(VerifyRequest {
                tables: args
                    .tables
                    .into_iter()
                    .map(name)
                    .collect::<Result<_, _>>()?,
                read: args.read,
                subset: args.subset,
                repair: args.repair,
                from: (args.from.as_deref())
                    .map(|from| parse_place(from, around.folder))
                    .transpose()?,
                yes: args.yes,
            }),
            CommandArgs::Prune(args) => Self::Prune(PruneRequest {
                grace: args.grace,
                dry_run: args.dry_run,
                yes: args.yes,
                forget: forget(args.forget),
            }),
            CommandArgs::Hold(args) => Self::Hold {
                snapshot: args.snapshot,
                on: true,
            },
            CommandArgs::Release(args) => Self::Hold {
                snapshot: args.snapshot,
                on: false,
            },
            CommandArgs::Retire(args) => Self::Retire(RetireRequest {
                table: name(args.table)?,
                yes: args.yes,
            }),
            CommandArgs::Index(IndexArgs::Rebuild) => Self::IndexRebuild,
            CommandArgs::Wall(WallArgs::Check(args)) => Self::WallCheck(args),
            CommandArgs::Iam(IamArgs::Render(args)) => {
                Self::IamRender(Box::new(IamRenderRequest::new(args, around)?))
            }
            CommandArgs::Demo(args) => Self::Demo(demo_place(args, around)?),
            CommandArgs::Completions(args) => Self::Completions(args.shell),
        })
    }
}

/// A demo makes a vault, so only a flag leads it to S3, never what is set up for real work.
fn forget(said: Vec<Forget>) -> Forget {
    let mut these = Vec::new();
    for one in said {
        match one {
            Forget::All => return Forget::All,
            Forget::These(more) => these.extend(more),
        }
    }
    Forget::These(these)
}

fn demo_place(args: DemoArgs, around: Surroundings<'_>) -> Result<DemoPlace, CommandError> {
    let on_s3 = around.vault.filter(|vault| vault.starts_with("s3://"));
    let unusable = |uri: &str, rule| CommandError::InvalidUri {
        uri: uri.to_owned(),
        rule,
    };
    let Some(vault) = on_s3 else {
        return match args.table {
            Some(table) => Err(unusable(
                &table,
                "a demo on S3 needs --vault s3://bucket/prefix",
            )),
            None => Ok(DemoPlace::Folder(args.dir)),
        };
    };
    let table = match args.table {
        Some(table) => parse_place(&table, around.folder)?,
        None if vault.matches('/').count() > 2 => format!("{vault}-orders"),
        None => {
            let rule = "a vault that has its bucket for itself leaves no place for a table: name one with --table";
            return Err(unusable(vault, rule));
        }
    };
    if !table.starts_with("s3://") {
        return Err(unusable(&table, "the table of a demo on S3 is on S3"));
    }
    let vault = vault.to_owned();
    Ok(DemoPlace::Bucket { vault, table })
}

impl SnapshotRequest {
    fn new(args: SnapshotArgs, around: Surroundings<'_>) -> Result<Self, CommandError> {
        let scope = args.scope.map(Scope::from);
        let take = |table: TableName, configured: Option<&ConfiguredTable>| TableToTake {
            table,
            scope: scope
                .or(configured.map(|table| table.scope))
                .unwrap_or_default(),
            class: configured.and_then(|table| table.class.clone()),
        };
        let mut tables: Vec<TableToTake> = Vec::new();
        for text in args.tables {
            let table = TableName::new(text, around)?;
            // Naming a table twice would make a run race with itself.
            if tables.iter().all(|other| other.table.uri != table.uri) {
                let configured = around.config.table(&table.text);
                tables.push(take(table, configured));
            }
        }
        if tables.is_empty() {
            let configured = around.config.tables.iter();
            tables.extend(configured.map(|table| take(TableName::configured(table), Some(table))));
        }
        if tables.is_empty() {
            return Err(CommandError::NoTableGiven);
        }
        if args.accept_tip.is_some() && tables.len() > 1 {
            return Err(CommandError::UnusableFlag {
                flag: "--accept-tip",
                rule: "it is about one table: name that table",
            });
        }
        if let Some(class) = &args.class {
            around.config.class(class)?;
        }
        Ok(Self {
            tables,
            class: args.class,
            retain_until: args
                .retain_until
                .map(|text| When::parse(&text, around.zone))
                .transpose()?,
            max_commit_usd: args.max_commit_usd.or(around.config.max_commit_usd),
            trigger: args.trigger.into(),
            dry_run: args.dry_run,
            check_source: args.check_source,
            until: args
                .until
                .map(|text| Until::parse(&text, around.zone))
                .transpose()?,
            max_bytes: args.max_bytes,
            max_usd: args.max_usd,
            distrust: args.distrust,
            accept_tip: args.accept_tip.map(Version),
        })
    }
}

impl TableName {
    fn new(text: String, around: Surroundings<'_>) -> Result<Self, CommandError> {
        if let Some(table) = around.config.table(&text) {
            return Ok(Self::configured(table));
        }
        let uri = parse_place(&text, around.folder)?;
        Ok(Self {
            text,
            configured: None,
            uri,
        })
    }

    fn configured(table: &ConfiguredTable) -> Self {
        Self {
            text: table.name.clone(),
            configured: Some(table.name.clone()),
            uri: table.uri.clone(),
        }
    }
}

impl RestoreRequest {
    fn new(args: RestoreArgs, around: Surroundings<'_>) -> Result<Self, CommandError> {
        let which = if let Some(prefix) = args.snapshot {
            Which::Snapshot(prefix)
        } else if let Some(version) = args.version {
            Which::Version(Version(version))
        } else if let Some(text) = args.at {
            Which::At(When::parse(&text, around.zone)?)
        } else if args.latest {
            Which::Latest
        } else {
            Which::Unsaid
        };
        let typed = std::iter::once(&args.table).chain(&args.to);
        let s3a = typed.into_iter().any(|text| is_s3a(text));
        let how = if let Some(to) = args.to {
            How::To(parse_place(&to, around.folder)?)
        } else if args.heal {
            How::Heal
        } else if args.rewind {
            How::Later("--rewind")
        } else if args.replace {
            How::Later("--replace")
        } else if args.as_commit {
            How::Later("--as-commit")
        } else {
            How::InPlace
        };
        Ok(Self {
            table: TableName::new(args.table, around)?,
            which,
            how,
            outside: args.outside,
            s3a,
            accept_damaged: args.accept_damaged,
            log: match args.without_checkpoint {
                Some(version) => LogWanted::Without(Version(version)),
                None if args.as_it_was => LogWanted::AsItWas,
                None => LogWanted::Readable,
            },
            take_over: args.take_over,
            dry_run: args.dry_run,
            yes: args.yes,
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

    use super::super::args::Args;
    use super::*;

    fn config() -> Config {
        let table = |name: &str, scope| ConfiguredTable {
            name: name.into(),
            uri: format!("file:///lake/{name}"),
            scope,
            class: None,
            rpo: None,
        };
        Config {
            tables: vec![
                table("orders", Scope::History),
                table("people", Scope::Live),
            ],
            ..Config::default()
        }
    }

    fn request(config: &Config, line: &str) -> Result<Request, CommandError> {
        let args = Args::try_parse_from(["deltavault"].into_iter().chain(line.split(' '))).unwrap();
        let around = Surroundings {
            config,
            vault: None,
            folder: Path::new("/home/ann"),
            zone: &TimeZone::UTC,
        };
        Request::new(args.command, around)
    }

    fn snapshot(line: &str) -> Vec<(String, String, Scope)> {
        let Request::Snapshot(request) = request(&config(), line).unwrap() else {
            panic!("{line} is no snapshot");
        };
        let tables = request.tables.into_iter();
        tables
            .map(|take| (take.table.text, take.table.uri, take.scope))
            .collect()
    }

    #[test]
    fn without_tables_those_of_the_configuration_are_taken_as_it_says() {
        let taken = snapshot("snapshot");
        assert_eq!(
            taken[0],
            (
                "orders".into(),
                "file:///lake/orders".into(),
                Scope::History
            )
        );
        assert_eq!(taken[1].2, Scope::Live);
        let none = request(&Config::default(), "snapshot");
        assert!(matches!(none, Err(CommandError::NoTableGiven)));
    }

    #[test]
    fn a_configured_name_wins_over_a_path_and_flags_win_over_the_configuration() {
        let taken = snapshot("snapshot orders ./orders /lake/orders --scope live");
        assert_eq!(taken.len(), 2, "named twice, taken once");
        assert_eq!(
            taken[0],
            ("orders".into(), "file:///lake/orders".into(), Scope::Live)
        );
        assert_eq!(taken[1].1, "file:///home/ann/orders");
    }

    #[test]
    fn restore_says_which_state_and_how() {
        let restore = |line: &str| {
            let Request::Restore(request) = request(&config(), line).unwrap() else {
                panic!("{line} is no restore");
            };
            (request.which, request.how)
        };
        assert_eq!(restore("restore orders"), (Which::Unsaid, How::InPlace));
        assert_eq!(
            restore("restore orders --version 7 --heal"),
            (Which::Version(Version(7)), How::Heal)
        );
        let to = How::To("file:///home/ann/back".into());
        assert_eq!(
            restore("restore orders --latest --to back"),
            (Which::Latest, to)
        );
        assert_eq!(restore("restore orders --rewind").1, How::Later("--rewind"));
        assert!(matches!(
            restore("restore orders --at 2026-11-20T03:00Z").0,
            Which::At(_)
        ));
    }

    #[test]
    fn an_unknown_class_is_a_usage_error() {
        let refused = request(&config(), "snapshot --class monthly").unwrap_err();
        assert_eq!(refused.exit_code().number(), 2);
        assert_eq!(
            refused.hint().unwrap(),
            "use default, or add the class to the configuration under [classes]"
        );
    }
}
