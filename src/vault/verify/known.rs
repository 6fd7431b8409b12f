//! Compares ledgers with records that are known from elsewhere.

use std::collections::BTreeMap;

use crate::error::Error;
use crate::format::TableKey;
use crate::format::ledger::Bodies;
use crate::plan::choose::History;
use crate::plan::verify::{Finding, KnownRecord};
use crate::vault::Vault;

impl Vault {
    /// What is to be said of records that the vault is known to have had and does not have.
    ///
    /// # Errors
    /// As [`Vault::history`].
    pub async fn missing(&self, known: &[KnownRecord]) -> Result<Vec<Finding>, Error> {
        let mut histories: BTreeMap<&TableKey, History> = BTreeMap::new();
        let mut found = Vec::new();
        for record in known {
            if !histories.contains_key(&record.table) {
                let history = self.history(&record.table, Bodies::new()).await?;
                histories.insert(&record.table, history);
            }
            found.extend(record.missing_from(histories.get(&record.table)));
        }
        Ok(found)
    }
}
