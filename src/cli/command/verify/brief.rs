//! Says the first findings of a kind to people, and counts the rest: a vault that lost a bucket would fill screens for hours.

use std::collections::BTreeMap;

use deltavault::format::TableKey;
use deltavault::plan::verify::{Finding, Severity};

use super::word;
use crate::cli::output::counted;

/// How many findings of one severity are said of a table.
const SHOWN: u64 = 100;

/// What was said of each table. `None` stands for the vault as a whole.
#[derive(Debug, Default)]
pub(super) struct Brief(BTreeMap<(Option<TableKey>, Severity), Said>);

#[derive(Debug, Default)]
struct Said {
    table: Option<String>,
    count: u64,
}

impl Brief {
    /// Counts a finding; returns whether it is to be said.
    pub(super) fn says(&mut self, finding: &Finding) -> bool {
        let said = self
            .0
            .entry((finding.key.clone(), finding.severity))
            .or_default();
        if said.count == 0 {
            said.table.clone_from(&finding.table);
        }
        said.count += 1;
        said.count <= SHOWN
    }

    /// A line for each kind of which not all were said.
    pub(super) fn rest(self) -> impl Iterator<Item = String> {
        self.0.into_iter().filter_map(|((_, severity), said)| {
            let more = said.count.checked_sub(SHOWN).filter(|more| *more > 0)?;
            let (severity, more) = (word(severity), counted(more, "more finding"));
            let table = said
                .table
                .map_or_else(String::new, |table| format!(" {table}"));
            Some(format!(
                "{severity}{table}: {more} like these: --json prints each"
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use deltavault::plan::verify::Remedy;

    use super::*;

    #[test]
    fn a_hundred_findings_of_a_kind_are_said_and_the_rest_is_counted() {
        let finding = |table: &str, severity| Finding {
            severity,
            table: Some(table.to_owned()),
            key: None,
            snapshots: Vec::new(),
            object: String::new(),
            what: String::new(),
            remedy: Remedy::ReadAll,
        };
        let mut brief = Brief::default();
        let said = (0..250).filter(|_| brief.says(&finding("a", Severity::Damage)));
        assert_eq!(said.count(), 100);
        assert!(brief.says(&finding("a", Severity::Warning)));
        let rest: Vec<_> = brief.rest().collect();
        assert_eq!(
            rest,
            ["DAMAGE a: 150 more findings like these: --json prints each"]
        );
    }
}
