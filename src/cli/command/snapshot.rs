//! `snapshot`: takes tables side by side. What becomes of each is told when it is known.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use deltavault::ExitCode;
use deltavault::format::{Scope, Trigger};
use deltavault::ids::{Id128, Timestamp, Version};
use deltavault::plan::price::{NanoUsd, Prices};
use deltavault::plan::retention;
use deltavault::plan::retention::RetentionRequest;
use deltavault::vault::snapshot::{Limits, MaxPrice};
use parse_size::parse_size;

use self::fleet::{Outcome, Pace};
use self::patience::Patience;
use self::report::{Report, Taken};
use super::{Clock, Context, remind_of_locks};
use crate::cli::args::{SnapshotPrefix, Words, one_of, parse_duration, parse_version};
use crate::cli::complete;
use crate::cli::config::{Config, ConfiguredTable};
use crate::cli::error::CommandError;
use crate::cli::place::parse_outside;
use crate::cli::stores::{OpenVault, Place, table_uri};
use crate::cli::table_name::TableName;
use crate::cli::when::When;

pub(super) use self::take::{Run, TableToTake, Taker};

mod fleet;
mod messages;
mod patience;
mod report;
mod take;

/// Flags of `snapshot`.
#[derive(Debug, Args)]
pub(crate) struct SnapshotArgs {
    /// Tables: names from the configuration or the vault, paths or URIs
    #[arg(value_name = "TABLE", add = complete::tables())]
    pub(crate) tables: Vec<String>,
    /// Hold the pinned version, or also older ones still in the log [the table's setting, else live]
    #[arg(long, value_name = "SCOPE", value_parser = one_of(SCOPES))]
    pub(crate) scope: Option<Scope>,
    /// Keep it as long as CLASS says [the table's class, else as the policy decides]
    #[arg(long, value_name = "CLASS")]
    pub(crate) class: Option<String>,
    /// Record why it was taken [manual; without a terminal, where a class has a period, scheduled]
    #[arg(long, value_name = "TRIGGER", value_parser = one_of(TRIGGERS))]
    pub(crate) trigger: Option<Trigger>,
    /// Print the plan and change nothing [take the snapshot]
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Also list the whole table and name live files that are gone; for a weekly run [trust the log]
    #[arg(long, conflicts_with = "dry_run")]
    pub(crate) check_source: bool,
    /// Begin no file after TIME, like 05:00 or 6h from now; the next run continues [never]
    #[arg(long, value_name = "TIME")]
    pub(crate) until: Option<String>,
    /// Copy no more than N bytes, like 5G, 1.5TB (of 1,000s) or 2TiB (of 1,024s); the next run continues [all]
    #[arg(long, value_name = "N", value_parser = parse_bytes)]
    pub(crate) max_bytes: Option<u64>,
    /// Spend no more than X dollars on requests and storage, by list prices; the next run continues [any]
    #[arg(long, value_name = "X", value_parser = parse_usd)]
    pub(crate) max_usd: Option<NanoUsd>,
    /// Also hold files that the log names outside the table's folder, where they lie in PLACE; repeatable [the configuration's]
    #[arg(long, value_name = "PLACE")]
    pub(crate) outside: Vec<String>,
    /// Give up a table of which nothing was copied for DURATION, like 30m or 6h [the configuration's, else 2h]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub(crate) table_timeout: Option<Duration>,
    /// Keep it until TIME, a date or like 90d from now, whatever its class says [as its class says]
    #[arg(long, value_name = "TIME")]
    pub(crate) retain_until: Option<String>,
    /// Refuse a table's snapshot that newly commits to more than X dollars of storage [the configuration's]
    #[arg(long, value_name = "X", value_parser = parse_usd)]
    pub(crate) max_commit_usd: Option<NanoUsd>,
    /// Build neither on snapshot ID nor on any later one; repeatable
    #[arg(long, value_name = "ID", add = complete::ids())]
    pub(crate) distrust: Vec<SnapshotPrefix>,
    /// Take version N as the newest, where another one lies far above the rest
    #[arg(long, value_name = "N", value_parser = parse_version)]
    pub(crate) accept_tip: Option<u64>,
}

fn parse_bytes(text: &str) -> Result<u64, String> {
    parse_size(text).map_err(|error| format!("{error}: write it like 5G or 2TiB"))
}

fn parse_usd(text: &str) -> Result<NanoUsd, String> {
    NanoUsd::parse(text).ok_or_else(|| "write it like 12 or 0.50".to_owned())
}

/// What a snapshot holds.
const SCOPES: Words<Scope> = &[
    ("live", "The pinned version", Scope::Live),
    (
        "history",
        "Also older versions still in the log",
        Scope::History,
    ),
];

/// Why a snapshot is taken.
const TRIGGERS: Words<Trigger> = &[
    (
        "scheduled",
        "By a timer; opens the periods of retention classes",
        Trigger::Scheduled,
    ),
    ("manual", "By a person", Trigger::Manual),
    ("safety", "Before something destructive", Trigger::Safety),
];

/// The tables that are named, never none; those of the configuration where none is. Checks what the flags say of them.
fn tables_to_take(
    args: &SnapshotArgs,
    config: &Config,
    folder: &Path,
) -> Result<Vec<TableToTake>, CommandError> {
    let take = |table: TableName, configured: Option<&ConfiguredTable>| TableToTake {
        table,
        scope: args
            .scope
            .or(configured.map(|table| table.scope))
            .unwrap_or_default(),
        class: configured.and_then(|table| table.class.clone()),
        outside: configured.map_or_else(Vec::new, |table| table.outside.clone()),
    };
    let mut tables: Vec<TableToTake> = Vec::new();
    for text in &args.tables {
        let table = TableName::new(text, config, folder)?;
        // Naming a table twice would make a run race with itself.
        if tables.iter().all(|other| other.table.uri != table.uri) {
            let configured = config.table(&table.text);
            tables.push(take(table, configured));
        }
    }
    if tables.is_empty() {
        let configured = config.tables.iter();
        tables.extend(configured.map(|table| take(TableName::configured(table), Some(table))));
    }
    if tables.is_empty() {
        return Err(CommandError::NoTableGiven);
    }
    let one_only = [
        ("--accept-tip", args.accept_tip.is_some()),
        ("--outside", !args.outside.is_empty()),
    ];
    if let Some((flag, _)) = one_only.iter().find(|(_, is_given)| *is_given)
        && tables.len() > 1
    {
        return Err(CommandError::UnusableFlag {
            flag,
            rule: "it is about one table: name that table",
        });
    }
    for take in &mut tables {
        for place in &args.outside {
            let place = parse_outside(place, folder, &take.table.uri)?;
            take.outside.push(place);
        }
    }
    if let Some(class) = &args.class {
        config.class(class)?;
    }
    Ok(tables)
}

const PACE: Pace = Pace {
    // Their files share one budget, so more would only hold more logs in memory.
    at_a_time: 4,
    // What stands in a server's way for longer than a call is tried again needs more than a moment.
    pause: Duration::from_secs(5),
};

/// Where a table is, with the links and dots of its path resolved; what cannot be resolved is refused in its turn.
fn real_place(table: &TableName) -> String {
    match table_uri(&table.uri) {
        Ok(uri) => uri.to_string(),
        Err(_) => table.uri.clone(),
    }
}

/// Takes the snapshots, or says what they would be.
pub(super) async fn snapshot(
    args: SnapshotArgs,
    context: &mut Context,
) -> Result<ExitCode, CommandError> {
    let mut tables = tables_to_take(&args, &context.config, &context.folder)?;
    let here = context.here();
    let coming = |text: &String| When::parse_coming(text, &here);
    let retain_until = args.retain_until.as_ref().map(coming).transpose()?;
    let until = args.until.as_ref().map(coming).transpose()?;
    // One place under two spellings would make the run race with itself.
    let mut places = HashSet::new();
    tables.retain(|take| places.insert(real_place(&take.table)));
    let open = context.open_vault().await?;
    remind_of_locks(&open, context.progress.as_ref());
    check_clock(&open, context.clock)?;
    // A dry run writes nothing, not even the file that a lock needs.
    let _lock = if args.dry_run { None } else { open.share()? };
    let mut taker = Taker::new(open, Arc::clone(&context.progress));
    taker.check_source = args.check_source;
    taker.snapshotter.interrupt = context.interrupt.clone();
    taker.snapshotter.limits = limits(&args, until.as_ref(), &taker.open, context.clock.now());
    let run = Run {
        trigger: trigger(&args, context),
        ask: RetentionRequest {
            class: args.class.clone(),
            until: retain_until.map(|until| until.time),
        },
        max_commit: args
            .max_commit_usd
            .or(context.config.max_commit_usd)
            .map(|amount| MaxPrice {
                amount,
                prices: Prices::of(taker.open.storage_class()),
            }),
        clock: context.clock,
        set: (tables.len() > 1).then(|| Id128::from_bytes(rand::random())),
        distrust: taker.distrusted(&args.distrust, &tables).await?,
        accept_tip: args.accept_tip.map(Version),
    };
    let Context {
        config,
        output,
        progress,
        ..
    } = context;
    if tables.len() > 1 {
        progress.tables(tables.len() as u64);
    }
    let config = &*config;
    let dry_run = args.dry_run;
    let limit = args.table_timeout.or(config.table_timeout);
    let limit = limit.unwrap_or(patience::DEFAULT);
    let take = async |table: &TableToTake| {
        let patience = Patience::new(limit, Arc::clone(progress));
        let job = Box::pin(patience.during(taker.job(table, &run, config))).await?;
        let (taker, watch) = (
            taker.watched_by(Arc::clone(&patience) as _),
            Arc::clone(&patience),
        );
        let work = fleet::apart(move || async move {
            // Between two calls it ends by itself; in a computation the thread is left to it.
            let done = async {
                if dry_run {
                    taker.plan(&job).await.map(Taken::Planned)
                } else {
                    taker.take(&job).await.map(Taken::Done)
                }
            };
            Box::pin(watch.during(done)).await
        });
        patience.during(work).await
    };
    let mut report = Report::new(output, &tables, dry_run);
    let tell = |table: &TableToTake, outcome| {
        if !matches!(outcome, Outcome::Waits(_)) {
            progress.table_done();
        }
        report.tell(table, outcome)
    };
    if let Err(cut_short) = fleet::run(&tables, PACE, take, tell).await {
        report.errors()?;
        return Err(cut_short);
    }
    report.end()
}

/// Why this run takes its snapshots. A timer that forgets to say so would never open a period of the configuration.
fn trigger(args: &SnapshotArgs, context: &Context) -> Trigger {
    if let Some(trigger) = args.trigger {
        return trigger;
    }
    let mut classes = context.config.policy.classes.iter();
    if context.has_terminal || !classes.any(|class| class.period.is_some()) {
        return Trigger::Manual;
    }
    context.progress.note(
        "taken as --trigger scheduled: there is no terminal, and the configuration has classes with a period; \
         --trigger manual says otherwise",
    );
    Trigger::Scheduled
}

/// Compares the clock with that of the vault's server, which has just answered. Promises and locks count from it.
fn check_clock(open: &OpenVault, clock: Clock) -> Result<(), CommandError> {
    match (&open.place, clock) {
        (Place::Bucket(store), Clock::System) => {
            let told = store.client().server_time();
            told.map_or(Ok(()), |told| retention::check_clock(clock.now(), told))?;
            Ok(())
        }
        // A pinned clock means what it says.
        #[cfg(feature = "testing")]
        (Place::Bucket(_), Clock::Pinned(_)) => Ok(()),
        (Place::Folder(_), _) => Ok(()),
    }
}

/// Where the run ends early.
fn limits(args: &SnapshotArgs, until: Option<&When>, open: &OpenVault, now: Timestamp) -> Limits {
    // What is past is reached at once.
    let left =
        |until: &When| Duration::try_from(until.time.duration_since(now)).unwrap_or_default();
    Limits::new(
        until.map(|until| tokio::time::Instant::now() + left(until)),
        args.max_bytes,
        args.max_usd.map(|amount| MaxPrice {
            amount,
            prices: Prices::of(open.storage_class()),
        }),
    )
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::args::Arguments;
    use crate::cli::command::Command;

    fn config() -> Config {
        let table = |name: &str, scope| ConfiguredTable {
            name: name.into(),
            uri: format!("file:///lake/{name}"),
            scope,
            class: None,
            rpo: None,
            outside: Vec::new(),
        };
        Config {
            tables: vec![
                table("orders", Scope::History),
                table("people", Scope::Live),
            ],
            ..Config::default()
        }
    }

    fn tables(config: &Config, line: &str) -> Result<Vec<TableToTake>, CommandError> {
        let words = ["deltavault"].into_iter().chain(line.split(' '));
        let Command::Snapshot(args) = Arguments::try_parse_from(words).unwrap().command else {
            panic!("{line} is no snapshot");
        };
        tables_to_take(&args, config, Path::new("/home/ann"))
    }

    fn snapshot(line: &str) -> Vec<(String, String, Scope)> {
        let tables = tables(&config(), line).unwrap().into_iter();
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
        let none = tables(&Config::default(), "snapshot");
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
    fn sizes_are_typed_as_people_type_them() {
        for (text, bytes) in [
            ("500", 500),
            ("5G", 5_000_000_000),
            ("1.5 GB", 1_500_000_000),
            ("2TiB", 2 << 40),
            ("10k", 10_000),
        ] {
            assert_eq!(parse_bytes(text), Ok(bytes), "{text}");
        }
        for bad in ["", "5xb", "-1", "G", "99999999999999T"] {
            assert!(parse_bytes(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_unknown_class_is_a_usage_error() {
        let refused = tables(&config(), "snapshot --class monthly").unwrap_err();
        assert_eq!(refused.exit_code().number(), 2);
        assert_eq!(
            refused.hint().unwrap(),
            "use default, or add the class to the configuration under [classes]"
        );
    }
}
