//! Files that lie side by side in one pack are read by one call.

use std::ops::Range;

use crate::format::{Placement, Reference};
use crate::plan::restore::RestoreStep;

/// Files of a pack that are at most this many bytes apart are read by one call, with what lies between them: it takes
/// no longer than a second call, and costs nothing where a call costs money.
const GAP_READ: u64 = 128 * 1024;

/// At most this many bytes of a pack are read by one call.
const READ_LIMIT: u64 = 4 * 1024 * 1024;

/// Steps whose files are read together.
#[derive(Debug)]
pub(super) struct Together {
    pub(super) steps: Vec<RestoreStep>,
    /// The part of the pack that has them all; `None` for a file that is read alone.
    pub(super) span: Option<Range<u64>>,
}

impl Together {
    fn of(step: RestoreStep) -> Self {
        let span = in_pack(&step).map(|(_, range)| range);
        let steps = vec![step];
        Self { steps, span }
    }

    /// Takes in a step whose file lies close behind the others, in the same pack.
    fn with(&self, step: &RestoreStep) -> Option<Range<u64>> {
        let (pack, range) = in_pack(step)?;
        let (same, _) = in_pack(self.steps.last()?)?;
        let span = self.span.as_ref()?;
        let joined = span.start..span.end.max(range.end);
        let close = range.start >= span.start
            && range.start <= span.end.saturating_add(GAP_READ)
            && joined.end.saturating_sub(joined.start) <= READ_LIMIT;
        (close && pack == same).then_some(joined)
    }

    pub(super) fn weight(&self) -> u64 {
        let span = self.span.as_ref();
        span.map_or(0, |span| span.end.saturating_sub(span.start))
    }
}

/// The pack that holds a step's file, and where in it.
fn in_pack(step: &RestoreStep) -> Option<(&Reference, Range<u64>)> {
    match &step.entry.placement {
        Placement::Blob {
            offset: Some(offset),
            reference,
        } => {
            let end = offset.checked_add(step.entry.size)?;
            Some((reference, *offset..end))
        }
        Placement::Blob { offset: None, .. }
        | Placement::Copy { .. }
        | Placement::Inline(_)
        | Placement::Absent {} => None,
    }
}

/// Gathers neighbours; the steps come in the order in which packs hold them.
pub(super) fn read_together<E>(
    steps: impl Iterator<Item = Result<RestoreStep, E>>,
) -> impl Iterator<Item = Result<Together, E>> {
    let mut steps = steps.peekable();
    std::iter::from_fn(move || {
        let mut together = match steps.next()? {
            Ok(step) => Together::of(step),
            Err(error) => return Some(Err(error)),
        };
        while let Some(Ok(next)) = steps.peek() {
            let Some(span) = together.with(next) else {
                break;
            };
            together.span = Some(span);
            together.steps.extend(steps.next().and_then(Result::ok));
        }
        Some(Ok(together))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;
    use crate::format::Entry;
    use crate::format::samples::data_entry;
    use crate::ids::{Digest, Generation};
    use crate::plan::restore::order::Turn;

    fn step(pack: &str, offset: u64, size: u64) -> RestoreStep {
        let reference = Reference {
            generation: Generation::default(),
            key: pack.parse().unwrap(),
            sha256: Digest::of(pack.as_bytes()),
            size: 16 << 20,
            version: None,
        };
        let placement = Placement::Blob {
            offset: Some(offset),
            reference,
        };
        let entry = Entry {
            placement,
            size,
            ..data_entry(&format!("{pack} {offset}"), None)
        };
        RestoreStep {
            turn: Turn::Data,
            entry,
            replaces: None,
            is_under: false,
        }
    }

    fn spans(steps: Vec<RestoreStep>) -> Vec<(usize, Option<Range<u64>>)> {
        let steps = steps.into_iter().map(Ok::<_, Error>);
        read_together(steps)
            .map(|together| together.unwrap())
            .map(|together| (together.steps.len(), together.span))
            .collect()
    }

    #[test]
    fn neighbours_in_a_pack_are_read_by_one_call_and_no_others() {
        let far = 10 + GAP_READ + 1;
        assert_eq!(
            spans(vec![
                step("a", 0, 5),
                step("a", 5, 5),
                step("a", far, 5),
                step("b", far + 5, 5)
            ]),
            [
                (2, Some(0..10)),
                (1, Some(far..far + 5)),
                (1, Some(far + 5..far + 10))
            ]
        );
        // The same bytes twice, and none.
        assert_eq!(
            spans(vec![step("a", 0, 9), step("a", 0, 9), step("a", 9, 0)]),
            [(3, Some(0..9))]
        );
        let large = READ_LIMIT / 2 + 1;
        assert_eq!(
            spans(vec![step("a", 0, large), step("a", large, large)]).len(),
            2
        );
        let alone = RestoreStep {
            turn: Turn::Data,
            entry: data_entry("alone", None),
            replaces: None,
            is_under: false,
        };
        assert_eq!(spans(vec![alone.clone(), alone]), [(1, None), (1, None)]);
    }
}
