//! The statements that are printed for other engines: SQL for Spark, and Python for `deltalake`. They run as printed.
//!
//! The rule of schemes: SQL names a table on S3 by `s3a://`, the one scheme that open-source Spark, EMR and Databricks
//! all read; this tool's own commands repeat what was typed. Folders are named by `file://`, because the default file
//! system of a cluster is another one.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use deltavault::delta::partitions::Partition;
use deltavault::format::TableUri;
use deltavault::ids::{Digest, Version};
use deltavault::plan::window::{DELETED_FILES, LOG, Window};
use deltavault::visible::is_visible;

use crate::cli::command::restore::messages::{Engine, Purpose, Statement};

/// A table as statements name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place<'a> {
    /// The recorded URI: `s3://bucket/key` or `file:///folder`, taken literally.
    uri: &'a str,
}

impl<'a> Place<'a> {
    pub(super) fn new(uri: &'a str) -> Self {
        Self { uri }
    }

    /// As Spark reads it. Hadoop takes a path literally: nothing is percent-encoded.
    fn spark(&self) -> String {
        match self.uri.strip_prefix("s3://") {
            Some(rest) => format!("s3a://{rest}"),
            None => self.uri.to_owned(),
        }
    }

    /// The table by its path, where SQL wants a table's name.
    fn table(&self) -> String {
        format!("delta.{}", quoted_name(&self.spark()))
    }

    /// As `deltalake` takes it: a folder by its path, a place on S3 by its URL.
    fn python(&self) -> String {
        let place = match self.uri.strip_prefix("file://") {
            Some(path) => path.to_owned(),
            // A URL would end, or mean another key, at one of these.
            None => self
                .uri
                .replace('%', "%25")
                .replace('?', "%3F")
                .replace('#', "%23"),
        };
        python_text(&place)
    }

    /// Widens the window in which older versions may be used.
    pub(super) fn alter(&self, window: Window) -> Statement {
        let properties = properties_of(window);
        let pairs = properties
            .iter()
            .map(|(name, value)| format!("{} = {}", quoted_text(name), quoted_text(value)));
        let pairs = pairs.collect::<Vec<_>>().join(", ");
        Statement {
            engine: Engine::SparkSql,
            purpose: Purpose::Retention,
            statement: format!("ALTER TABLE {} SET TBLPROPERTIES ({pairs});", self.table()),
        }
    }

    /// Brings a version back as a new commit.
    pub(super) fn restore(&self, version: Version) -> Statement {
        Statement {
            engine: Engine::SparkSql,
            purpose: Purpose::Restore,
            statement: format!("RESTORE TABLE {} TO VERSION AS OF {version};", self.table()),
        }
    }

    /// The same in Python, with the window where one is needed.
    pub(super) fn python_restore(&self, version: Version, window: Option<Window>) -> Statement {
        let table = format!("DeltaTable({})", self.python());
        let statement = match window {
            None => format!("from deltalake import DeltaTable; {table}.restore({version})"),
            Some(window) => {
                let properties = properties_of(window);
                let pairs = properties
                    .iter()
                    .map(|(name, value)| format!("{}: {}", python_text(name), python_text(value)));
                let pairs = pairs.collect::<Vec<_>>().join(", ");
                format!(
                    "from deltalake import DeltaTable; t = {table}; \
                     t.alter.set_table_properties({{{pairs}}}); t.restore({version})"
                )
            }
        };
        Statement {
            engine: Engine::PythonDeltalake,
            purpose: Purpose::Restore,
            statement,
        }
    }

    /// Takes files that are gone out of the newest version.
    pub(super) fn python_repair(&self) -> String {
        let table = self.python();
        format!("from deltalake import DeltaTable; DeltaTable({table}).repair()")
    }

    /// Puts back the rows of whole partitions, as they were in a version.
    pub(super) fn insert_partitions(&self, from: Version, partitions: &[Partition]) -> Statement {
        let table = self.table();
        let condition = condition(partitions);
        Self::insert(format!(
            "INSERT INTO {table} SELECT * FROM {table} VERSION AS OF {from} WHERE {condition};"
        ))
    }

    /// Puts back the rows that a version has and the one after it has not, whatever deleted them.
    pub(super) fn insert_difference(&self, from: Version, without: Version) -> Statement {
        let table = self.table();
        Self::insert(format!(
            "INSERT INTO {table} SELECT * FROM {table} VERSION AS OF {from} \
             EXCEPT ALL SELECT * FROM {table} VERSION AS OF {without};"
        ))
    }

    fn insert(statement: String) -> Statement {
        Statement {
            engine: Engine::SparkSql,
            purpose: Purpose::Insert,
            statement,
        }
    }

    /// Makes the catalog's entry, and its schema where the name has one.
    pub(super) fn create(&self, name: &TableName) -> Vec<Statement> {
        let statement = |purpose, statement| Statement {
            engine: Engine::SparkSql,
            purpose,
            statement,
        };
        let table = statement(
            Purpose::CreateTable,
            format!(
                "CREATE TABLE {name} USING DELTA LOCATION {};",
                quoted_text(&self.spark())
            ),
        );
        match name.schema() {
            None => vec![table],
            Some(schema) => {
                let text = format!("CREATE SCHEMA IF NOT EXISTS {schema};");
                vec![statement(Purpose::CreateSchema, text), table]
            }
        }
    }
}

fn properties_of(window: Window) -> BTreeMap<&'static str, String> {
    BTreeMap::from([
        (
            DELETED_FILES,
            format!("interval {} days", window.deleted_files),
        ),
        (LOG, format!("interval {} days", window.log)),
    ])
}

/// What names the partitions: each column compared with its value. The log has every value as text; Spark casts it.
fn condition(partitions: &[Partition]) -> String {
    let one = |partition: &Partition| {
        let columns = partition.iter().map(|(column, value)| match value {
            Some(value) => format!("{} = {}", identifier(column), quoted_text(value)),
            None => format!("{} IS NULL", identifier(column)),
        });
        columns.collect::<Vec<_>>().join(" AND ")
    };
    match partitions {
        [partition] => one(partition),
        several => {
            let several = several
                .iter()
                .map(|partition| format!("({})", one(partition)));
            several.collect::<Vec<_>>().join(" OR ")
        }
    }
}

/// A name that Spark's catalog takes: up to three parts of ASCII letters, digits and `_`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TableName(Vec<String>);

/// Catalog, schema, table.
const PARTS_MAX: usize = 3;

impl TableName {
    /// Makes one from the table's recorded name; a name that nobody chose gives way to `schema.table` where the URI
    /// ends in `schema.db/table`, as Hive lays out its databases.
    pub(super) fn of(recorded: &str, uri: &str) -> Self {
        let parsed: Option<TableUri> = uri.parse().ok();
        let is_default = parsed.is_none_or(|parsed| parsed.slug() == recorded);
        let hive = is_default.then(|| hive_name(uri)).flatten();
        let parts: Vec<&str> = match &hive {
            Some((schema, table)) => vec![schema, table],
            None => recorded.split('.').collect(),
        };
        let named = parts.len() <= PARTS_MAX && parts.iter().all(|part| !part.is_empty());
        let parts = if named { parts } else { vec![recorded] };
        Self(parts.into_iter().map(|part| plain(part, uri)).collect())
    }

    /// The name of a copy of a version: the table itself may still be in the catalog.
    pub(super) fn of_copy(mut self, version: Version) -> Self {
        if let Some(table) = self.0.last_mut() {
            table.push_str("_v");
            table.push_str(&version.to_string());
        }
        self
    }

    fn schema(&self) -> Option<String> {
        let (_, schema) = self.0.split_last()?;
        let schema: Vec<String> = schema.iter().map(|part| identifier(part)).collect();
        (!schema.is_empty()).then(|| schema.join("."))
    }
}

impl std::fmt::Display for TableName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let parts: Vec<String> = self.0.iter().map(|part| identifier(part)).collect();
        f.write_str(&parts.join("."))
    }
}

/// `…/sales.db/orders` is the table `orders` of the database `sales`.
fn hive_name(uri: &str) -> Option<(String, String)> {
    let (above, table) = uri.rsplit_once('/')?;
    let (_, folder) = above.rsplit_once('/')?;
    let schema = folder
        .strip_suffix(".db")
        .filter(|schema| !schema.is_empty())?;
    (!table.is_empty()).then(|| (schema.to_owned(), table.to_owned()))
}

/// What Spark's catalog takes of a word; where nothing is left of it, a name that is the table's own.
fn plain(word: &str, uri: &str) -> String {
    let mut name = String::new();
    for c in word.chars() {
        if c.is_ascii_alphanumeric() {
            name.push(c);
        } else if !name.ends_with('_') {
            name.push('_');
        }
    }
    if name.chars().any(|c| c.is_ascii_alphanumeric()) {
        return name;
    }
    let digest = Digest::of(uri.as_bytes()).to_string();
    format!("table_{}", digest.get(..8).unwrap_or_default())
}

/// A name in SQL: plain words as they are, anything else in back ticks.
fn identifier(name: &str) -> String {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let begins = name.starts_with(|c: char| c.is_ascii_alphabetic());
    if begins && name.chars().all(is_word) {
        name.to_owned()
    } else {
        quoted_name(name)
    }
}

fn quoted_name(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// A text in SQL, as Spark unescapes it. `${` would be replaced by a variable.
fn quoted_text(text: &str) -> String {
    format!("'{}'", escaped(text).replace("${", "\\u0024{"))
}

fn python_text(text: &str) -> String {
    format!("'{}'", escaped(text))
}

/// A text between single quotes, with the escapes that Spark and Python have in common. What cannot be seen would not be
/// printed as it is.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' | '\'' => escaped.extend(['\\', c]),
            c if is_visible(c) => escaped.push(c),
            // Writing to a string cannot fail.
            c if u32::from(c) < 0x1_0000 => {
                write!(escaped, "\\u{:04x}", u32::from(c)).ok();
            }
            c => {
                write!(escaped, "\\U{:08x}", u32::from(c)).ok();
            }
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(deleted_files: u64, log: u64) -> Window {
        Window { deleted_files, log }
    }

    #[test]
    fn sql_names_a_table_on_s3_as_open_source_spark_does_and_a_folder_by_its_scheme() {
        for (uri, named) in [
            ("s3://lake/sales/orders", "s3a://lake/sales/orders"),
            ("file:///lake/a b", "file:///lake/a b"),
            ("s3://lake/odd`name/ü%20?#'", "s3a://lake/odd``name/ü%20?#'"),
        ] {
            let restored = format!("RESTORE TABLE delta.`{named}` TO VERSION AS OF 12;");
            assert_eq!(Place::new(uri).restore(Version(12)).statement, restored);
        }
    }

    #[test]
    fn both_properties_are_set_together() {
        assert_eq!(
            Place::new("s3://lake/t").alter(window(47, 90)).statement,
            "ALTER TABLE delta.`s3a://lake/t` SET TBLPROPERTIES \
             ('delta.deletedFileRetentionDuration' = 'interval 47 days', \
             'delta.logRetentionDuration' = 'interval 90 days');"
        );
    }

    #[test]
    fn python_gets_a_url_that_means_the_same_key() {
        let python = |uri, window| Place::new(uri).python_restore(Version(3), window).statement;
        assert_eq!(
            python("s3://lake/a%20b?#c", None),
            "from deltalake import DeltaTable; DeltaTable('s3://lake/a%2520b%3F%23c').restore(3)"
        );
        assert_eq!(
            python("file:///lake/it's 100%\\", None),
            r"from deltalake import DeltaTable; DeltaTable('/lake/it\'s 100%\\').restore(3)"
        );
        assert_eq!(
            python("file:///lake/\u{1b}[2J\u{202e}\u{e0041}", None),
            r"from deltalake import DeltaTable; DeltaTable('/lake/\u001b[2J\u202e\U000e0041').restore(3)"
        );
        let both = python("file:///lake/t", Some(window(8, 30)));
        assert_eq!(
            both,
            "from deltalake import DeltaTable; t = DeltaTable('/lake/t'); t.alter.set_table_properties(\
             {'delta.deletedFileRetentionDuration': 'interval 8 days', \
             'delta.logRetentionDuration': 'interval 30 days'}); t.restore(3)"
        );
    }

    #[test]
    fn a_table_gets_a_name_that_spark_takes() {
        for (recorded, uri, name) in [
            ("sales.orders", "s3://lake/x/y", "sales.orders"),
            ("sales-orders", "s3://lake/sales/orders", "sales_orders"),
            (
                "sales-db-orders",
                "s3://lake/sales.db/orders",
                "sales.orders",
            ),
            ("orders", "s3://lake/sales.db/orders", "orders"),
            ("main.sales.orders", "s3://lake/x/y", "main.sales.orders"),
            ("a.b.c.d", "s3://lake/x/y", "a_b_c_d"),
            ("sales..orders", "s3://lake/x/y", "sales_orders"),
            ("2024.7", "s3://lake/x/y", "`2024`.`7`"),
            ("Größe", "s3://lake/x/y", "Gr_e"),
            ("a`b; DROP", "s3://lake/x/y", "a_b_DROP"),
            ("_hidden", "s3://lake/x/y", "`_hidden`"),
            ("lake-t", "file:///lake/t", "lake_t"),
        ] {
            assert_eq!(TableName::of(recorded, uri).to_string(), name, "{recorded}");
        }
        let foreign = TableName::of("漢", "s3://lake/漢").to_string();
        assert!(
            foreign.starts_with("table_") && foreign.len() == 14,
            "{foreign}"
        );
        assert_ne!(foreign, TableName::of("漢", "s3://lake/字").to_string());
    }

    #[test]
    fn a_catalog_entry_comes_with_its_schema_and_a_copy_with_a_name_of_its_own() {
        let created = |name: TableName, uri| {
            let statements = Place::new(uri).create(&name).into_iter();
            statements.map(|it| it.statement).collect::<Vec<_>>()
        };
        let name = TableName::of("sales.orders", "s3://lake/sales/orders");
        assert_eq!(
            created(name.clone(), "s3://lake/sales/orders"),
            [
                "CREATE SCHEMA IF NOT EXISTS sales;",
                "CREATE TABLE sales.orders USING DELTA LOCATION 's3a://lake/sales/orders';"
            ]
        );
        let copy = name.of_copy(Version(7));
        assert_eq!(
            created(copy, "file:///a'b\\c/${x}").last().unwrap(),
            r"CREATE TABLE sales.orders_v7 USING DELTA LOCATION 'file:///a\'b\\c/\u0024{x}';"
        );
        let alone = TableName::of("orders", "s3://lake/orders");
        assert_eq!(created(alone, "s3://lake/orders").len(), 1);
    }

    #[test]
    fn the_recipe_names_partitions_by_their_columns() {
        let partition = |pairs: &[(&str, Option<&str>)]| -> Partition {
            let pairs = pairs.iter();
            pairs
                .map(|(column, value)| ((*column).to_owned(), value.map(str::to_owned)))
                .collect()
        };
        let recipe = |partitions: &[Partition]| {
            Place::new("s3://lake/t")
                .insert_partitions(Version(12), partitions)
                .statement
        };
        assert_eq!(
            recipe(&[partition(&[("region", Some("r05"))])]),
            "INSERT INTO delta.`s3a://lake/t` SELECT * FROM delta.`s3a://lake/t` VERSION AS OF 12 \
             WHERE region = 'r05';"
        );
        let several = recipe(&[
            partition(&[("day", Some("2026-01-01")), ("an odd one", Some("it's"))]),
            partition(&[("day", None)]),
        ]);
        assert!(
            several.ends_with(
                r"WHERE (`an odd one` = 'it\'s' AND day = '2026-01-01') OR (day IS NULL);"
            ),
            "{several}"
        );
        assert_eq!(
            Place::new("s3://lake/t")
                .insert_difference(Version(12), Version(13))
                .statement,
            "INSERT INTO delta.`s3a://lake/t` SELECT * FROM delta.`s3a://lake/t` VERSION AS OF 12 \
             EXCEPT ALL SELECT * FROM delta.`s3a://lake/t` VERSION AS OF 13;"
        );
    }
}
