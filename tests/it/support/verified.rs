//! Verifications and what they said.

use deltavault::ExitCode;
use deltavault::format::{Placement, Record, Reference, TableKey};
use deltavault::ids::Timestamp;
use deltavault::plan::verify::{Finding, ReadBytes, VerifyPlan, VerifyReport};
use deltavault::progress::NoProgress;
use deltavault::vault::Vault;

/// What a verification said.
#[derive(Debug)]
pub(crate) struct Verified {
    pub(crate) report: VerifyReport,
    pub(crate) findings: Vec<Finding>,
}

impl Verified {
    /// How the process would end.
    pub(crate) fn code(&self) -> ExitCode {
        self.report.exit_code()
    }

    /// The finding about an object.
    pub(crate) fn about(&self, object: &(impl ToString + ?Sized)) -> &Finding {
        let object = object.to_string();
        let mut about = self.findings.iter().filter(|it| it.object == object);
        let found = about.next();
        found.unwrap_or_else(|| panic!("nothing about {object} in {:#?}", self.findings))
    }

    /// Whether there is a finding about an object.
    pub(crate) fn is_about(&self, object: &(impl ToString + ?Sized)) -> bool {
        let object = object.to_string();
        self.findings.iter().any(|it| it.object == object)
    }
}

/// What a finding says is to be done.
pub(crate) fn advice(finding: &Finding) -> String {
    let command = |words: &[&str]| format!("deltavault {}", words.join(" "));
    finding.advice(finding.table.as_deref(), ReadBytes::None, None, &command)
}

/// Reads everything on 15 December 2026: after every snapshot of the tests, and before their promises are over.
pub(crate) const ALL: VerifyPlan = VerifyPlan {
    read: ReadBytes::All,
    subset: None,
    now: Timestamp::constant(1_797_292_800, 0),
};

/// Reads nothing but records, manifests and pages.
pub(crate) const NO_BYTES: VerifyPlan = VerifyPlan {
    read: ReadBytes::None,
    ..ALL
};

pub(crate) async fn verify(vault: &Vault, plan: VerifyPlan) -> Verified {
    verify_tables(vault, None, plan).await
}

pub(crate) async fn verify_tables(
    vault: &Vault,
    tables: Option<&[TableKey]>,
    plan: VerifyPlan,
) -> Verified {
    let spill = tempfile::tempdir().unwrap();
    let mut findings = Vec::new();
    let mut found = |finding| {
        findings.push(finding);
        Ok(())
    };
    let (report, _) = vault
        .verify(tables, plan, spill.path(), &NoProgress, &mut found)
        .await
        .unwrap();
    Verified { report, findings }
}

/// Everything that a snapshot references, its manifest and its pages included; read by other code than what collects.
pub(crate) async fn references(vault: &Vault, record: &Record) -> Vec<Reference> {
    let mut found = vec![record.manifest.clone()];
    let manifest = vault.manifest(record).await.unwrap();
    for page in manifest.log_pages.iter().chain(&manifest.data_pages) {
        found.push(page.page.clone());
        for entry in vault.page(page).await.unwrap() {
            match entry.placement {
                Placement::Blob { reference, .. } | Placement::Copy { reference } => {
                    found.push(reference);
                }
                Placement::Inline(_) | Placement::Absent {} => {}
            }
        }
    }
    found
}
