//! Looks into a vault: which tables and snapshots there are, what is in one, and how two differ.
//!
//! Only reads, and believes nothing that does not link or hash. What is damaged in one snapshot does not hide
//! the others.

use std::collections::BTreeMap;

use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};

use super::{SlotFolder, Vault};
use crate::error::Error;
use crate::format::ledger::{self, Bodies, LedgerError, PrefixError, Step, resolve_prefix};
use crate::format::record::TableIdentity;
use crate::format::{Entry, EntryKind, Manifest, Placement, TableKey, TableUri};
use crate::plan::choose::{ChooseError, History, Snapshot};

/// Tables looked at side by side: each is two or three small requests one after the other.
const TABLES_AHEAD: usize = 16;

/// A table of the vault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableRef {
    /// Its key.
    pub key: TableKey,
    /// What its newest record of this table calls it; `None` where no record can be read that is of it by its key.
    pub identity: Option<TableIdentity>,
}

impl TableRef {
    /// Its name for people.
    pub fn name(&self) -> &str {
        let name = self.identity.as_ref().and_then(TableIdentity::name);
        name.unwrap_or(self.key.slug())
    }

    /// Its URI, else its key.
    pub fn uri(&self) -> String {
        self.identity
            .as_ref()
            .map_or_else(|| self.key.to_string(), |identity| identity.uri.clone())
    }

    /// Its key, which means no other table, with its URI and source.
    pub fn in_full(&self) -> String {
        match &self.identity {
            Some(TableIdentity { uri, source, .. }) => {
                format!("{} ({uri} in {source:?})", self.key)
            }
            None => self.key.to_string(),
        }
    }

    fn is_called(&self, text: &str) -> bool {
        self.key.slug() == text
            || self
                .identity
                .as_ref()
                .is_some_and(|identity| identity.name == text)
    }

    /// Whether its URI gives it this name.
    fn is_named_by_its_place(&self, text: &str) -> bool {
        let uri = self.identity.as_ref().map(|it| it.uri.parse::<TableUri>());
        matches!(uri, Some(Ok(uri)) if uri.name() == text)
    }

    fn is_at(&self, uri: &TableUri) -> bool {
        self.identity
            .as_ref()
            .is_some_and(|identity| identity.uri == uri.as_str())
    }
}

/// What is typed on a command line to mean a table of these and no other: its name where it is a plain word that no other
/// has, else its URI, else its key. `is_taken` says which words mean something else there.
pub fn address(
    tables: &[TableRef],
    key: &TableKey,
    is_taken: impl Fn(&TableRef, &str) -> bool,
) -> String {
    let Some(table) = tables.iter().find(|table| table.key == *key) else {
        return key.to_string();
    };
    let name = table.name();
    let is_word = !name.is_empty() && !name.starts_with('-') && !name.contains('/');
    let named = tables.iter().filter(|table| table.is_called(name)).count();
    // Somebody may have called it by the key of another table.
    let is_key = name.parse::<TableKey>().is_ok();
    if is_word && !is_key && named == 1 && !is_taken(table, name) {
        return name.to_owned();
    }
    let uri = table.uri();
    let there = tables.iter().filter(|table| table.uri() == uri).count();
    if there == 1 {
        // A path is what people type.
        let path = uri
            .strip_prefix("file://")
            .filter(|path| path.starts_with('/'));
        return path.map_or_else(|| uri.clone(), ToOwned::to_owned);
    }
    key.to_string()
}

/// The one table that a text means. Of several with that name it is the one whose place gives it the name: whoever takes
/// snapshots may call a table whatever they like, and takes no other one's name away by it.
///
/// # Errors
/// [`Error::AmbiguousTable`], with the keys of all of them.
pub fn only_table(text: &str, mut tables: Vec<TableRef>) -> Result<TableRef, Error> {
    if tables.len() > 1 {
        let by_place: Vec<_> = tables
            .iter()
            .filter(|it| it.is_named_by_its_place(text))
            .collect();
        if let [one] = by_place[..] {
            return Ok(one.clone());
        }
    }
    match (tables.pop(), tables.is_empty()) {
        (Some(table), true) => Ok(table),
        (last, _) => Err(Error::AmbiguousTable {
            name: text.to_owned(),
            candidates: (tables.iter().chain(&last))
                .map(TableRef::in_full)
                .collect(),
        }),
    }
}

/// What is known of all tables.
#[derive(Debug, Default)]
pub struct Histories {
    /// Those whose ledgers can be read.
    pub read: Vec<History>,
    /// The others, each with the reason.
    pub refused: Vec<(TableKey, Error)>,
}

impl Histories {
    /// All of them, where none was refused.
    ///
    /// # Errors
    /// Why the first one was.
    pub fn whole(self) -> Result<Vec<History>, Error> {
        match self.refused.into_iter().next() {
            Some((_, error)) => Err(error),
            None => Ok(self.read),
        }
    }
}

/// Files of one kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KindCount {
    /// Files that are held.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Files that are only named.
    pub absent: u64,
}

impl Vault {
    /// Lists the tables with their names.
    ///
    /// # Errors
    /// What the store says.
    pub async fn table_refs(&self) -> Result<Vec<TableRef>, Error> {
        let tables = self.tables().await?;
        stream::iter(tables)
            .map(|table| self.table_ref(table))
            .buffered(TABLES_AHEAD)
            .try_collect()
            .await
    }

    async fn table_ref(&self, key: TableKey) -> Result<TableRef, Error> {
        let link = match self.head(&key, &[]).await {
            Ok(view) => view.head.link,
            // Its key still names it, and a look inside says which tool it needs.
            Err(Error::Ledger(LedgerError::NewerRecord { .. })) => None,
            Err(error) if error.is_refused_ledger() => {
                let identity = None;
                return Ok(TableRef { key, identity });
            }
            Err(error) => return Err(error),
        };
        let mut identity = link
            .as_ref()
            .and_then(ledger::Link::record)
            .map(|record| record.table.clone())
            // A record put into the ledger of another table must not lend it its name.
            .filter(|identity| key.is_of(identity));
        // Nor may it take the table's own away.
        if identity.is_none() {
            let history = self.history(&key, Bodies::default()).await?;
            let mut named = history.snapshots.iter().rev().map(|it| &it.record.table);
            identity = named.find(|identity| key.is_of(identity)).cloned();
        }
        Ok(TableRef { key, identity })
    }

    /// The table with a key, where its newest record says that it is this one. Reads no other table's ledger.
    ///
    /// # Errors
    /// What the store says.
    pub async fn table_with(&self, key: &TableKey) -> Result<Option<TableRef>, Error> {
        let table = self.table_ref(key.clone()).await?;
        Ok(table.identity.is_some().then_some(table))
    }

    /// The other tables of the same URI, whose records name another source. Reads only ledgers whose keys look alike.
    ///
    /// # Errors
    /// What the store says.
    pub async fn twins(&self, table: &TableRef) -> Result<Vec<TableRef>, Error> {
        let Some(identity) = &table.identity else {
            return Ok(Vec::new());
        };
        let alike = self.tables_called(table.key.slug()).await?;
        let others = stream::iter(alike.into_iter().filter(|key| *key != table.key));
        let read = others.map(|key| self.table_ref(key));
        let mut twins: Vec<_> = read.buffered(TABLES_AHEAD).try_collect().await?;
        twins.retain(|it| it.uri() == identity.uri);
        Ok(twins)
    }

    /// Finds a table by its recorded name, its URI, its key or the readable half of it.
    ///
    /// # Errors
    /// As [`Vault::find_tables`]; [`Error::AmbiguousTable`] where it finds several.
    pub async fn find_table(&self, text: &str) -> Result<TableRef, Error> {
        only_table(text, self.find_tables(text, None).await?)
    }

    /// Finds the tables that a text may mean, one at least: by a key only its table, else by recorded name, URI and the
    /// readable half of a key. `place` is what the text means as a path.
    ///
    /// # Errors
    /// [`Error::UnknownTable`] with those that there are; [`ChooseError::LedgerNotWhole`] where a table whose records cannot be
    /// read may be the one.
    pub async fn find_tables(
        &self,
        text: &str,
        place: Option<&TableUri>,
    ) -> Result<Vec<TableRef>, Error> {
        if let Ok(key) = text.parse()
            && let Some(table) = self.table_with(&key).await?
        {
            return Ok(vec![table]);
        }
        let tables = self.table_refs().await?;
        let by_key = tables.iter().find(|table| table.key.to_string() == text);
        if let Some(table) = by_key {
            return Ok(vec![table.clone()]);
        }
        let typed_uri: Option<TableUri> = text.parse().ok();
        let uris: Vec<&TableUri> = typed_uri.iter().chain(place).collect();
        let matches: Vec<TableRef> = tables
            .iter()
            .filter(|table| table.is_called(text) || uris.iter().any(|uri| table.is_at(uri)))
            .cloned()
            .collect();
        if matches.is_empty() {
            return Err(self.no_such_table(text, &uris, &tables).await?);
        }
        Ok(matches)
    }

    /// A table whose records cannot be read may be the one: then the reason is the answer. A place tells by the key;
    /// the name that a damaged record gave its table is lost with it.
    async fn no_such_table(
        &self,
        text: &str,
        uris: &[&TableUri],
        tables: &[TableRef],
    ) -> Result<Error, Error> {
        let unversioned = tables
            .iter()
            .filter(|table| table.identity.is_none())
            .filter(|table| {
                let is_place = uris.iter().any(|uri| uri.slug() == table.key.slug());
                is_place || uris.is_empty() || !text.contains('/')
            });
        for table in unversioned {
            if let Some(reason) = self.unread_table(&table.key, text).await? {
                return Ok(reason);
            }
        }
        Ok(Error::UnknownTable {
            name: text.to_owned(),
            known: tables.iter().map(|table| table.name().to_owned()).collect(),
        })
    }

    /// Why the records of the table that `text` may mean cannot be read, where some cannot.
    ///
    /// # Errors
    /// What the store says.
    pub async fn unread_table(&self, key: &TableKey, text: &str) -> Result<Option<Error>, Error> {
        let history = self.history(key, Bodies::default()).await?;
        let mut newer = history.newer.iter().rev();
        if let Some(newer) = newer.find(|newer| !newer.is_distrusted) {
            return Ok(Some(newer.error.clone().into()));
        }
        let not_whole = history.not_whole(format!("table {text:?}"));
        Ok(not_whole.map(Error::from))
    }

    /// Reads everything that a table's ledger holds. `bodies` may hold what a cache has; the digests decide.
    ///
    /// Records that need a newer tool are listed apart and do not hide the others.
    ///
    /// # Errors
    /// What the store says.
    pub async fn history(&self, table: &TableKey, mut bodies: Bodies) -> Result<History, Error> {
        let slots = self.slots(SlotFolder::Records(table)).await?;
        let mut newer = Vec::new();
        loop {
            match ledger::read_chain(&slots, &bodies, &newer) {
                Ok(Step::Done(chain)) => return Ok(History::new(table.clone(), chain)),
                Ok(Step::Read(wanted)) => {
                    self.read_slots(SlotFolder::Records(table), wanted, &mut bodies)
                        .await?;
                }
                Err(LedgerError::NewerRecord { id, .. }) => newer.push(id),
                Err(
                    error @ (LedgerError::NewerEvent { .. } | LedgerError::NotForThisTool { .. }),
                ) => return Err(error.into()),
            }
        }
    }

    /// Reads the histories of all tables; `remembered` is what a cache has of each.
    ///
    /// # Errors
    /// What the store says, but for a ledger that it refuses.
    pub async fn histories(
        &self,
        mut remembered: impl FnMut(&TableKey) -> Bodies,
    ) -> Result<Histories, Error> {
        let tables = self.tables().await?;
        let tables: Vec<(TableKey, Bodies)> = tables
            .into_iter()
            .map(|table| {
                let bodies = remembered(&table);
                (table, bodies)
            })
            .collect();
        let mut tables = stream::iter(tables)
            .map(|(table, bodies)| async move {
                let history = self.history(&table, bodies).await;
                (table, history)
            })
            .buffered(TABLES_AHEAD);
        let mut histories = Histories::default();
        while let Some((table, history)) = tables.next().await {
            match history {
                Ok(history) => histories.read.push(history),
                Err(error) if error.is_refused_ledger() => histories.refused.push((table, error)),
                Err(error) => return Err(error),
            }
        }
        Ok(histories)
    }

    /// Counts what a manifest names, by kind. Reads every page.
    ///
    /// # Errors
    /// [`Error::Damaged`] when a page cannot be read.
    pub async fn count_kinds(
        &self,
        manifest: &Manifest,
    ) -> Result<BTreeMap<EntryKind, KindCount>, Error> {
        let mut kinds: BTreeMap<EntryKind, KindCount> = BTreeMap::new();
        let mut entries = self.files(manifest);
        while let Some(entry) = entries.try_next().await? {
            let count = kinds.entry(entry.kind).or_default();
            if matches!(entry.placement, Placement::Absent {}) {
                count.absent += 1;
            } else {
                count.files += 1;
                count.bytes = count.bytes.saturating_add(entry.size);
            }
        }
        Ok(kinds)
    }

    /// Streams every entry of a manifest: the log's files in their order, then the others.
    pub fn files<'a>(&'a self, manifest: &'a Manifest) -> BoxStream<'a, Result<Entry, Error>> {
        self.entries(&manifest.log_pages)
            .chain(self.entries(&manifest.data_pages))
            .boxed()
    }
}

/// Finds the one snapshot, of whatever table, whose id begins with `prefix`.
///
/// # Errors
/// [`ChooseError::Prefix`], saying which there are, or [`ChooseError::LedgerNotWhole`]; [`ChooseError::Ledger`] when it
/// needs a newer tool.
pub fn find_snapshot<'a>(
    histories: &'a [History],
    prefix: &str,
) -> Result<(&'a History, &'a Snapshot), ChooseError> {
    let id = resolve_prefix(histories.iter().flat_map(History::ids), prefix);
    let id = id.map_err(|error| {
        let mut not_whole = histories
            .iter()
            .filter_map(|history| history.not_whole(format!("snapshot {prefix}")));
        match (&error, not_whole.next()) {
            (PrefixError::Unknown { .. }, Some(not_whole)) => not_whole,
            _ => error.into(),
        }
    })?;
    for history in histories {
        if let Some(snapshot) = history.find(id)?
            // A record may lie in the ledger of another table, too.
            && history.table.is_of(&snapshot.record.table)
        {
            return Ok((history, snapshot));
        }
    }
    Err(PrefixError::unknown(prefix, []).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(name: &str, source: &str, uri: &str) -> TableRef {
        let uri: TableUri = uri.parse().unwrap();
        TableRef {
            key: TableKey::of(source, &uri).unwrap(),
            identity: Some(TableIdentity {
                delta_id: String::new(),
                name: name.to_owned(),
                source: source.to_owned(),
                uri: uri.to_string(),
            }),
        }
    }

    #[test]
    fn what_is_typed_for_a_table_means_no_other() {
        let tables = [
            table("orders", "aws", "s3://lake/sales/orders"),
            table("twin", "aws", "s3://a/twin"),
            table("twin", "local", "file:///b/twin"),
            table("sales/orders", "aws", "s3://lake/slash"),
            table("-x", "local", "file:///b/dash"),
            table("same", "one", "s3://same/place"),
            table("same", "two", "s3://same/place"),
            // Its name is what another one's key says.
            table("lake-slash", "aws", "s3://other/x"),
            table("taken", "aws", "s3://lake/taken"),
            TableRef {
                identity: None,
                ..table("", "aws", "s3://lake/damaged")
            },
        ];
        let typed = |at: usize| address(&tables, &tables[at].key, |_, name: &str| name == "taken");
        assert_eq!(typed(0), "orders");
        assert_eq!(typed(1), "s3://a/twin");
        assert_eq!(typed(2), "/b/twin");
        assert_eq!(typed(3), "s3://lake/slash");
        assert_eq!(typed(4), "/b/dash");
        assert_eq!(typed(5), tables[5].key.to_string());
        assert_eq!(typed(6), tables[6].key.to_string());
        assert_eq!(typed(7), "s3://other/x");
        assert_eq!(typed(8), "s3://lake/taken");
        assert_eq!(typed(9), "lake-damaged");
        let unknown = table("x", "aws", "s3://nowhere/x").key;
        assert_eq!(
            address(&tables, &unknown, |_, _| false),
            unknown.to_string()
        );
    }
}
