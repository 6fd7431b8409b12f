//! Refuses in the plan what the target cannot hold: in the middle of a restore it would be found too late.

use super::Restorer;
use crate::error::Error;
use crate::format::Entry;
use crate::ids::Location;
use crate::plan::restore::fit::Nesting;

impl Restorer {
    /// Refuses a file whose name the target has no room for.
    pub(super) fn refuse_unless_it_fits(&self, entry: &Entry) -> Result<(), Error> {
        let Location::Inside(key) = &entry.file else {
            return Ok(());
        };
        match self.target.refuses(key) {
            Some(why) => Err(self.cannot_hold(entry, why.to_owned())),
            None => Ok(()),
        }
    }

    /// Refuses a file that would lie below another one, where files cannot. The entries come in the order of their
    /// files.
    pub(super) fn refuse_below_a_file(
        &self,
        entry: &Entry,
        nesting: &mut Nesting,
    ) -> Result<(), Error> {
        let Location::Inside(key) = &entry.file else {
            return Ok(());
        };
        if self.target.can_nest() {
            return Ok(());
        }
        match nesting.below(key) {
            Some(above) => Err(self.cannot_hold(
                entry,
                format!("in a folder it cannot lie below another file, {above}"),
            )),
            None => Ok(()),
        }
    }

    fn cannot_hold(&self, entry: &Entry, why: String) -> Error {
        Error::TargetCannotHold {
            target: self.target.uri().to_owned(),
            file: entry.file.to_string(),
            why,
        }
    }
}
