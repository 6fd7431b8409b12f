//! The configuration file: where the vault is, which tables it holds, how long.
//!
//! TOML. A key that is not known is refused, because a misspelt `keep` would silently promise less than its
//! owner believes. Relative paths in it are taken from the file's own folder, so that a timer and a person mean
//! the same tables. Reading happens once, at the edge; the rest sees [`Config`].

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use deltavault::format::Scope;
use deltavault::plan::price::NanoUsd;
use deltavault::plan::retention::{Class, MonthDay, Period, Policy, Weekday};
use deltavault::store::s3::S3Settings;
use deltavault::vault::forged::ForgedObject;
use jiff::{Span, SpanRelativeTo};
use serde::Deserialize;

use super::place::{parse_outside, parse_place};
use crate::cli::args::parse_duration;
use crate::cli::error::CommandError;

/// What the configuration says, checked.
#[derive(Debug, Clone, Default)]
pub(crate) struct Config {
    /// The vault's URI.
    pub(crate) vault: Option<String>,
    /// How S3 is reached, where the vault and where tables are there.
    pub(crate) s3: S3Config,
    /// The tables, in the order of the file.
    pub(crate) tables: Vec<ConfiguredTable>,
    /// The retention classes, in the order of their names, and the days that their periods begin on.
    pub(crate) policy: Policy,
    /// What a run may newly commit to for one table.
    pub(crate) max_commit_usd: Option<NanoUsd>,
    /// Objects of the vault that are treated as absent.
    pub(crate) forged: Vec<ForgedObject>,
    /// For how long a table may go on without anything of it being copied.
    pub(crate) table_timeout: Option<Duration>,
}

impl Config {
    /// Finds a table by its configured name.
    pub(crate) fn table(&self, name: &str) -> Option<&ConfiguredTable> {
        self.tables.iter().find(|table| table.name == name)
    }

    /// Finds a class.
    ///
    /// # Errors
    /// [`CommandError::UnknownClass`] with the classes that there are.
    pub(crate) fn class(&self, name: &str) -> Result<&Class, CommandError> {
        let classes = &self.policy.classes;
        classes
            .iter()
            .find(|class| class.name == name)
            .ok_or_else(|| CommandError::UnknownClass {
                name: name.to_owned(),
                known: classes.iter().map(|class| class.name.clone()).collect(),
            })
    }
}

/// How the two sides reach S3. What is not said comes from the SDK's own environment variables, for both.
#[derive(Debug, Clone, Default)]
pub(crate) struct S3Config {
    /// The name of the source in the tables' keys, instead of its endpoint.
    pub(crate) source_name: Option<String>,
    /// Where tables are.
    pub(crate) source: S3Settings,
    /// Where the vault is.
    pub(crate) vault: S3Settings,
    /// The profile that takes the safety snapshot before a rewind.
    pub(crate) snapshot_profile: Option<String>,
}

/// A table as the configuration lists it.
#[derive(Debug, Clone)]
pub(crate) struct ConfiguredTable {
    /// Its name, usable wherever a TABLE is.
    pub(crate) name: String,
    /// Where it is.
    pub(crate) uri: String,
    /// What its snapshots hold.
    pub(crate) scope: Scope,
    /// The class its snapshots get, instead of the one that the policy chooses.
    pub(crate) class: Option<String>,
    /// How old its newest snapshot may become.
    #[allow(
        dead_code,
        reason = "checked now, so that a configuration stays good for the commands that will judge by it"
    )]
    pub(crate) rpo: Option<Span>,
    /// URIs of places outside its folder that its log may name files in.
    pub(crate) outside: Vec<String>,
}

/// Reads the configuration at `path`.
///
/// # Errors
/// [`CommandError::ConfigUnreadable`], [`CommandError::ConfigInvalid`] with line and key.
pub(crate) fn read_config(path: &Path) -> Result<Config, CommandError> {
    let unreadable = |source| CommandError::ConfigUnreadable {
        path: path.display().to_string(),
        source,
    };
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    let absolute = std::path::absolute(path).map_err(unreadable)?;
    let folder = absolute.parent().unwrap_or(Path::new("/"));
    parse_config(&text, path, folder)
}

fn parse_config(text: &str, path: &Path, folder: &Path) -> Result<Config, CommandError> {
    let invalid = |line, rule| CommandError::ConfigInvalid {
        path: path.display().to_string(),
        line,
        rule,
    };
    let file: ConfigFile = toml::from_str(text).map_err(|error| {
        let line = error.span().map(|span| line_of(text, span.start));
        invalid(line, error.message().to_owned())
    })?;

    let uri = file.vault.uri.as_ref();
    let forged = file.vault.forged.iter().map(|text| text.parse());
    let forged: Result<Vec<ForgedObject>, _> = forged.collect();
    let mut config = Config {
        forged: forged.map_err(|error| invalid(None, format!("vault.forged: {error}")))?,
        vault: uri.map(|uri| parse_place(uri, folder)).transpose()?,
        s3: check_s3(file.source, file.vault).map_err(|rule| invalid(None, rule))?,
        ..Config::default()
    };
    if !file.classes.is_empty() {
        config.policy.classes = file
            .classes
            .into_iter()
            .map(|(name, class)| check_class(name, &class))
            .collect::<Result<_, _>>()
            .map_err(|rule| invalid(None, rule))?;
    }
    let RetentionSection {
        week_starts,
        month_starts,
        max_commit_usd,
    } = file.retention;
    config.policy.week_starts = week_starts.map(|day| day.0);
    config.policy.month_starts =
        check_month_day(month_starts).map_err(|rule| invalid(None, rule))?;
    config.max_commit_usd = check_amount(max_commit_usd).map_err(|rule| invalid(None, rule))?;
    let timeout = file.snapshot.table_timeout;
    config.table_timeout = check_timeout(timeout).map_err(|rule| invalid(None, rule))?;
    let mut names = BTreeSet::new();
    for table in file.tables {
        let table = check_table(table, &config, folder, &invalid)?;
        if !names.insert(table.name.clone()) {
            return Err(invalid(
                None,
                format!("two tables are named {:?}", table.name),
            ));
        }
        if let Some(other) = config.tables.iter().find(|it| it.uri == table.uri) {
            let (one, another) = (&other.name, &table.name);
            let rule = format!("{one:?} and {another:?} are one table, {}", table.uri);
            return Err(invalid(None, rule));
        }
        config.tables.push(table);
    }
    Ok(config)
}

fn check_s3(source: SourceSection, vault: VaultSection) -> Result<S3Config, String> {
    let class = vault.storage_class.as_deref();
    if let Some(class @ ("GLACIER" | "DEEP_ARCHIVE")) = class {
        return Err(format!(
            "vault.storage_class: what is in {class} cannot be read at once, and a snapshot is proven by reading"
        ));
    }
    let config = S3Config {
        source: S3Settings {
            profile: source.profile,
            role: source.role,
            external_id: source.external_id,
            region: source.region,
            endpoint: source.endpoint,
            path_style: source.path_style,
            requester_pays: source.requester_pays,
            ..S3Settings::default()
        },
        vault: S3Settings {
            profile: vault.profile,
            role: vault.role,
            external_id: vault.external_id,
            region: vault.region,
            endpoint: vault.endpoint,
            path_style: vault.path_style,
            storage_class: vault.storage_class,
            ..S3Settings::default()
        },
        source_name: source.name,
        snapshot_profile: vault.snapshot_profile,
    };
    for (section, settings) in [("source", &config.source), ("vault", &config.vault)] {
        let texts = [
            ("profile", &settings.profile),
            ("role", &settings.role),
            ("external_id", &settings.external_id),
            ("region", &settings.region),
            ("endpoint", &settings.endpoint),
            ("storage_class", &settings.storage_class),
        ];
        for (key, text) in texts {
            check_word(text.as_deref()).map_err(|rule| format!("{section}.{key}: {rule}"))?;
        }
        let endpoint = settings.endpoint.as_deref().unwrap_or("https://");
        if !endpoint.starts_with("https://") && !endpoint.starts_with("http://") {
            return Err(format!(
                "{section}.endpoint: {endpoint:?} has to begin with https:// or http://"
            ));
        }
        if settings
            .role
            .as_ref()
            .is_some_and(|role| !role.starts_with("arn:"))
        {
            return Err(format!(
                "{section}.role: a role is named by its ARN, arn:aws:iam::…:role/…"
            ));
        }
        if settings.external_id.is_some() && settings.role.is_none() {
            return Err(format!(
                "{section}.external_id: it goes with a role, and there is none"
            ));
        }
    }
    let names = [
        ("source.name", &config.source_name),
        ("vault.snapshot_profile", &config.snapshot_profile),
    ];
    for (key, text) in names {
        check_word(text.as_deref()).map_err(|rule| format!("{key}: {rule}"))?;
    }
    Ok(config)
}

/// A text that is set to nothing would be a default that nobody sees.
fn check_word(text: Option<&str>) -> Result<(), &'static str> {
    match text {
        Some("") => Err("it is empty"),
        Some(text) if text.contains(char::is_control) => Err("it contains a control character"),
        Some(_) | None => Ok(()),
    }
}

fn check_class(name: String, class: &ClassFile) -> Result<Class, String> {
    let keep = parse_span(&class.keep).map_err(|rule| format!("classes.{name}.keep: {rule}"))?;
    if shorter_than_a_day(&keep) {
        return Err(format!(
            "classes.{name}.keep: {:?} is less than a day (a month is written 1mo)",
            class.keep
        ));
    }
    Ok(Class {
        name,
        keep,
        period: class.period,
    })
}

fn check_month_day(day: Option<i8>) -> Result<Option<MonthDay>, String> {
    let wrong =
        |day| format!("retention.month_starts: {day} is not a day of every month: 1 to 28 are");
    let day = day.map(|day| MonthDay::new(day).ok_or_else(|| wrong(day)));
    day.transpose()
}

fn check_amount(amount: Option<String>) -> Result<Option<NanoUsd>, String> {
    let wrong = |text| {
        format!(
            "retention.max_commit_usd: {text:?} is not an amount: write dollars like \"12\" or \"0.50\""
        )
    };
    let amount = amount.map(|text| NanoUsd::parse(&text).ok_or_else(|| wrong(text)));
    amount.transpose()
}

fn check_timeout(text: Option<String>) -> Result<Option<Duration>, String> {
    let read = |text: String| {
        parse_duration(&text)
            .map_err(|rule| format!("snapshot.table_timeout: {text:?} is not a duration: {rule}"))
    };
    text.map(read).transpose()
}

fn check_table(
    table: TableFile,
    config: &Config,
    folder: &Path,
    invalid: &impl Fn(Option<usize>, String) -> CommandError,
) -> Result<ConfiguredTable, CommandError> {
    let name = table.name;
    // A name with a slash or a colon could be taken for a path or a URI.
    if name.is_empty() || name.contains(|c: char| "/:\\".contains(c) || c.is_control()) {
        let rule = format!("the table name {name:?} is empty or has a slash or a colon");
        return Err(invalid(None, rule));
    }
    if matches!(name.as_str(), "." | "..") {
        let rule = format!("the table name {name:?} means a folder");
        return Err(invalid(None, rule));
    }
    if let Some(class) = &table.class {
        config.class(class).map_err(|error| {
            let known = config.policy.classes.iter();
            let known = known.map(|class| class.name.as_str());
            let known = known.collect::<Vec<_>>().join(", ");
            invalid(None, format!("table {name:?}: {error}, there is {known}"))
        })?;
    }
    let rpo = table
        .rpo
        .map(|text| {
            parse_span(&text).map_err(|rule| invalid(None, format!("table {name:?}: rpo: {rule}")))
        })
        .transpose()?;
    let uri = parse_place(&table.uri, folder)?;
    let mut outside = Vec::new();
    for place in &table.outside {
        let place = parse_outside(place, folder, &uri)?;
        outside.push(place);
    }
    Ok(ConfiguredTable {
        uri,
        outside,
        scope: table.scope,
        class: table.class,
        rpo,
        name,
    })
}

fn parse_span(text: &str) -> Result<Span, String> {
    let span: Span = text
        .parse()
        .map_err(|_| format!("{text:?} is not a duration: write it like 24h, 14d, 8w or 12mo"))?;
    if span.is_positive() {
        Ok(span)
    } else {
        Err(format!("{text:?} is not longer than nothing"))
    }
}

fn shorter_than_a_day(span: &Span) -> bool {
    // Months have no length of their own; any date decides, none is shorter than a day.
    let somewhere = SpanRelativeTo::from(jiff::civil::date(2000, 1, 1));
    span.total((jiff::Unit::Day, somewhere))
        .is_ok_and(|days| days < 1.0)
}

fn line_of(text: &str, offset: usize) -> usize {
    text.get(..offset).unwrap_or_default().matches('\n').count() + 1
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ConfigFile {
    #[serde(default)]
    source: SourceSection,
    #[serde(default)]
    vault: VaultSection,
    #[serde(default)]
    tables: Vec<TableFile>,
    #[serde(default)]
    classes: BTreeMap<String, ClassFile>,
    #[serde(default)]
    retention: RetentionSection,
    #[serde(default)]
    snapshot: SnapshotSection,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct SourceSection {
    name: Option<String>,
    profile: Option<String>,
    role: Option<String>,
    external_id: Option<String>,
    region: Option<String>,
    endpoint: Option<String>,
    path_style: Option<bool>,
    #[serde(default)]
    requester_pays: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct VaultSection {
    uri: Option<String>,
    profile: Option<String>,
    role: Option<String>,
    external_id: Option<String>,
    region: Option<String>,
    endpoint: Option<String>,
    path_style: Option<bool>,
    storage_class: Option<String>,
    snapshot_profile: Option<String>,
    #[serde(default)]
    forged: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TableFile {
    name: String,
    uri: String,
    #[serde(default)]
    scope: Scope,
    class: Option<String>,
    rpo: Option<String>,
    #[serde(default)]
    outside: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ClassFile {
    keep: String,
    period: Option<Period>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RetentionSection {
    week_starts: Option<WeekdayFile>,
    month_starts: Option<i8>,
    max_commit_usd: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct SnapshotSection {
    table_timeout: Option<String>,
}

#[derive(Debug, Deserialize)]
struct WeekdayFile(#[serde(with = "WeekdayWord")] Weekday);

#[derive(Deserialize)]
#[serde(remote = "Weekday", rename_all = "lowercase")]
enum WeekdayWord {
    Monday,
    Tuesday,
    Wednesday,
    Thursday,
    Friday,
    Saturday,
    Sunday,
}

#[cfg(test)]
mod tests;
