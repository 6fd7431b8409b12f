//! Writes the manifest of a snapshot, and looks whether the store keeps its lock.

use super::failure::Failure;
use super::pages::PagesWritten;
use super::planned::Plan;
use super::snapshotter::Snapshotter;
use crate::format::{FORMAT, Manifest, PageRef, Reference};
use crate::store::Payload;

/// The manifest, in the vault.
pub(super) struct ManifestWritten {
    pub(super) manifest: Manifest,
    pub(super) reference: Reference,
}

impl Snapshotter {
    pub(super) async fn write_manifest(
        &self,
        plan: &Plan,
        log_pages: Vec<PageRef>,
        pages: PagesWritten,
    ) -> Result<ManifestWritten, Failure> {
        let manifest = Manifest {
            data_pages: pages.data_pages,
            delta_id: plan.delta_id(),
            format: FORMAT,
            log_pages,
            totals: pages.totals,
            version: plan.pinned.version,
        };
        let payload = Payload::from_bytes(manifest.encode()?);
        let reference = self.placer(&plan.terms).manifest(&payload).await?;
        self.check_lock(&plan.terms, &reference).await?;
        Ok(ManifestWritten {
            manifest,
            reference,
        })
    }
}
