//! Executes a plan: log, data, proof, pages, manifest, record, in this order.

use super::failure::Failure;
use super::inputs::Inputs;
use super::log::LogWritten;
use super::manifest::ManifestWritten;
use super::pages::PagesWritten;
use super::planned::Planned;
use super::prove::Proven;
use super::publish::Unpublished;
use super::request::SnapshotDone;
use super::snapshotter::Snapshotter;
use super::write_data::DataWritten;
use crate::progress::Phase;

impl Snapshotter {
    /// Copies, proves and publishes what was planned. Each write needs what the one before it came to.
    pub(super) async fn execute(
        &self,
        inputs: Inputs<'_>,
        planned: Planned,
        journals: &mut u32,
    ) -> Result<SnapshotDone, Failure> {
        let mut commitment = self.commitment_of(&planned).await?;
        inputs.request.check_commitment(&commitment)?;
        let table = &inputs.request.table.name;
        let Planned {
            mut plan,
            copies,
            expected,
        } = planned;

        let log: LogWritten = self.write_log(inputs.source, &mut plan).await?;

        let mut data: DataWritten = self.write_data(inputs, &plan, copies, journals).await?;
        data.brought.change.new_files += log.new_files;
        data.brought.change.new_bytes += log.new_bytes;
        commitment.add_new(log.new_bytes, plan.terms.kept());

        self.progress.phase(table, Phase::Check);
        let proven: Proven = self.prove(&plan, &log.pages, expected).await?;

        self.progress.phase(table, Phase::Publish);
        let pages: PagesWritten = self
            .write_data_pages(&plan, proven, data.entries, log.tally)
            .await?;

        let manifest: ManifestWritten = self.write_manifest(&plan, log.pages, pages).await?;

        let record = self.record(inputs, &mut plan, data.brought, &manifest);
        let unpublished = Unpublished {
            terms: plan.terms,
            pinned: &plan.pinned,
            record,
            manifest: Some(&manifest.manifest),
        };
        let done = self.publish(inputs, unpublished).await?;
        Ok(SnapshotDone { commitment, ..done })
    }
}
