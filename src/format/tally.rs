//! Sums up a manifest: the one rule by which a snapshot writes totals and a verification checks them.
//!
//! A sum does not depend on the order of the entries, nor on how they are cut into pages: the sums of all pages
//! together are the sums of all entries.

use super::{Entry, Placement, Totals};

/// Sums over entries, as a manifest's `totals` has them. See "Manifests" in `spec.md`.
#[derive(Debug, Clone, Copy)]
pub struct Tally {
    /// Its `rows` is not used.
    totals: Totals,
    /// Rows of the live files so far; `None` once those of one are unknown.
    rows: Option<u64>,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            totals: Totals::default(),
            rows: Some(0),
        }
    }
}

impl Tally {
    /// Counts one entry.
    pub fn add(&mut self, entry: &Entry) {
        let totals = &mut self.totals;
        if entry.placement == (Placement::Absent {}) {
            totals.absent_files = totals.absent_files.saturating_add(1);
            return;
        }
        totals.files = totals.files.saturating_add(1);
        totals.bytes = totals.bytes.saturating_add(entry.size);
        if !entry.kind.is_log() {
            totals.data_files = totals.data_files.saturating_add(1);
            totals.data_bytes = totals.data_bytes.saturating_add(entry.size);
        }
        for live in &entry.live {
            totals.live_files = totals.live_files.saturating_add(1);
            let deleted = live.dv.as_ref().map_or(0, |dv| dv.cardinality);
            let rows = entry.rows.and_then(|rows| rows.checked_sub(deleted));
            self.rows = plus(self.rows, rows);
        }
    }

    /// Counts the entries of a page whose totals are known.
    pub fn add_totals(&mut self, page: &Totals) {
        let totals = &mut self.totals;
        for (sum, part) in [
            (&mut totals.absent_files, page.absent_files),
            (&mut totals.bytes, page.bytes),
            (&mut totals.data_bytes, page.data_bytes),
            (&mut totals.data_files, page.data_files),
            (&mut totals.files, page.files),
            (&mut totals.live_files, page.live_files),
        ] {
            *sum = sum.saturating_add(part);
        }
        self.rows = plus(self.rows, page.rows);
    }

    /// The sums.
    pub fn totals(&self) -> Totals {
        Totals {
            rows: self.rows,
            ..self.totals
        }
    }
}

fn plus(one: Option<u64>, other: Option<u64>) -> Option<u64> {
    one?.checked_add(other?)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;
    use crate::delta::DeletionVector;
    use crate::format::samples::{data_entry, log_entry};
    use crate::format::{EntryKind, LiveUse};

    fn live(cardinality: Option<u64>) -> LiveUse {
        LiveUse::plain(cardinality.map(|cardinality| DeletionVector {
            cardinality,
            file: None,
            id: format!("i{cardinality}"),
            offset: None,
            size: 1,
        }))
    }

    /// A data file with `rows` rows, live once for each of `vectors`.
    fn data(rows: Option<u64>, vectors: &[Option<u64>]) -> Entry {
        Entry {
            rows,
            live: vectors.iter().copied().map(live).collect(),
            ..data_entry("a", None)
        }
    }

    fn sums(entries: &[Entry]) -> Totals {
        let mut tally = Tally::default();
        for entry in entries {
            tally.add(entry);
        }
        tally.totals()
    }

    #[test]
    fn rows_are_those_of_live_files_less_what_their_vectors_delete() {
        let one = data(Some(10), &[Some(3)]);
        let other = data(Some(5), &[None]);
        let not_live = data(None, &[]);
        let of = |entries: &[Entry]| (sums(entries).rows, sums(entries).live_files);
        assert_eq!(of(&[]), (Some(0), 0));
        assert_eq!(of(&[one.clone(), other.clone(), not_live]), (Some(12), 2));
        // Live with two vectors, which only a log that contradicts itself says: both count.
        assert_eq!(
            of(&[data(Some(10), &[Some(3), Some(4)]), other.clone()]),
            (Some(18), 3)
        );
        // Every row deleted is known; more than every row is not.
        assert_eq!(of(&[data(Some(10), &[Some(10)])]), (Some(0), 1));
        for unknown in [
            data(None, &[None]),
            data(Some(10), &[Some(11)]),
            data(Some(0), &[Some(1)]),
            data(Some(10), &[None, Some(u64::MAX)]),
        ] {
            assert_eq!(of(&[one.clone(), unknown.clone(), other.clone()]).0, None);
            assert_eq!(of(&[unknown, one.clone()]).0, None);
        }
    }

    #[test]
    fn sums_stop_at_their_limit_and_rows_are_unknown_beyond_it() {
        let huge = Entry {
            size: u64::MAX,
            ..data(Some(u64::MAX), &[None])
        };
        assert_eq!(sums(std::slice::from_ref(&huge)).rows, Some(u64::MAX));
        let both = sums(&[huge.clone(), data(Some(1), &[None])]);
        assert_eq!((both.bytes, both.data_bytes), (u64::MAX, u64::MAX));
        assert_eq!((both.rows, both.live_files), (None, 2));
        // A vector on it brings the sum back below the limit.
        let deleted = Entry {
            size: 1,
            ..data(Some(u64::MAX), &[Some(u64::MAX)])
        };
        assert_eq!(sums(&[huge, deleted]).rows, Some(u64::MAX));
    }

    #[test]
    fn absent_files_are_counted_and_nothing_else_of_them() {
        let absent = Entry {
            placement: Placement::Absent {},
            sha256: None,
            ..data(None, &[None, Some(7)])
        };
        let totals = Totals {
            absent_files: 1,
            rows: Some(0),
            ..Totals::default()
        };
        assert_eq!(sums(&[absent]), totals);
    }

    fn entries() -> impl Strategy<Value = Vec<Entry>> {
        let number = || {
            let odd = vec![0, 1, 7, 100, u64::MAX / 2, u64::MAX - 1, u64::MAX];
            select(odd)
        };
        let vectors = vec(proptest::option::of(number()), 0..3);
        let rows = proptest::option::weighted(0.9, number());
        let kinds = vec![
            EntryKind::Data,
            EntryKind::DeletionVector,
            EntryKind::ChangeData,
            EntryKind::Commit,
        ];
        let entry = (number(), rows, vectors, select(kinds), any::<bool>());
        let entry = entry.prop_map(|(size, rows, vectors, kind, absent)| {
            let entry = if kind.is_log() {
                log_entry("_delta_log/00000000000000000000.json")
            } else {
                data(rows, &vectors)
            };
            let placement = if absent && !kind.is_log() {
                Placement::Absent {}
            } else {
                entry.placement
            };
            Entry {
                kind,
                placement,
                size,
                ..entry
            }
        });
        vec(entry, 0..12)
    }

    proptest! {
        /// What a snapshot sums up entry by entry is what a verification sums up page by page, in any order; and both
        /// are what the rule says in plain arithmetic.
        #[test]
        fn writer_and_checker_come_to_the_same_sums(entries in entries(), cut in 1_usize..5) {
            let written = sums(&entries);
            let mut checked = Tally::default();
            for page in entries.chunks(cut).rev() {
                checked.add_totals(&sums(page));
            }
            prop_assert_eq!(checked.totals(), written);

            let held: Vec<_> = entries.iter().filter(|it| it.placement != Placement::Absent {}).collect();
            let mut rows = Some(0_u128);
            for entry in &held {
                for live in &entry.live {
                    let deleted = live.dv.as_ref().map_or(0, |dv| dv.cardinality);
                    rows = match (rows, entry.rows) {
                        (Some(sum), Some(all)) if deleted <= all => Some(sum + u128::from(all - deleted)),
                        _ => None,
                    };
                }
            }
            let bytes: u128 = held.iter().map(|entry| u128::from(entry.size)).sum();
            prop_assert_eq!(written.rows, rows.and_then(|rows| u64::try_from(rows).ok()));
            prop_assert_eq!(written.bytes, u64::try_from(bytes).unwrap_or(u64::MAX));
            prop_assert_eq!(written.files, held.len() as u64);
            prop_assert_eq!(written.absent_files, (entries.len() - held.len()) as u64);
        }
    }
}
