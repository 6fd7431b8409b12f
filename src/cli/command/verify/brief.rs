//! Says the first findings of a kind to people, and counts the rest: a vault that lost a bucket would fill screens for hours.

use std::collections::BTreeMap;

use deltavault::format::TableKey;
use deltavault::plan::verify::{Finding, Severity};
use serde::Serialize;

use super::word;
use crate::cli::error::CommandError;
use crate::cli::output::{Message, Output, counted};

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

    /// What was not said.
    pub(super) fn rest(self) -> impl Iterator<Item = Unsaid> {
        self.0.into_iter().filter_map(|((_, severity), said)| {
            let count = said.count.checked_sub(SHOWN).filter(|rest| *rest > 0)?;
            let table = said.table;
            Some(Unsaid {
                table,
                severity,
                count,
            })
        })
    }
}

/// Findings of one severity of a table that were not said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Unsaid {
    table: Option<String>,
    severity: Severity,
    count: u64,
}

impl Message for Unsaid {
    const TYPE: &'static str = "findings_left_out";

    fn text(&self, out: &mut Output) -> Result<(), CommandError> {
        let table = self
            .table
            .as_deref()
            .map_or_else(String::new, |table| format!(" {table}"));
        out.print(format_args!(
            "{}{table}: {} like these: --json prints each",
            word(self.severity),
            counted(self.count, "more finding"),
        ))
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
        let [
            Unsaid {
                table,
                severity,
                count,
            },
        ] = &rest[..]
        else {
            panic!("{rest:?}");
        };
        assert_eq!(
            (table.as_deref(), *severity, *count),
            (Some("a"), Severity::Damage, 150)
        );
    }
}
