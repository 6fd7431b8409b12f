//! The command line as clap reads it: names, help, defaults, and nothing that needs a second look.
//!
//! What is read here becomes a [`super::request::Request`] once; nothing else sees these types.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};

use deltavault::format::{Scope, Trigger};
use deltavault::ids::{Digest, Timestamp};
use deltavault::plan::price::NanoUsd;
use deltavault::plan::prune::LONGEST_GRACE;
use deltavault::vault::prune::Forget;
use jiff::SignedDuration;

mod iam;
mod wall;

pub(crate) use self::iam::{IamArgs, IamRenderArgs};
pub(crate) use self::wall::{WallArgs, WallCheckArgs};

/// Keep Delta Lake tables in an immutable vault, and put them back exactly
#[derive(Debug, Parser)]
#[command(
    name = "deltavault",
    version,
    about,
    propagate_version = false,
    disable_help_subcommand = true,
    arg_required_else_help = true,
    after_help = "Paths are local folders or file:// URIs. Start with: deltavault demo"
)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) global: GlobalArgs,
    #[command(subcommand)]
    pub(crate) command: CommandArgs,
}

/// Flags that every command takes.
#[derive(Debug, ClapArgs)]
pub(crate) struct GlobalArgs {
    /// Use the vault at URI [the configuration's]
    #[arg(
        long,
        value_name = "URI",
        env = "DELTAVAULT_VAULT",
        hide_env_values = true,
        global = true,
        help_heading = "Global options"
    )]
    pub(crate) vault: Option<String>,
    /// Read tables, classes and the vault from FILE [none]
    #[arg(
        long,
        value_name = "FILE",
        env = "DELTAVAULT_CONFIG",
        hide_env_values = true,
        global = true,
        help_heading = "Global options"
    )]
    pub(crate) config: Option<PathBuf>,
    /// Print JSON lines, each with a `message_type` [text]
    #[arg(long, global = true, help_heading = "Global options")]
    pub(crate) json: bool,
    /// Say more on stderr; twice for debugging, three times for everything [warnings]
    #[arg(short, long, action = clap::ArgAction::Count, global = true, help_heading = "Global options")]
    pub(crate) verbose: u8,
    /// Pins the clock, so that tests can compare what is printed.
    #[arg(long, env = "DELTAVAULT_NOW", hide = true, global = true)]
    pub(crate) now: Option<Timestamp>,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum CommandArgs {
    /// Make a vault in a folder or under a prefix where nothing is yet, and its bucket
    #[command(
        after_long_help = "Exit codes: 0 done, 1 failed, 2 usage, 3 done, the bucket has findings, 4 the owner must \
                           choose or needs --yes, 130 interrupted"
    )]
    Init(InitArgs),
    /// Take a snapshot of tables [every table of the configuration]
    #[command(
        after_long_help = "Exit codes: 0 done, 1 failed, 2 usage, 3 done with findings, 5 some tables failed, \
                           10 no vault, 11 another writer won, 12 damage, 130 interrupted"
    )]
    Snapshot(SnapshotArgs),
    /// List the snapshots, and until when each is kept
    #[command(after_long_help = LOOK_EXIT_CODES)]
    Snapshots(SnapshotsArgs),
    /// Show everything one snapshot says of itself
    #[command(after_long_help = LOOK_EXIT_CODES)]
    Show(OneSnapshotArgs),
    /// List the files of a snapshot
    #[command(after_long_help = LOOK_EXIT_CODES)]
    Ls(OneSnapshotArgs),
    /// Compare two snapshots, or one with its live table
    #[command(after_long_help = LOOK_EXIT_CODES)]
    Diff(DiffArgs),
    /// Put a table back to a snapshot; without --yes, plan and ask
    #[command(
        after_long_help = "Exit codes: 0 done, 1 failed, 2 usage, 3 done with findings, 4 the owner must choose, \
                           10 no vault, 11 another restore is at work, 12 damage, 130 interrupted"
    )]
    Restore(RestoreArgs),
    /// Check the vault against itself: chain, manifests, presence, sizes, bytes
    #[command(
        after_long_help = "Exit codes: 0 sound, 1 failed, 2 usage, 3 findings, 4 --repair needs --yes, 10 no vault, 12 \
                           damage, 130 interrupted"
    )]
    Verify(VerifyArgs),
    /// Delete what no snapshot needs that is kept, in two runs with days in between
    #[command(
        after_long_help = "A run marks what is of no use in a plan, and deletes what an earlier plan marked and is of no use \
                           still.\n\nExit codes: 0 done, 1 failed, 2 usage, 3 done with findings, 4 needs --yes, 10 no \
                           vault, 12 damage: nothing was deleted, 130 interrupted"
    )]
    Prune(PruneArgs),
    /// Keep a snapshot beyond its promise, until it is released
    #[command(
        after_long_help = "Exit codes: 0 done, 1 failed, 2 usage, 3 held, and a prune may have been deleting it or an event could \
                           not be read, 4 several match, 10 no vault, 12 damage, 130 interrupted"
    )]
    Hold(OneSnapshotArgs),
    /// Take back the hold on a snapshot; promise and locks stay
    #[command(
        after_long_help = "Exit codes: 0 done, 1 failed, 2 usage, 3 released, and an event could not be read, 4 several match, \
                           10 no vault, 12 damage, 130 interrupted"
    )]
    Release(OneSnapshotArgs),
    /// Give a table up: its newest snapshot is kept no longer than its promise
    #[command(
        after_long_help = "Exit codes: 0 done, 1 failed, 2 usage, 3 given up, and an event could not be read, 4 needs --yes, \
                           10 no vault, 12 damage, 130 interrupted"
    )]
    Retire(RetireArgs),
    /// Work on the local index
    #[command(subcommand)]
    Index(IndexArgs),
    /// Write the policies that wall a vault in
    #[command(subcommand)]
    Iam(IamArgs),
    /// Prove the walls around a vault
    #[command(subcommand)]
    Wall(WallArgs),
    /// Destroy a small table and get it back, in a folder of its own
    #[command(after_long_help = "Exit codes: 0 done, 1 failed, 2 usage, 130 interrupted")]
    Demo(DemoArgs),
    /// Print the completion script of a shell
    #[command(after_long_help = "Exit codes: 0 done, 2 usage")]
    Completions(CompletionsArgs),
}

const LOOK_EXIT_CODES: &str = "Exit codes: 0 done, 1 failed, 2 usage, 4 several match, 10 no vault, 12 damage, 130 interrupted";

/// Flags of `init`.
#[derive(Debug, ClapArgs)]
pub(crate) struct InitArgs {
    /// Lock objects in MODE: compliance is ended early by nobody, governance by who may bypass it [on S3, governance]
    #[arg(long, value_name = "MODE", conflicts_with = "no_lock")]
    pub(crate) mode: Option<ModeArg>,
    /// Promise no snapshot for less than DAYS, the least that everything in the vault is locked for
    #[arg(long, value_name = "DAYS", default_value_t = 3, value_parser = clap::value_parser!(u32).range(3..=36500))]
    pub(crate) shortest: u32,
    /// Promise no snapshot for more than DAYS
    #[arg(long, value_name = "DAYS", default_value_t = 3650, value_parser = clap::value_parser!(u32).range(3..=36500))]
    pub(crate) longest: u32,
    /// Extend locks by DAYS at a time
    #[arg(long, value_name = "DAYS", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=3650))]
    pub(crate) generation: u32,
    /// Make a vault without locks: a backup, and no wall against who may delete in its bucket
    #[arg(long)]
    pub(crate) no_lock: bool,
    /// Ask nothing: what was chosen by flags is meant
    #[arg(long)]
    pub(crate) yes: bool,
}

/// A lock mode, as a flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ModeArg {
    /// Nobody ends a lock early but who has the right to bypass it
    Governance,
    /// Nobody ends a lock early
    Compliance,
}

/// Flags of `snapshot`.
#[derive(Debug, ClapArgs)]
pub(crate) struct SnapshotArgs {
    /// Tables: names from the configuration or the vault, paths or URIs
    #[arg(value_name = "TABLE")]
    pub(crate) tables: Vec<String>,
    /// Hold the pinned version, or also older ones still in the log [the table's setting, else live]
    #[arg(long, value_name = "SCOPE")]
    pub(crate) scope: Option<ScopeArg>,
    /// Keep it as long as CLASS says [the table's class, else as the policy decides]
    #[arg(long, value_name = "CLASS")]
    pub(crate) class: Option<String>,
    /// Record why it was taken
    #[arg(long, value_name = "TRIGGER", default_value = "manual")]
    pub(crate) trigger: TriggerArg,
    /// Print the plan and change nothing [take the snapshot]
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Also list the whole table and name live files that are gone; for a weekly run [trust the log]
    #[arg(long, conflicts_with = "dry_run")]
    pub(crate) check_source: bool,
    /// Begin no file after TIME, or after a duration like 6h; the next run goes on [never]
    #[arg(long, value_name = "TIME")]
    pub(crate) until: Option<String>,
    /// Copy no more than N bytes, like 500GB or 2TiB; the next run goes on [all]
    #[arg(long, value_name = "N", value_parser = parse_bytes)]
    pub(crate) max_bytes: Option<u64>,
    /// Spend no more than X dollars on requests and storage, by list prices; the next run goes on [any]
    #[arg(long, value_name = "X", value_parser = parse_usd)]
    pub(crate) max_usd: Option<NanoUsd>,
    /// Keep it until TIME, whatever its class says [as its class says]
    #[arg(long, value_name = "TIME")]
    pub(crate) retain_until: Option<String>,
    /// Refuse a table's snapshot that newly commits to more than X dollars of storage [the configuration's]
    #[arg(long, value_name = "X", value_parser = parse_usd)]
    pub(crate) max_commit_usd: Option<NanoUsd>,
    /// Build on nothing from snapshot ID on; repeatable
    #[arg(long, value_name = "ID")]
    pub(crate) distrust: Vec<SnapshotPrefix>,
    /// Take version N as the newest where one stands far above the rest
    #[arg(long, value_name = "N")]
    pub(crate) accept_tip: Option<u64>,
}

/// Reads a number of bytes: a whole number, with a unit of thousands or of 1,024s.
fn parse_bytes(text: &str) -> Result<u64, String> {
    let split = text.find(|c: char| !c.is_ascii_digit());
    let (number, unit) = text.split_at(split.unwrap_or(text.len()));
    let power = |base: u64, exponent| Ok(base.pow(exponent));
    let factor = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => Ok(1),
        "kb" => power(1000, 1),
        "mb" => power(1000, 2),
        "gb" => power(1000, 3),
        "tb" => power(1000, 4),
        "kib" => power(1024, 1),
        "mib" => power(1024, 2),
        "gib" => power(1024, 3),
        "tib" => power(1024, 4),
        other => Err(format!("{other:?} is no unit of bytes")),
    }?;
    let number: u64 = number
        .parse()
        .map_err(|_| "write it like 500GB".to_owned())?;
    number
        .checked_mul(factor)
        .ok_or_else(|| "it is more than can be counted".to_owned())
}

fn parse_usd(text: &str) -> Result<NanoUsd, String> {
    NanoUsd::parse(text).ok_or_else(|| "write it like 12 or 0.50".to_owned())
}

/// Flags of `snapshots`.
#[derive(Debug, ClapArgs)]
pub(crate) struct SnapshotsArgs {
    /// Table to list [all]
    #[arg(value_name = "TABLE")]
    pub(crate) table: Option<String>,
}

/// Flags of `show` and `ls`.
#[derive(Debug, ClapArgs)]
pub(crate) struct OneSnapshotArgs {
    /// Snapshot: the first 8 or more digits of its id
    #[arg(value_name = "SNAPSHOT")]
    pub(crate) snapshot: SnapshotPrefix,
}

/// Flags of `diff`.
#[derive(Debug, ClapArgs)]
pub(crate) struct DiffArgs {
    /// Snapshot to compare
    #[arg(value_name = "A")]
    pub(crate) before: SnapshotPrefix,
    /// Snapshot to compare with, or `live` for the table as it is now
    #[arg(value_name = "B|live")]
    pub(crate) after: DiffSide,
}

/// Flags of `restore`.
#[derive(Debug, ClapArgs)]
#[group(skip)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "one field a flag; the request made from them has enums"
)]
pub(crate) struct RestoreArgs {
    /// Table: a name from the configuration or the vault, a path or a URI
    #[arg(value_name = "TABLE")]
    pub(crate) table: String,
    /// Put back snapshot ID
    #[arg(long, value_name = "ID", group = "which")]
    pub(crate) snapshot: Option<SnapshotPrefix>,
    /// Put back Delta version N
    #[arg(long, value_name = "N", group = "which")]
    pub(crate) version: Option<u64>,
    /// Put back the newest version committed at or before TIME (2026-11-20T03:00Z, 2026-11-20 03:00); without a fraction
    /// all of its second counts
    #[arg(long, value_name = "TIME", group = "which")]
    pub(crate) at: Option<String>,
    /// Put back the newest snapshot
    #[arg(long, group = "which")]
    pub(crate) latest: bool,
    /// Copy it whole to the empty folder URI; the table itself is not touched [in place]
    #[arg(long, value_name = "URI", conflicts_with_all = ["heal", "rewind", "replace", "as_commit"])]
    pub(crate) to: Option<String>,
    /// Put back data files only, under a live table that is newer; its log is not touched
    #[arg(long, conflicts_with_all = ["rewind", "replace", "as_commit"])]
    pub(crate) heal: bool,
    /// Also put back files that the log names outside the table's folder [refuse]
    #[arg(long)]
    pub(crate) outside: bool,
    /// Put checkpoints back although nobody can read them [leave them out where the rest of the log suffices]
    #[arg(long, conflicts_with = "without_checkpoint")]
    pub(crate) as_it_was: bool,
    /// Put the log back without checkpoint N, so that readers go by its other ways
    #[arg(long, value_name = "N")]
    pub(crate) without_checkpoint: Option<u64>,
    /// Put back everything but the files that the vault has lost, which are looked for elsewhere first [refuse]
    #[arg(long)]
    pub(crate) accept_damaged: bool,
    /// Take the log itself back; comes in a later version
    #[arg(long, conflicts_with_all = ["replace", "as_commit"])]
    pub(crate) rewind: bool,
    /// Put it in the place of another table; comes in a later version
    #[arg(long, conflicts_with = "as_commit")]
    pub(crate) replace: bool,
    /// Commit the old content as a new version; comes in a later version
    #[arg(long)]
    pub(crate) as_commit: bool,
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

/// Flags of `verify`.
#[derive(Debug, ClapArgs)]
pub(crate) struct VerifyArgs {
    /// Tables to check [all]
    #[arg(value_name = "TABLE")]
    pub(crate) tables: Vec<String>,
    /// Read file bytes again and hash them
    #[arg(long, value_name = "HOW MUCH", default_value = "none")]
    pub(crate) read: ReadArg,
    /// Check the n-th of m parts, so that m nights check everything [1/1]
    #[arg(long, value_name = "n/m")]
    pub(crate) subset: Option<Subset>,
    /// Put lost and damaged objects again, from the live table or wherever else their bytes still are
    #[arg(long)]
    pub(crate) repair: bool,
    /// With --repair: a replica of the vault to take lost objects from
    #[arg(long, value_name = "URI", requires = "repair")]
    pub(crate) from: Option<String>,
    /// With --repair: put them without being asked [ask]
    #[arg(long, requires = "repair")]
    pub(crate) yes: bool,
}

/// Flags of `prune`.
#[derive(Debug, ClapArgs)]
pub(crate) struct PruneArgs {
    /// Leave alone what is younger than TIME, and wait as long before deleting what was marked
    #[arg(long, value_name = "TIME", default_value = "3d", value_parser = parse_grace)]
    pub(crate) grace: SignedDuration,
    /// Print the plan with its reasons and change nothing [mark and delete]
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Delete without being asked [ask]
    #[arg(long)]
    pub(crate) yes: bool,
    /// Take the manifest with this SHA-256, or `all` that no record names, for those of snapshots that were never finished;
    /// may be repeated [keep what they lead to]
    #[arg(long, value_name = "SHA256", value_parser = parse_forget)]
    pub(crate) forget: Vec<Forget>,
}

/// Reads a digest or `all`.
fn parse_forget(text: &str) -> Result<Forget, String> {
    if text == "all" {
        return Ok(Forget::All);
    }
    let digest = text.parse::<Digest>();
    let one = digest.map_err(|error| format!("{error}, or the word all"))?;
    Ok(Forget::These(vec![one]))
}

/// Reads days and hours: `3d`, `12h`.
fn parse_grace(text: &str) -> Result<SignedDuration, String> {
    let wrong = || format!("{text:?} is no time to wait: write it like 3d or 12h");
    let hours = if let Some(days) = text.strip_suffix('d') {
        days.parse::<u16>().map(|days| i64::from(days) * 24)
    } else {
        text.strip_suffix('h')
            .unwrap_or("?")
            .parse::<u16>()
            .map(i64::from)
    };
    let grace = SignedDuration::from_hours(hours.map_err(|_| wrong())?);
    if grace > LONGEST_GRACE {
        let days = LONGEST_GRACE.as_hours() / 24;
        return Err(format!("{text:?} is too long: at most {days}d"));
    }
    Ok(grace)
}

/// Flags of `retire`.
#[derive(Debug, ClapArgs)]
pub(crate) struct RetireArgs {
    /// Table: a name from the configuration or the vault, a path or a URI
    #[arg(value_name = "TABLE")]
    pub(crate) table: String,
    /// Do it without being asked [ask]
    #[arg(long)]
    pub(crate) yes: bool,
}

/// Commands under `index`.
#[derive(Debug, Subcommand)]
pub(crate) enum IndexArgs {
    /// Rebuild the local index from the vault
    #[command(
        after_long_help = "Exit codes: 0 done, 1 failed, 2 usage, 10 no vault, 12 damage, 130 interrupted"
    )]
    Rebuild,
}

/// Flags of `demo`.
#[derive(Debug, ClapArgs)]
pub(crate) struct DemoArgs {
    /// Work in DIR, which must be empty or not there [a temporary folder, kept]
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// Make the table there, with --vault s3://... [the vault's URI and -orders]
    #[arg(long, value_name = "URI", conflicts_with = "dir")]
    pub(crate) table: Option<String>,
}

/// Flags of `completions`.
#[derive(Debug, ClapArgs)]
pub(crate) struct CompletionsArgs {
    /// Shell
    #[arg(value_name = "SHELL")]
    pub(crate) shell: clap_complete::Shell,
}

/// What a snapshot holds.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum ScopeArg {
    /// The pinned version
    Live,
    /// Also older versions still in the log
    History,
}

impl From<ScopeArg> for Scope {
    fn from(arg: ScopeArg) -> Self {
        match arg {
            ScopeArg::Live => Self::Live,
            ScopeArg::History => Self::History,
        }
    }
}

/// Why a snapshot is taken.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum TriggerArg {
    /// By a timer; opens the periods of retention classes
    Scheduled,
    /// By a person
    Manual,
    /// Before something destructive
    Safety,
}

impl From<TriggerArg> for Trigger {
    fn from(arg: TriggerArg) -> Self {
        match arg {
            TriggerArg::Scheduled => Self::Scheduled,
            TriggerArg::Manual => Self::Manual,
            TriggerArg::Safety => Self::Safety,
        }
    }
}

/// How many bytes `verify` reads again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ReadArg {
    /// None: presence and sizes only
    None,
    /// A part of them
    Sample,
    /// All of them
    All,
}

/// The first 8 to 64 hex digits of a snapshot id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SnapshotPrefix(String);

impl SnapshotPrefix {
    /// The digits, in lower case.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for SnapshotPrefix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.chars().all(|digit| digit.is_ascii_hexdigit());
        if digits && (8..=64).contains(&text.len()) {
            Ok(Self(text.to_ascii_lowercase()))
        } else {
            Err("a snapshot is named by the first 8 or more hex digits of its id".into())
        }
    }
}

/// What a snapshot is compared with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum DiffSide {
    /// The table as it is now.
    Live,
    /// Another snapshot.
    Snapshot(SnapshotPrefix),
}

impl FromStr for DiffSide {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "live" {
            return Ok(Self::Live);
        }
        text.parse()
            .map(Self::Snapshot)
            .map_err(|rule| format!("{rule}, or `live`"))
    }
}

/// The n-th of m parts, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Subset {
    /// Which part, 1 to `of`.
    pub(crate) part: u32,
    /// How many parts.
    pub(crate) of: u32,
}

impl FromStr for Subset {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.split_once('/')
            .and_then(|(part, of)| Some((part.parse().ok()?, of.parse().ok()?)))
            .filter(|(part, of)| (1..=*of).contains(part))
            .map(|(part, of)| Self { part, of })
            .ok_or_else(|| "write it like 2/7: the second of seven parts".into())
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn snapshot_prefixes_are_8_to_64_hex_digits() {
        let prefix = |text: &str| text.parse::<SnapshotPrefix>().ok();
        assert_eq!(prefix("9F2C11AA").unwrap().as_str(), "9f2c11aa");
        assert_eq!(prefix("9f2c11a"), None);
        assert_eq!(prefix("9f2c11ag"), None);
        assert_eq!(prefix(&"a".repeat(65)), None);
    }

    #[test]
    fn subsets_count_from_1_to_their_number() {
        assert_eq!("2/7".parse(), Ok(Subset { part: 2, of: 7 }));
        for bad in ["0/7", "8/7", "7", "/", "1/0", "a/b", "-1/2"] {
            assert!(bad.parse::<Subset>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_restore_chooses_by_one_thing_only() {
        let parse = |flags: &[&str]| {
            Args::try_parse_from(["deltavault", "restore", "t"].iter().chain(flags)).is_ok()
        };
        assert!(parse(&["--version", "3"]));
        assert!(parse(&["--latest", "--to", "/x", "--yes"]));
        assert!(!parse(&["--version", "3", "--latest"]));
        assert!(!parse(&["--to", "/x", "--heal"]));
    }
}
