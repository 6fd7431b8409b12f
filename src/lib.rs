//! deltavault: an immutable backup vault for Delta Lake tables, one layer below Delta.
//!
//! A [`Vault`] is a folder, or a prefix of a bucket, that holds snapshots of tables: the files of one version each, and a
//! chain of records that name them by SHA-256. A [`Snapshotter`] takes snapshots, a [`Restorer`] puts a table back,
//! [`Vault::verify`] checks what is held, a [`Holder`] keeps a snapshot beyond its promise, and a [`Pruner`] deletes what
//! no snapshot needs any more. What they decide is pure and in [`plan`]; what lies in a vault, byte by byte, is in
//! [`format`](mod@format) and its specification; what they read and write goes through the traits of [`store`], of which
//! none but the pruner's can delete.
//!
//! ```
//! # use std::sync::Arc;
//! use deltavault::format::VaultFile;
//! use deltavault::ids::{Id128, Timestamp};
//! use deltavault::store::local::LocalStore;
//! use deltavault::{Error, Vault, vault};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Error> {
//! # let folder = tempfile::tempdir().unwrap();
//! # let folder = folder.path().join("vault");
//! let store = LocalStore::create(&folder)?;
//! let now: Timestamp = "2026-11-30T03:00:00Z".parse().unwrap();
//! vault::init(&store, VaultFile::new(Id128::from_bytes([7; 16]), now)).await?;
//!
//! let vault = Vault::open(Arc::new(store)).await?;
//! for table in vault.table_refs().await? {
//!     let history = vault.history(&table.key, Default::default()).await?;
//!     println!("{}: {} snapshots", table.name(), history.snapshots.len());
//! }
//! # Ok(())
//! # }
//! ```

mod count;
pub mod delta;
pub mod demo;
pub mod error;
mod exit_code;
pub mod format;
pub mod iam;
pub mod ids;
mod large;
mod leftover;
mod lock_mode;
pub mod plan;
pub mod probe;
pub mod progress;
pub mod reader;
pub mod shell;
pub mod sort;
pub mod source;
pub mod spool;
pub mod store;
pub mod vault;
pub mod visible;
pub mod wall;

pub use error::Error;
pub use exit_code::ExitCode;
pub use vault::Vault;
pub use vault::hold::Holder;
pub use vault::prune::Pruner;
pub use vault::repair::Repairer;
pub use vault::restore::Restorer;
pub use vault::snapshot::Snapshotter;
