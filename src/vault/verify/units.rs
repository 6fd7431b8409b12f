//! Who uses what: manifests and pages by number, each with the snapshots that name it.

use std::collections::HashSet;

/// Manifests and pages by number. Snapshots that follow each other mostly share their pages, so a unit keeps
/// ranges of them: memory grows with the pages, not with pages times snapshots.
#[derive(Debug, Default)]
pub(super) struct Units {
    users: Vec<Vec<(usize, usize)>>,
}

impl Units {
    /// Adds a unit that nobody uses yet; returns its number.
    pub(super) fn add(&mut self) -> usize {
        self.users.push(Vec::new());
        self.users.len() - 1
    }

    /// Takes note that snapshots use a unit.
    pub(super) fn used_by(&mut self, unit: usize, snapshots: &[usize]) {
        let Some(ranges) = self.users.get_mut(unit) else {
            return;
        };
        for &snapshot in snapshots {
            match ranges.last_mut() {
                Some((first, last)) if (*first..=*last).contains(&snapshot) => {}
                Some((_, last)) if *last + 1 == snapshot => *last = snapshot,
                _ => ranges.push((snapshot, snapshot)),
            }
        }
    }

    /// The units that are used by any snapshot that `is` one.
    pub(super) fn used_by_any(&self, is: impl Fn(&usize) -> bool) -> HashSet<usize> {
        let units = self.users.iter().enumerate();
        units
            .filter(|(_, users)| {
                users
                    .iter()
                    .any(|(first, last)| (*first..=*last).any(|it| is(&it)))
            })
            .map(|(unit, _)| unit)
            .collect()
    }

    /// The snapshots that use any of some units, each once, in the order of their numbers.
    pub(super) fn users<'a>(&self, units: impl IntoIterator<Item = &'a usize>) -> Vec<usize> {
        let mut users: Vec<usize> = units
            .into_iter()
            .filter_map(|unit| self.users.get(*unit))
            .flatten()
            .flat_map(|(first, last)| *first..=*last)
            .collect();
        users.sort_unstable();
        users.dedup();
        users
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_of_several_units_come_once_and_in_order() {
        let mut units = Units::default();
        let (one, other) = (units.add(), units.add());
        units.used_by(one, &[0, 1, 2]);
        units.used_by(one, &[5]);
        units.used_by(other, &[1, 3]);
        assert_eq!(units.users[one], [(0, 2), (5, 5)]);
        assert_eq!(units.users(&[one, other]), [0, 1, 2, 3, 5]);
        assert!(units.users(&[7]).is_empty());
    }
}
