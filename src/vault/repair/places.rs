//! Where lost files are named: every entry of the vault that has one of their digests, and the tables that these are of.

use std::collections::{HashMap, HashSet};

use super::Repairer;
use crate::error::Error;
use crate::format::Entry;
use crate::format::ledger::Bodies;
use crate::format::record::TableIdentity;
use crate::ids::Digest;
use crate::vault::walk::{OnDamage, Seen, Use, walk};

/// Places that are remembered for one digest; they are tried one after the other.
const PLACES_KEPT: usize = 8;

/// Where lost files are named: by their digest, in what entries.
#[derive(Debug, Default)]
pub(super) struct Places {
    tables: Vec<TableIdentity>,
    of: HashMap<Digest, Vec<(usize, Entry)>>,
}

impl Places {
    fn table(&mut self, identity: &TableIdentity) -> usize {
        let known = self.tables.iter().position(|it| {
            (it.source.as_str(), it.uri.as_str())
                == (identity.source.as_str(), identity.uri.as_str())
        });
        known.unwrap_or_else(|| {
            self.tables.push(identity.clone());
            self.tables.len() - 1
        })
    }

    fn add(&mut self, table: usize, entry: Entry) {
        let Some(sha256) = entry.sha256 else {
            return;
        };
        let places = self.of.entry(sha256).or_default();
        let is_known = places.iter().any(|(of, known)| {
            (*of, &known.file, &known.placement) == (table, &entry.file, &entry.placement)
        });
        if !is_known && places.len() < PLACES_KEPT {
            places.push((table, entry));
        }
    }

    pub(super) fn identity(&self, table: usize) -> Option<&TableIdentity> {
        self.tables.get(table)
    }

    pub(super) fn of(&self, sha256: Digest) -> impl Iterator<Item = (usize, &Entry)> {
        let places = self.of.get(&sha256).into_iter().flatten();
        places.map(|(table, entry)| (*table, entry))
    }
}

impl Repairer {
    /// Reads every page of the vault for entries that have one of some digests.
    pub(super) async fn places(&self, wanted: &HashSet<Digest>) -> Result<Places, Error> {
        let mut places = Places::default();
        if wanted.is_empty() {
            return Ok(places);
        }
        for table in self.vault.tables().await? {
            let history = match self.vault.history(&table, Bodies::new()).await {
                Ok(history) => history,
                Err(error @ Error::Store(_)) => return Err(error),
                // What is wrong with a ledger was said by the verification.
                Err(_) => continue,
            };
            let mut seen = Seen::new();
            for snapshot in history.snapshots.iter().rev() {
                let at = places.table(&snapshot.record.table);
                let mut each = |used: Use<'_>| {
                    if let Use::File(entry) = used
                        && entry.sha256.is_some_and(|it| wanted.contains(&it))
                    {
                        places.add(at, entry.clone());
                    }
                    Ok(())
                };
                let (record, pass_over) = (&snapshot.record, OnDamage::PassOver);
                walk(&self.vault, record, pass_over, &mut seen, &mut each).await?;
            }
        }
        Ok(places)
    }
}

/// What the vault holds; `None` where it is damaged. What its store could not do is an error.
pub(super) fn unless_damaged<T>(read: Result<T, Error>) -> Result<Option<T>, Error> {
    match read {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.is_damage() => Ok(None),
        Err(error) => Err(error),
    }
}
