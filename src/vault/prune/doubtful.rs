//! What a survey is in doubt about: objects that may be substitutes, and objects that are gone and may have some. To
//! settle that the pages of the snapshots that are kept are read once more.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use super::survey::{Reading, Rows, most_needed_first};
use super::table_read::{TableRead, decide, read_table};
use super::{Amount, ByReason, Why};
use crate::error::Error;
use crate::format::VaultKey;
use crate::ids::ObjectKey;
use crate::plan::prune::Verdict;
use crate::sort::Sorter;
use crate::vault::substitutes::{Gone, Name, Names, names_of};
use crate::vault::walk::{OnDamage, Place, Seen, Use, walk};

pub(super) struct Doubtful {
    /// Objects that a kept snapshot names and that are not there.
    pub(super) gone: Gone,
    /// Objects that no snapshot names and that may be substitutes, with what is decided when they are none.
    verdicts: Sorter<(u64, Verdict)>,
    /// What those would serve for.
    names: Names,
}

/// What became of the doubts.
#[derive(Default)]
pub(super) struct Settled {
    /// Which of the names are needed.
    needed: Names,
    /// What serves in the place of what is gone.
    pub(super) serve: HashSet<Place>,
    /// What is gone, and not all of it is served.
    pub(super) lost: Vec<ObjectKey>,
}

impl Doubtful {
    pub(super) fn new(temp: &Path) -> Result<Self, Error> {
        Ok(Self {
            gone: Gone::default(),
            verdicts: Sorter::new(temp)?,
            names: Names::default(),
        })
    }

    pub(super) fn push(&mut self, size: u64, verdict: Verdict) -> Result<(), Error> {
        if let Some(name) = name(&verdict) {
            self.names.insert(&name);
        }
        Ok(self.verdicts.push((size, verdict))?)
    }

    /// The verdicts as they are by now, with the sizes of what they are about.
    pub(super) fn verdicts<'a>(
        &mut self,
        settled: &'a Settled,
        temp: &Path,
    ) -> Result<impl Iterator<Item = Result<(u64, Verdict), Error>> + 'a, Error> {
        let verdicts = std::mem::replace(&mut self.verdicts, Sorter::new(temp)?);
        Ok(verdicts.finish()?.map(|row| {
            let (size, verdict) = row?;
            let is_needed = name(&verdict).is_some_and(|name| settled.needed.contains(&name));
            let verdict = if is_needed { Verdict::Needed } else { verdict };
            Ok((size, verdict))
        }))
    }
}

/// What the object of a verdict would serve for; `None` where the verdict leaves it alone anyway.
fn name(verdict: &Verdict) -> Option<Name> {
    let row = match verdict {
        Verdict::Mark(row) | Verdict::Waits(row) | Verdict::Locked(row) | Verdict::Delete(row) => {
            row
        }
        Verdict::Needed | Verdict::Unfinished | Verdict::Young | Verdict::Unversioned => {
            return None;
        }
    };
    match VaultKey::parse(row.key.as_str()) {
        Some(VaultKey::Content { area, sha256, .. }) => Some((area, sha256, row.size)),
        _ => None,
    }
}

impl Reading<'_, '_> {
    /// Finds out which of the objects in doubt a kept snapshot needs.
    pub(super) async fn settle(&mut self, doubtful: &mut Doubtful) -> Result<Settled, Error> {
        let mut settled = Settled::default();
        let Doubtful { gone, names, .. } = doubtful;
        if gone.is_empty() && names.is_empty() {
            return Ok(settled);
        }
        for table in self.vault.tables().await? {
            let TableRead {
                history,
                events,
                doubts,
                next_hold: _,
            } = read_table(&self.vault, &table).await?;
            let decisions = decide(&history, &events, self.now);
            let mut seen = Seen::new();
            for (snapshot, decision) in most_needed_first(&history, &decisions) {
                let keeps = decision.reason.keeps();
                if !keeps && doubts.is_empty() {
                    continue;
                }
                let is_relied_on = keeps && !snapshot.is_distrusted;
                let mut each = |used: Use<'_>| {
                    for name in names_of(used).filter(|name| names.contains(name)) {
                        settled.needed.insert(&name);
                    }
                    gone.note(used, is_relied_on);
                    Ok(())
                };
                let refuse = OnDamage::Refuse;
                match walk(&self.vault, &snapshot.record, refuse, &mut seen, &mut each).await {
                    // Nobody relies on it; the first reading has said what is wrong with it.
                    Err(error) if error.is_damage() && !is_relied_on => {}
                    read => read?,
                }
            }
        }
        let served = gone.served(&self.vault).await?;
        settled.serve = served.by;
        settled.lost = served.lost;
        Ok(settled)
    }
}

/// Takes what serves in the place of something else from rows of what is of no use.
pub(super) fn without(
    rows: Rows,
    serve: &HashSet<Place>,
    counted: &mut ByReason,
    needed: &mut Amount,
    temp: &Path,
) -> Result<Rows, Error> {
    if serve.is_empty() {
        return Ok(rows);
    }
    let mut rest = Sorter::new(temp)?;
    let mut spared: BTreeMap<Why, Amount> = BTreeMap::new();
    for ranked in rows.finish()? {
        let ranked = ranked?;
        let row = &ranked.row;
        if serve.contains(&(row.key.clone(), row.version.clone())) {
            needed.add(row.size);
            spared
                .entry(Why::from(&row.reason))
                .or_default()
                .add(row.size);
        } else {
            rest.push(ranked)?;
        }
    }
    for (why, amount) in spared {
        let counted = counted.entry(why).or_default();
        counted.objects = counted.objects.saturating_sub(amount.objects);
        counted.bytes = counted.bytes.saturating_sub(amount.bytes);
    }
    counted.retain(|_, amount| amount.objects > 0);
    Ok(rest)
}
