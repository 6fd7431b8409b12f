//! What every command takes, and what several take; the flags of one command stand in its file.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Args, ColorChoice, Parser};
use deltavault::format::LockMode;
use deltavault::ids::SnapshotId;
#[cfg(feature = "testing")]
use deltavault::ids::Timestamp;
use deltavault::vault::forged::ForgedObject;

use jiff::SignedDuration;

use super::command::{Clock, Command};

/// Keep Delta Lake tables in an immutable vault, and put them back exactly
#[derive(Debug, Parser)]
#[command(
    name = "deltavault",
    version,
    about,
    propagate_version = false,
    arg_required_else_help = true,
    after_help = "Vaults and tables are folders, or places on S3 like s3://bucket/prefix. Start with: deltavault demo"
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) global: GlobalArgs,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Flags that every command takes.
#[derive(Debug, Args)]
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
    /// Treat an object of the vault as absent that its owner calls forged: KEY or KEY@VERSION of a record, an event, a seal or a
    /// journal, as `verify` prints it; repeatable [the configuration's]
    #[arg(
        long,
        value_name = "KEY",
        global = true,
        help_heading = "Global options"
    )]
    pub(crate) forged: Vec<ForgedObject>,
    /// Print JSON lines, each with a `message_type` [text]
    #[arg(long, global = true, help_heading = "Global options")]
    pub(crate) json: bool,
    /// Say more on stderr; twice for debugging, three times for everything [warnings]
    #[arg(short, long, action = clap::ArgAction::Count, global = true, help_heading = "Global options")]
    pub(crate) verbose: u8,
    /// Say nothing on stderr but errors
    #[arg(
        short,
        long,
        global = true,
        conflicts_with = "verbose",
        help_heading = "Global options"
    )]
    pub(crate) quiet: bool,
    /// Colour messages on stderr [auto: on a terminal, without `NO_COLOR`]
    #[arg(
        long,
        value_name = "WHEN",
        default_value = "auto",
        hide_default_value = true,
        global = true,
        help_heading = "Global options"
    )]
    pub(crate) color: ColorChoice,
    /// Pins the clock, so that tests can compare what is printed. Whoever sets the clock decides which promises are over: no
    /// build but that of the tests takes it.
    #[cfg(feature = "testing")]
    #[arg(long, env = "DELTAVAULT_NOW", hide = true, global = true)]
    pub(crate) now: Option<Timestamp>,
}

impl GlobalArgs {
    /// Where the time comes from.
    #[cfg_attr(
        not(feature = "testing"),
        expect(clippy::unused_self, reason = "only tests choose")
    )]
    pub(crate) fn clock(&self) -> Clock {
        #[cfg(feature = "testing")]
        if let Some(now) = self.now {
            return Clock::Pinned(now);
        }
        Clock::System
    }
}

/// Lock modes, as a flag has them.
pub(crate) const MODES: Words<LockMode> = &[
    (
        "governance",
        "Only someone with the right to bypass it ends a lock early",
        LockMode::Governance,
    ),
    (
        "compliance",
        "Nobody ends a lock early",
        LockMode::Compliance,
    ),
];

/// The words that a flag takes: each with its help, and what it means.
pub(crate) type Words<T> = &'static [(&'static str, &'static str, T)];

/// Reads one of a few words.
pub(crate) fn one_of<T>(words: Words<T>) -> impl TypedValueParser<Value = T>
where
    T: Copy + Send + Sync + 'static,
{
    let values = words.iter();
    let values = values.map(|(word, help, _)| PossibleValue::new(*word).help(*help));
    PossibleValuesParser::new(values).try_map(|text| {
        let meant = words.iter().find(|(word, ..)| *word == text);
        meant.map(|(.., value)| *value).ok_or(text)
    })
}

/// Reads a length of time, like `30m` or `6h`.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let duration = text.parse::<SignedDuration>().ok();
    let duration = duration.and_then(|it| Duration::try_from(it).ok());
    let wanted = duration.filter(|it| !it.is_zero());
    wanted.ok_or_else(|| "write it like 30m or 6h".to_owned())
}

/// Reads a Delta version: `12`, or `v12` as it is printed.
pub(crate) fn parse_version(text: &str) -> Result<u64, String> {
    let number = text.strip_prefix('v').unwrap_or(text);
    let is_number = number.bytes().all(|byte| byte.is_ascii_digit());
    let version = number.parse().ok().filter(|_| is_number);
    version.ok_or_else(|| "a version is a number, as 12 or v12".to_owned())
}

/// The first 4 to 64 hex digits of a snapshot id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SnapshotPrefix(String);

impl SnapshotPrefix {
    /// All the digits of an id.
    pub(crate) fn of(id: SnapshotId) -> Self {
        Self(id.to_string())
    }

    /// The digits, in lower case.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for SnapshotPrefix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.chars().all(|digit| digit.is_ascii_hexdigit());
        if digits && (4..=64).contains(&text.len()) {
            Ok(Self(text.to_ascii_lowercase()))
        } else {
            Err("a snapshot is named by the first 4 or more hex digits of its id".into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snapshot_prefixes_are_4_to_64_hex_digits() {
        let prefix = |text: &str| text.parse::<SnapshotPrefix>().ok();
        assert_eq!(prefix("9F2C11AA").unwrap().as_str(), "9f2c11aa");
        assert_eq!(prefix("9f2c").unwrap().as_str(), "9f2c");
        assert_eq!(prefix("9f2"), None);
        assert_eq!(prefix("9f2c11ag"), None);
        assert_eq!(prefix(&"a".repeat(65)), None);
    }

    #[test]
    fn versions_are_typed_as_they_are_printed() {
        assert_eq!((parse_version("12"), parse_version("v0")), (Ok(12), Ok(0)));
        for bad in [
            "",
            "v",
            "+1",
            "-1",
            "x",
            "1.0",
            "vv1",
            "99999999999999999999",
        ] {
            assert!(parse_version(bad).is_err(), "{bad}");
        }
    }
}
