//! The stores, limits and temporary folder that every snapshot of a run shares.

use std::path::PathBuf;
use std::sync::Arc;

use super::budget::{Budget, Interrupt, Limits};
use super::journal::JournalPace;
use super::pairs::Pairs;
use crate::error::Error;
use crate::progress::{NoProgress, Progress};
use crate::spool::Scratch;
use crate::store::WriteStore;
use crate::vault::{PageCache, Vault};

/// Everything a snapshot works with.
#[derive(Debug, Clone)]
pub struct Snapshotter {
    /// The vault, for reading.
    pub vault: Vault,
    /// The vault, for writing.
    pub store: Arc<dyn WriteStore>,
    /// The same place, where blobs and copies get a storage class of their own. What has to be read on every night
    /// goes through `store`.
    pub bulk: Arc<dyn WriteStore>,
    /// What may be in flight, over all tables.
    pub budget: Budget,
    /// Where the run ends early.
    pub limits: Limits,
    /// What the run has learnt about copies that the store makes itself.
    pub pairs: Pairs,
    /// Ends the run.
    pub interrupt: Interrupt,
    /// When what was placed is written down.
    pub journal: JournalPace,
    /// Where temporary files go.
    pub temp: PathBuf,
    /// Takes the progress of the run.
    pub progress: Arc<dyn Progress>,
}

impl Snapshotter {
    /// Takes snapshots into `store`, the place of `vault`, without limits; temporary files go below `temp`.
    pub fn new(vault: Vault, store: Arc<dyn WriteStore>, temp: PathBuf) -> Self {
        Self {
            vault,
            bulk: Arc::clone(&store),
            store,
            budget: Budget::default(),
            limits: Limits::default(),
            pairs: Pairs::default(),
            interrupt: Interrupt::default(),
            journal: JournalPace::default(),
            temp,
            progress: Arc::new(NoProgress),
        }
    }

    /// The same with a page cache in a temporary folder, so that each page is fetched once in a run.
    pub(super) fn for_one_run(&self) -> Result<(Self, Scratch), Error> {
        let scratch = Scratch::create(&self.temp).map_err(Error::Scratch)?;
        let cache = PageCache::new(scratch.path().to_owned());
        let vault = self.vault.clone().with_pages(cache);
        let this = Self {
            vault,
            ..self.clone()
        };
        Ok((this, scratch))
    }
}
