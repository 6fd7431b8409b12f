//! The local index: a cache of ledger records in `SQLite`, so that a look into a vault does not read every record
//! again. All SQL is here.
//!
//! It is never needed and never believed. What comes out of it serves only where a record of the vault names its
//! SHA-256, so a stale, poisoned or forged index changes no result, only how many requests it takes, and whether a
//! look notes that the vault had newer records once. It may be deleted at any moment; a file that is not an index, or a
//! damaged one, is moved aside and rebuilt. Several processes may use it at once.
//!
//! Synchronous: callers hold it between awaits, not across them.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use deltavault::format::ledger::Bodies;
use deltavault::format::record::RECORD_LIMIT;
use deltavault::format::{Record, TableKey};
use deltavault::ids::{Digest, Id128};
use deltavault::plan::choose::History;
use deltavault::plan::verify::KnownRecord;
use rusqlite::{
    Connection, ErrorCode, OpenFlags, OptionalExtension as _, Params, Row, Transaction,
    TransactionBehavior, params,
};

/// Marks the file as ours, in the header that `SQLite` keeps for that: `dvlt`.
/// <https://www.sqlite.org/pragma.html#pragma_application_id>
const APPLICATION_ID: i32 = 0x6476_6c74;

/// How the schema came to be; `user_version` counts how many of these were applied.
const MIGRATIONS: &[&str] = &[
    "
    CREATE TABLE record (
        vault_id TEXT NOT NULL,
        table_key TEXT NOT NULL,
        seq INTEGER NOT NULL,
        sha256 TEXT NOT NULL,
        body BLOB NOT NULL,
        PRIMARY KEY (vault_id, table_key, seq, sha256)
    ) STRICT, WITHOUT ROWID;
",
    "
    CREATE TABLE vault (
        vault_id TEXT PRIMARY KEY,
        uri TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;
",
];

/// The columns of a record, in the order in which they are read and written.
const RECORD_COLUMNS: &str = "vault_id, table_key, seq, sha256, body";

/// How long another process is waited for. It never holds a lock longer than one transaction, which takes a disk that is
/// busy itself some seconds.
const BUSY: Duration = Duration::from_secs(10);

/// How many snapshots are proposed at most.
const PROPOSED: usize = 100;

/// An index that cannot be used. Nothing but the index is lost.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IndexError {
    /// The file or its folder cannot be made, moved or removed.
    #[error("use the index {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// `SQLite` refused.
    #[error("use the index {}", path.display())]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// What `SQLite` said.
        #[source]
        source: rusqlite::Error,
    },
    /// The file belongs to another program.
    #[error("{} is not an index of deltavault", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// A newer tool has made it.
    #[error("the index {} was made by a newer deltavault", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
    },
}

impl IndexError {
    /// Whether the file can only be rebuilt.
    fn is_beyond_use(&self) -> bool {
        match self {
            // A statement that does not fit is a table of another shape; a folder cannot even be opened.
            Self::Sqlite { source, path } => {
                matches!(
                    source.sqlite_error_code(),
                    Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt)
                ) || matches!(
                    source,
                    rusqlite::Error::SqlInputError { .. } | rusqlite::Error::InvalidColumnType(..)
                ) || path.is_dir()
            }
            Self::Foreign { .. } => true,
            Self::File { .. } | Self::Newer { .. } => false,
        }
    }
}

/// A record in the index.
#[derive(Debug, Clone, PartialEq, Eq)]
struct IndexedRecord {
    vault_id: String,
    table_key: String,
    seq: i64,
    sha256: String,
    body: Vec<u8>,
}

impl TryFrom<&Row<'_>> for IndexedRecord {
    type Error = rusqlite::Error;

    fn try_from(row: &Row<'_>) -> Result<Self, rusqlite::Error> {
        Ok(Self {
            vault_id: row.get(0)?,
            table_key: row.get(1)?,
            seq: row.get(2)?,
            sha256: row.get(3)?,
            body: row.get(4)?,
        })
    }
}

impl IndexedRecord {
    /// The records of a history that this tool would write as they are. One with fields that it does not know is
    /// left out: what the vault holds cannot be made from it.
    fn of(vault: Id128, history: &History) -> Vec<Self> {
        let records = history.snapshots.iter();
        records
            .filter_map(|snapshot| {
                let body = snapshot.record.encode().ok()?;
                (Digest::of(&body) == snapshot.id.0).then_some(Self {
                    vault_id: vault.to_string(),
                    table_key: history.table.to_string(),
                    seq: i64::try_from(snapshot.seq).ok()?,
                    sha256: snapshot.id.to_string(),
                    body,
                })
            })
            .collect()
    }
}

fn insert(
    transaction: &Transaction<'_>,
    records: impl IntoIterator<Item = IndexedRecord>,
) -> Result<(), rusqlite::Error> {
    let mut statement = transaction.prepare(&format!(
        "INSERT OR REPLACE INTO record ({RECORD_COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5)"
    ))?;
    for record in records {
        statement.execute(params![
            record.vault_id,
            record.table_key,
            record.seq,
            record.sha256,
            record.body
        ])?;
    }
    Ok(())
}

/// The index of one vault.
#[derive(Debug)]
pub(crate) struct Index {
    path: PathBuf,
    vault: Id128,
    connection: Connection,
}

/// An index that was opened.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) index: Index,
    /// Where a file went that was there and could not be used.
    pub(crate) moved_aside: Option<PathBuf>,
}

impl Index {
    /// Opens the index of a vault at `path`, and makes it, with its folder, where it is absent. A file there
    /// that is not an index is moved aside.
    ///
    /// # Errors
    /// When there can be none: the folder cannot be written, or a newer tool has made the file.
    pub(crate) fn open(path: &Path, vault: Id128) -> Result<Opened, IndexError> {
        if let Some(folder) = path.parent() {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(folder)
                .map_err(|source| IndexError::File {
                    path: path.to_owned(),
                    source,
                })?;
        }
        match Self::open_file(path, vault) {
            Err(error) if error.is_beyond_use() => {
                let aside = move_aside(path)?;
                let index = Self::open_file(path, vault)?;
                let moved_aside = Some(aside);
                Ok(Opened { index, moved_aside })
            }
            opened => opened.map(|index| Opened {
                index,
                moved_aside: None,
            }),
        }
    }

    fn open_file(path: &Path, vault: Id128) -> Result<Self, IndexError> {
        let failed = |source| IndexError::Sqlite {
            path: path.to_owned(),
            source,
        };
        // `SQLite` would make it as the umask says; what it makes beside it gets the same mode.
        let new = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path);
        // Where it cannot be made, `SQLite` says why.
        drop(new);
        let mut connection = Connection::open(path).map_err(failed)?;
        connection.busy_timeout(BUSY).map_err(failed)?;
        let applied = check_owner(&connection).map_err(failed)?;
        let applied = applied.ok_or_else(|| IndexError::Foreign {
            path: path.to_owned(),
        })?;
        if applied > MIGRATIONS.len() {
            return Err(IndexError::Newer {
                path: path.to_owned(),
            });
        }
        set_up(&mut connection).map_err(failed)?;
        Ok(Self {
            path: path.to_owned(),
            vault,
            connection,
        })
    }

    /// What it holds of a table's ledger, to be remembered by a reading of it.
    ///
    /// # Errors
    /// What `SQLite` says; [`Index::renew`] makes it usable again.
    pub(crate) fn records(&self, table: &TableKey) -> Result<Bodies, IndexError> {
        let mut bodies = Bodies::new();
        let mut read = || -> Result<(), rusqlite::Error> {
            let mut statement = self.connection.prepare(&format!(
                "SELECT {RECORD_COLUMNS} FROM record
                 WHERE vault_id = ?1 AND table_key = ?2 AND length(body) <= ?3"
            ))?;
            let limit = i64::try_from(RECORD_LIMIT).unwrap_or(i64::MAX);
            let parameters = params![self.vault.to_string(), table.to_string(), limit];
            let mut rows = statement.query(parameters)?;
            while let Some(row) = rows.next()? {
                bodies.remember(&IndexedRecord::try_from(row)?.body);
            }
            Ok(())
        };
        read().map_err(|source| self.failed(source))?;
        Ok(bodies)
    }

    /// Takes in the records of a table that are new to it, and drops those that its ledger does not have. Those above its
    /// newest one stay, and are returned by their slots and digests: the vault had them.
    ///
    /// # Errors
    /// As [`Index::records`].
    pub(crate) fn put_records(
        &mut self,
        history: &History,
    ) -> Result<Vec<(i64, String)>, IndexError> {
        let vault = self.vault;
        let newest = KnownRecord::head(history).map_or(0, |head| head.seq);
        let newest = i64::try_from(newest).unwrap_or(i64::MAX);
        let mut lost = Vec::new();
        self.write(|transaction| {
            let known = known(transaction, vault, &history.table)?;
            let records = IndexedRecord::of(vault, history);
            let current: HashSet<(i64, String)> = records
                .iter()
                .map(|record| (record.seq, record.sha256.clone()))
                .collect();
            for (seq, sha256) in known.difference(&current) {
                if *seq > newest {
                    lost.push((*seq, sha256.clone()));
                    continue;
                }
                transaction.execute(
                    "DELETE FROM record
                     WHERE vault_id = ?1 AND table_key = ?2 AND seq = ?3 AND sha256 = ?4",
                    params![vault.to_string(), history.table.to_string(), seq, sha256],
                )?;
            }
            let is_new =
                |record: &IndexedRecord| !known.contains(&(record.seq, record.sha256.clone()));
            insert(transaction, records.into_iter().filter(is_new))
        })?;
        lost.sort_unstable();
        Ok(lost)
    }

    /// Keeps where the vault is, by which a completion finds its index without a request.
    ///
    /// # Errors
    /// As [`Index::records`].
    pub(crate) fn put_uri(&mut self, uri: &str) -> Result<(), IndexError> {
        let vault = self.vault.to_string();
        self.write(|transaction| {
            transaction
                .execute(
                    "INSERT INTO vault (vault_id, uri) VALUES (?1, ?2)
                     ON CONFLICT (vault_id) DO UPDATE SET uri = ?2 WHERE uri <> ?2",
                    params![vault, uri],
                )
                .map(drop)
        })
    }

    /// Drops everything and takes in what the vault holds.
    ///
    /// # Errors
    /// As [`Index::records`].
    pub(crate) fn rebuild(&mut self, histories: &[History]) -> Result<(), IndexError> {
        let vault = self.vault;
        self.write(|transaction| {
            transaction.execute("DELETE FROM record", [])?;
            let histories = histories.iter();
            insert(
                transaction,
                histories.flat_map(|history| IndexedRecord::of(vault, history)),
            )
        })
    }

    /// Moves the file aside and begins a new one, when an error says that it is beyond use.
    ///
    /// # Errors
    /// The error itself when it says something else, and as [`Index::open`].
    pub(crate) fn renew(self, error: IndexError) -> Result<Opened, IndexError> {
        if !error.is_beyond_use() {
            return Err(error);
        }
        let Self { path, vault, .. } = self;
        let moved_aside = Some(move_aside(&path)?);
        let Opened { index, .. } = Self::open(&path, vault)?;
        Ok(Opened { index, moved_aside })
    }

    fn write(
        &mut self,
        work: impl FnOnce(&Transaction<'_>) -> Result<(), rusqlite::Error>,
    ) -> Result<(), IndexError> {
        let path = self.path.clone();
        let written = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .and_then(|transaction| {
                work(&transaction)?;
                transaction.commit()
            });
        written.map_err(|source| IndexError::Sqlite { path, source })
    }

    fn failed(&self, source: rusqlite::Error) -> IndexError {
        let path = self.path.clone();
        IndexError::Sqlite { path, source }
    }
}

/// What an index proposes to somebody who types: names of tables and ids of snapshots. It is opened for reading, and made by
/// nobody who only asks.
#[derive(Debug)]
pub(crate) struct Proposals {
    connection: Connection,
    /// The names of the tables, by their keys.
    tables: Vec<(String, String)>,
}

impl Proposals {
    /// The index at `path`, where it is that of the vault at `uri`.
    pub(crate) fn of(path: &Path, uri: &str) -> Option<Self> {
        let connection =
            Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).ok()?;
        let count = "SELECT count(*) FROM vault WHERE uri = ?1";
        let named: i64 = connection.query_row(count, [uri], |row| row.get(0)).ok()?;
        if named == 0 {
            return None;
        }
        // The columns beside max() are those of its row.
        let newest = "SELECT table_key, body, max(seq) FROM record GROUP BY table_key";
        let rows = query(&connection, newest, []).ok()?.into_iter();
        let tables = rows.filter_map(|(key, body)| Some((key, name(&body)?)));
        Some(Self {
            tables: tables.collect(),
            connection,
        })
    }

    /// The names of the tables.
    pub(crate) fn tables(&self) -> impl Iterator<Item = &str> {
        self.tables.iter().map(|(_, name)| name.as_str())
    }

    /// The newest snapshots whose ids begin with `digits`: of the tables that are among `words`, or of all where none is.
    pub(crate) fn snapshots(&self, digits: &str, words: &[String]) -> Vec<(Digest, Record)> {
        let meant = self.tables.iter().filter(|(_, name)| words.contains(name));
        let keys: serde_json::Value = meant.map(|(key, _)| key.as_str()).collect();
        let newest = format!(
            "SELECT sha256, body FROM record
             WHERE sha256 GLOB ?1 AND (?2 = '[]' OR table_key IN (SELECT value FROM json_each(?2)))
             ORDER BY seq DESC LIMIT {PROPOSED}"
        );
        let parameters = params![format!("{digits}*"), keys.to_string()];
        let rows = query(&self.connection, &newest, parameters).unwrap_or_default();
        let rows = rows.into_iter();
        rows.filter_map(|(id, body)| Some((id.parse().ok()?, Record::decode(&body).ok()?)))
            .collect()
    }
}

fn name(body: &[u8]) -> Option<String> {
    Some(Record::decode(body).ok()?.table.name)
}

/// The first two columns of what a statement finds: a text, and a body.
fn query(
    connection: &Connection,
    statement: &str,
    parameters: impl Params,
) -> Result<Vec<(String, Vec<u8>)>, rusqlite::Error> {
    let mut statement = connection.prepare(statement)?;
    let rows = statement.query_map(parameters, |row| Ok((row.get(0)?, row.get(1)?)))?;
    rows.collect()
}

/// Which records of a table the index holds.
fn known(
    transaction: &Transaction<'_>,
    vault: Id128,
    table: &TableKey,
) -> Result<HashSet<(i64, String)>, rusqlite::Error> {
    transaction
        .prepare("SELECT seq, sha256 FROM record WHERE vault_id = ?1 AND table_key = ?2")?
        .query_map(params![vault.to_string(), table.to_string()], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?
        .collect()
}

/// How many migrations were applied; `None` when the file is another program's.
fn check_owner(connection: &Connection) -> Result<Option<usize>, rusqlite::Error> {
    let owner: i32 = pragma(connection, "application_id")?;
    let applied: i64 = pragma(connection, "user_version")?;
    let first: Option<String> = connection
        .query_row("SELECT name FROM sqlite_schema LIMIT 1", [], |row| {
            row.get(0)
        })
        .optional()?;
    let is_new = owner == 0 && applied == 0 && first.is_none();
    let is_ours = is_new || owner == APPLICATION_ID;
    Ok(usize::try_from(applied).ok().filter(|_| is_ours))
}

/// Brings a file that is new or ours to the schema of today.
fn set_up(connection: &mut Connection) -> Result<(), rusqlite::Error> {
    // Readers and a writer at once. A file system without shared memory keeps the mode it has, which also serves.
    connection.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))?;
    connection.pragma_update(None, "synchronous", "normal")?;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Again, because another process may have been here since.
    let applied: i64 = pragma(&transaction, "user_version")?;
    let applied = usize::try_from(applied).unwrap_or(MIGRATIONS.len());
    for migration in MIGRATIONS.iter().skip(applied) {
        transaction.execute_batch(migration)?;
    }
    if applied < MIGRATIONS.len() {
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        let applied = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
        transaction.pragma_update(None, "user_version", applied)?;
    }
    transaction
        .prepare(&format!("SELECT {RECORD_COLUMNS} FROM record"))
        .map(drop)?;
    transaction.commit()
}

fn pragma<T: rusqlite::types::FromSql>(
    connection: &Connection,
    name: &str,
) -> Result<T, rusqlite::Error> {
    connection.pragma_query_value(None, name, |row| row.get(0))
}

/// Moves a file aside, with what `SQLite` keeps beside it: an old log must not be applied to a new file.
fn move_aside(path: &Path) -> Result<PathBuf, IndexError> {
    let beside = |suffix: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    };
    let failed = |source| IndexError::File {
        path: path.to_owned(),
        source,
    };
    let aside = beside(".aside");
    // Only the last one is kept.
    if aside.is_dir() {
        fs::remove_dir_all(&aside).map_err(failed)?;
    } else if aside.exists() {
        fs::remove_file(&aside).map_err(failed)?;
    }
    match fs::rename(path, &aside) {
        // Another process was quicker.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        moved => moved.map_err(failed)?,
    }
    for suffix in ["-wal", "-shm", "-journal"] {
        match fs::remove_file(beside(suffix)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
    }
    Ok(aside)
}

#[cfg(test)]
mod tests;
