//! Which one of several parts is checked tonight: one a night.

/// The golden ratio's share of 2^64.
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// A point of the unit interval, in 2^32 steps, that moves on by the golden ratio from slot to slot of a ledger.
///
/// Multiples of the golden ratio fill the interval evenly, and so do those of any of its multiples
/// (<https://en.wikipedia.org/wiki/Low-discrepancy_sequence#Additive_recurrence>): of `n` equal parts each is met within
/// about three times `n` nights, although nobody remembers which ones were, and although a table may change on every
/// second or every seventh night. Counting on by one would then never reach some of them.
#[derive(Debug, Clone, Copy)]
pub struct Rotation(u64);

impl Rotation {
    /// The turn for the record in slot `seq`.
    pub fn of(seq: u64) -> Self {
        Self(seq.wrapping_mul(GOLDEN) >> 32)
    }

    /// Picks one of equal parts and goes on to the turn within it.
    pub fn pick<'a, T>(&mut self, parts: &'a [T]) -> Option<&'a T> {
        let count = u32::try_from(parts.len()).unwrap_or(u32::MAX);
        let point = self.0 * u64::from(count);
        self.0 = point & u64::from(u32::MAX);
        parts.get(usize::try_from(point >> 32).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_part_has_its_turn_in_whatever_rhythm_the_table_rests() {
        for pages in [1, 2, 3, 7, 12, 64] {
            for objects in [1, 2, 7, 30] {
                let (pages, objects): (Vec<_>, Vec<_>) =
                    ((0..pages).collect(), (0..objects).collect());
                let parts = pages.len() * objects.len();
                for step in [1_usize, 2, 3, 7, 13, 34] {
                    let seen: BTreeSet<_> = (1..=(step * parts * 40) as u64)
                        .step_by(step)
                        .map(|seq| {
                            let mut turn = Rotation::of(seq);
                            (*turn.pick(&pages).unwrap(), *turn.pick(&objects).unwrap())
                        })
                        .collect();
                    assert_eq!(seen.len(), parts, "{parts} parts, every {step} nights");
                }
            }
        }
    }

    #[test]
    fn night_after_night_all_are_met_within_three_rounds() {
        for count in 1..200_usize {
            let parts: Vec<_> = (0..count).collect();
            let nights = 3 * count as u64;
            for first in [1, 2, 1000, u64::MAX - 2 * nights] {
                let nights = first..first + nights;
                let met: BTreeSet<_> = nights
                    .map(|seq| *Rotation::of(seq).pick(&parts).unwrap())
                    .collect();
                assert_eq!(met.len(), count, "from {first} on");
            }
        }
    }

    #[test]
    fn of_nothing_nothing_is_picked() {
        assert_eq!(Rotation::of(7).pick::<u8>(&[]), None);
    }
}
