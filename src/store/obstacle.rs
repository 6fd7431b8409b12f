//! What can stand in the way of an object in a folder.

use std::path::Path;

use super::StoreErrorKind;

/// What can stand in the way of an object in a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Obstacle {
    /// A file on the way to it.
    #[error("a file is where a folder is needed")]
    File,
    /// A folder in its place.
    #[error("a folder is where a file is needed")]
    Folder,
    /// Something in its place that cannot be backed up.
    #[error("what stands there is neither a file nor a folder")]
    Special,
    /// A link that leaves the root of the store.
    #[error("a symbolic link leads out of the folder")]
    LinkOut,
    /// A link without an end.
    #[error("a symbolic link leads nowhere")]
    LinkNowhere,
}

impl Obstacle {
    /// The situation with this at a path.
    pub fn at(self, path: &Path) -> StoreErrorKind {
        StoreErrorKind::InTheWay {
            obstacle: self,
            path: path.display().to_string(),
        }
    }
}
