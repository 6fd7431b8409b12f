//! What manifests and pages refer to, as it is sorted and as it is gathered for each object, and what of that is bad.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::format::{Entry, Placement, Reference};
use crate::ids::{Digest, Generation, Location, ObjectKey, ObjectVersion};

/// That a manifest or page refers to an object. The order brings together what refers to the same bytes, and the
/// files of a pack by their offsets.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Use {
    // Fields in the order in which they are compared.
    pub(super) key: ObjectKey,
    pub(super) version: Option<ObjectVersion>,
    pub(super) sha256: Digest,
    pub(super) size: u64,
    /// Whether it is a manifest or a page, whose bytes were checked when it was read.
    pub(super) is_structure: bool,
    pub(super) part: Option<PartOf>,
    /// The manifest or page that says so; for a manifest, itself.
    pub(super) unit: usize,
}

/// One file in a pack.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct PartOf {
    pub(super) offset: u64,
    pub(super) size: u64,
    pub(super) sha256: Digest,
    pub(super) file: Location,
}

impl Use {
    /// The use of an object as a whole.
    pub(super) fn whole(reference: &Reference, is_structure: bool, unit: usize) -> Self {
        Self {
            key: reference.key.clone(),
            version: reference.version.clone(),
            sha256: reference.sha256,
            size: reference.size,
            is_structure,
            part: None,
            unit,
        }
    }

    /// The use that an entry makes of an object, if it does.
    pub(super) fn of_entry(entry: &Entry, unit: usize) -> Option<Self> {
        match &entry.placement {
            Placement::Absent {} | Placement::Inline(_) => None,
            Placement::Copy { reference }
            | Placement::Blob {
                offset: None,
                reference,
            } => Some(Self::whole(reference, false, unit)),
            Placement::Blob {
                offset: Some(offset),
                reference,
            } => Some(Self {
                part: Some(PartOf {
                    offset: *offset,
                    size: entry.size,
                    sha256: entry.sha256?,
                    file: entry.file.clone(),
                }),
                ..Self::whole(reference, false, unit)
            }),
        }
    }
}

/// Bytes that are referred to, and by whom.
#[derive(Debug)]
pub(super) struct Want {
    pub(super) version: Option<ObjectVersion>,
    pub(super) sha256: Digest,
    pub(super) size: u64,
    pub(super) is_structure: bool,
    /// Who refers to the object as a whole.
    pub(super) units: Vec<usize>,
    /// The files in it that are referred to, by their offsets.
    pub(super) parts: Vec<Part>,
}

/// One file in a pack, and the pages that name it there.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) offset: u64,
    pub(super) size: u64,
    pub(super) sha256: Digest,
    pub(super) file: Location,
    pub(super) units: Vec<usize>,
}

impl Want {
    pub(super) fn new(row: Use) -> Self {
        let mut want = Self {
            version: row.version.clone(),
            sha256: row.sha256,
            size: row.size,
            is_structure: row.is_structure,
            units: Vec::new(),
            parts: Vec::new(),
        };
        want.add(row);
        want
    }

    pub(super) fn is_of(&self, row: &Use) -> bool {
        (&self.version, self.sha256, self.size, self.is_structure)
            == (&row.version, row.sha256, row.size, row.is_structure)
    }

    /// Takes another row of the same object. Rows are sorted, so that equal parts follow each other.
    pub(super) fn add(&mut self, row: Use) {
        let units = match row.part {
            None => &mut self.units,
            Some(of) => {
                let is_last = self.parts.last().is_some_and(|part| {
                    (part.offset, part.size, part.sha256) == (of.offset, of.size, of.sha256)
                });
                if !is_last {
                    self.parts.push(Part {
                        offset: of.offset,
                        size: of.size,
                        sha256: of.sha256,
                        file: of.file,
                        units: Vec::new(),
                    });
                }
                match self.parts.last_mut() {
                    Some(part) => &mut part.units,
                    None => return,
                }
            }
        };
        if units.last() != Some(&row.unit) {
            units.push(row.unit);
        }
    }

    pub(super) fn reference(&self, key: &ObjectKey) -> Reference {
        Reference {
            generation: Generation::default(),
            key: key.clone(),
            sha256: self.sha256,
            size: self.size,
            version: self.version.clone(),
        }
    }

    pub(super) fn all_units(&self) -> Vec<usize> {
        let parts = self.parts.iter().flat_map(|part| &part.units);
        let units: BTreeSet<usize> = self.units.iter().chain(parts).copied().collect();
        units.into_iter().collect()
    }

    pub(super) fn everything(&self) -> Bad {
        Bad {
            whole: !self.units.is_empty(),
            parts: (0..self.parts.len()).collect(),
        }
    }
}

/// What of an object is gone or damaged.
#[derive(Debug)]
pub(super) struct Bad {
    /// The object, and somebody uses it as a whole.
    pub(super) whole: bool,
    pub(super) parts: Vec<usize>,
}

impl Bad {
    pub(super) fn is_nothing(&self) -> bool {
        !self.whole && self.parts.is_empty()
    }
}
