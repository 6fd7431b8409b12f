//! What the commands that do something have done, as a JSON line or as text for people.

use deltavault::format::LockMode;
use deltavault::ids::{SnapshotId, Timestamp};
use indicatif::{HumanBytes, HumanCount};

use super::{Output, counted};
use crate::cli::error::CommandError;
use crate::cli::rows::{
    BucketFinding, BucketRow, CommitRow, FindingRow, IndexDone, InitDone, MendedRow, PlanLine,
    RepairPlanned, RepairRow, RestoreDone, RestorePlanned, Severity, SnapshotDone, SnapshotPlanned,
    VerifyDone, VersionTime, Weight,
};

impl Output {
    /// Prints what `init` did.
    pub(crate) fn init_done(&mut self, row: &InitDone) -> Result<(), CommandError> {
        if self.json {
            return self.line(row);
        }
        let made = if row.created {
            "made the vault"
        } else {
            "the vault is there already:"
        };
        self.print(format_args!("{made} {}", row.vault))?;
        match row.bucket {
            Some(BucketRow::Created) => self.print(format_args!(
                "made the bucket, with versioning and Object Lock"
            ))?,
            Some(BucketRow::SetUp) => self.print(format_args!(
                "the bucket was there with nothing in it: what a vault needs and it did not have was set"
            ))?,
            Some(BucketRow::Adopted) => self.print(format_args!(
                "the bucket was there and is as it was"
            ))?,
            None => {}
        }
        match row.lock_mode {
            LockMode::None if row.bucket.is_some() => self.print(format_args!(
                "no locks: a real backup, and no wall against who may delete in the bucket"
            )),
            LockMode::None => self.print(format_args!(
                "no locks: a real backup, and no wall against who may delete the folder"
            )),
            LockMode::Governance | LockMode::Compliance => self.print(format_args!(
                "objects are locked, mode {}, for {} days at least",
                lock(row.lock_mode),
                row.shortest_days
            )),
        }
    }

    /// Prints something about a bucket; notes only where more is to be said.
    pub(crate) fn bucket_finding(
        &mut self,
        row: &BucketFinding,
        verbose: bool,
    ) -> Result<(), CommandError> {
        if self.json {
            return self.line(row);
        }
        let severity = match row.severity {
            Weight::Note if !verbose => return Ok(()),
            Weight::Note => "NOTE   ",
            Weight::Warning => "WARNING",
            Weight::Breach => "BREACH ",
        };
        self.print(format_args!("{severity} {}: {}", row.check, row.what))?;
        self.print(format_args!("        {}", row.remedy))
    }

    /// Prints what a snapshot would take.
    pub(crate) fn snapshot_planned(&mut self, row: &SnapshotPlanned) -> Result<(), CommandError> {
        if self.json {
            return self.line(row);
        }
        let base = row
            .base
            .map_or_else(|| "nothing".to_owned(), |base| base.short());
        let copy = if row.unchanged {
            format!(
                "nothing changed since snapshot {base}, {} data files held",
                HumanCount(row.known_files)
            )
        } else {
            format!(
                "{} data files to copy, {}; {} held already; builds on {base}",
                HumanCount(row.new_files),
                HumanBytes(row.new_bytes),
                HumanCount(row.known_files)
            )
        };
        self.print(format_args!(
            "{} v{}: {copy}; class {}, would be kept until {}",
            row.table,
            row.version,
            row.class,
            minute(row.promise),
        ))?;
        for way in &row.ways {
            self.print(format_args!(
                "  {}: {} files, {}, because {}",
                way.way,
                HumanCount(way.files),
                HumanBytes(way.bytes),
                way.reason
            ))?;
        }
        if let Some(usd) = &row.usd {
            self.print(format_args!(
                "  about {} reading and {} writing requests; about {usd} USD by S3 list prices, storage until then included",
                HumanCount(row.read_requests),
                HumanCount(row.write_requests),
            ))?;
        }
        self.commits(row.commits.as_ref())?;
        self.findings(&row.findings)?;
        self.print(format_args!("NOTHING CHANGED"))
    }

    /// Prints what a snapshot newly commits to, where that is paid for.
    fn commits(&mut self, commits: Option<&CommitRow>) -> Result<(), CommandError> {
        let Some((row, usd)) = commits.and_then(|row| Some((row, row.usd.as_ref()?))) else {
            return Ok(());
        };
        let longer = match row.longer_objects {
            0 => String::new(),
            objects => format!(
                ", {} objects with {} locked for longer",
                HumanCount(objects),
                HumanBytes(row.longer_bytes)
            ),
        };
        self.print(format_args!(
            "  newly committed: at most {} terabyte-months, about {usd} USD by S3 list prices; {} new{longer}",
            row.terabyte_months,
            HumanBytes(row.new_bytes),
        ))
    }

    /// Prints a published snapshot.
    pub(crate) fn snapshot_done(&mut self, row: &SnapshotDone) -> Result<(), CommandError> {
        if self.json {
            return self.line(row);
        }
        let new = if row.unchanged {
            "nothing changed since the one before".to_owned()
        } else {
            format!(
                "{} new, {}",
                HumanCount(row.new_files),
                HumanBytes(row.new_bytes)
            )
        };
        self.print(format_args!(
            "{} v{} is snapshot {} (#{}): {} files, {}; {new}; {:.1} s; kept until {}",
            row.table,
            row.version,
            row.snapshot.short(),
            row.sequence,
            HumanCount(row.files),
            HumanBytes(row.bytes),
            row.seconds,
            minute(row.promise),
        ))?;
        self.commits(row.commits.as_ref())?;
        if let (Some(files), Some(0)) = (row.source_files, row.source_faults) {
            self.print(format_args!(
                "  the source has all {} files that v{} needs, each with the right size",
                HumanCount(files),
                row.version
            ))?;
        }
        for not_held in &row.not_held {
            self.print(format_args!("  not held: {}", not_held.text))?;
        }
        self.findings(&row.findings)
    }

    /// Prints what a restore found and would do.
    pub(crate) fn restore_planned(&mut self, row: &RestorePlanned) -> Result<(), CommandError> {
        if self.json {
            return self.line(row);
        }
        self.plan_lines(&row.lines)?;
        if row.choices.is_empty() {
            return Ok(());
        }
        self.print(format_args!(
            "NOTHING CHANGED. {}:",
            if row.choices.len() == 1 {
                "Next"
            } else {
                "Choose"
            }
        ))?;
        row.choices.iter().try_for_each(|choice| {
            self.print(format_args!("  {}:", choice.effect))?;
            let mut lines = choice.command.lines();
            lines.try_for_each(|line| self.print(format_args!("    {line}")))
        })
    }

    /// Prints when a version was committed.
    pub(crate) fn version_time(&mut self, row: &VersionTime) -> Result<(), CommandError> {
        if self.json {
            return self.line(row);
        }
        self.print(format_args!(
            "v{:<8} committed {}  snapshot {}",
            row.version,
            row.commit_time,
            row.snapshot.short()
        ))
    }

    /// Prints a finished restore.
    pub(crate) fn restore_done(&mut self, row: &RestoreDone) -> Result<(), CommandError> {
        if self.json {
            return self.line(row);
        }
        self.print(format_args!(
            "{} v{} from snapshot {}: {} put back ({}), {} kept, {:.1} s",
            row.table,
            row.version,
            row.snapshot.short(),
            HumanCount(row.files_written),
            HumanBytes(row.bytes_written),
            HumanCount(row.files_kept),
            row.seconds,
        ))?;
        self.plan_lines(&row.notes)
    }

    /// Prints one finding, with its remedy.
    pub(crate) fn finding(&mut self, row: &FindingRow) -> Result<(), CommandError> {
        if self.json {
            return self.line(row);
        }
        let severity = match row.severity {
            Severity::Info => "info",
            Severity::Finding => "finding",
            Severity::Unchecked => "UNCHECKED",
            Severity::Damage => "DAMAGE",
        };
        let table = row
            .table
            .as_deref()
            .map_or_else(String::new, |table| format!(" {table}"));
        self.print(format_args!(
            "{severity}{table}: {}: {}",
            row.object, row.what
        ))?;
        if !row.snapshots.is_empty() {
            let snapshots = row.snapshots.iter().map(SnapshotId::short);
            let snapshots = snapshots.collect::<Vec<_>>().join(", ");
            let word = match row.severity {
                Severity::Damage | Severity::Unchecked => "hurts",
                Severity::Info | Severity::Finding => "snapshots",
            };
            self.print(format_args!("  {word}: {snapshots}"))?;
        }
        self.print(format_args!("  remedy: {}", row.remedy))
    }

    /// Prints what a repair would do.
    pub(crate) fn repair_planned(&mut self, row: &RepairPlanned) -> Result<(), CommandError> {
        if self.json {
            return self.line(row);
        }
        let put = match (row.is_agreed, row.objects) {
            (false, _) => "would be put again",
            (true, 1) => "is put again",
            (true, _) => "are put again",
        };
        self.print(format_args!(
            "repair: {}, {}, {put}",
            counted(row.objects, "object"),
            HumanBytes(row.bytes)
        ))?;
        for (from, objects) in &row.from {
            self.print(format_args!("  {} from {from}", HumanCount(*objects)))?;
        }
        if row.nowhere > 0 {
            let nowhere = HumanCount(row.nowhere);
            match &row.replica {
                None => self.print(format_args!(
                    "  {nowhere} are nowhere to be had: name a replica with --from"
                ))?,
                Some(replica) => self.print(format_args!(
                    "  {nowhere} are nowhere to be had, not in {replica} either"
                ))?,
            }
        }
        Ok(())
    }

    /// Prints what became of a lost object.
    pub(crate) fn repaired(&mut self, row: &RepairRow) -> Result<(), CommandError> {
        if self.json {
            return self.line(row);
        }
        for put in &row.put {
            if put.relocked {
                self.print(format_args!("locked for longer {}", put.key))?;
            } else {
                self.print(format_args!("put again {} from {}", put.key, put.from))?;
            }
        }
        for lost in &row.still_lost {
            self.print(format_args!("still lost: {lost}"))?;
        }
        Ok(())
    }

    /// Prints what became of a snapshot that had lost something.
    pub(crate) fn mended(&mut self, row: &MendedRow) -> Result<(), CommandError> {
        if self.json {
            return self.line(row);
        }
        let (table, id) = (&row.table, row.snapshot.short());
        if row.whole {
            return self.print(format_args!("{table} {id} is whole again"));
        }
        if row.lacks > 0 {
            return self.print(format_args!(
                "{table} {id} is still damaged: {} lost, first {}",
                HumanCount(row.lacks),
                row.first.join(", ")
            ));
        }
        let otherwise = row.otherwise.unwrap_or_default();
        self.print(format_args!(
            "{table} {id} lacks nothing any more, but {otherwise}"
        ))
    }

    /// Prints the sums of a verify.
    pub(crate) fn verify_done(&mut self, row: &VerifyDone) -> Result<(), CommandError> {
        if self.json {
            return self.line(row);
        }
        self.print(format_args!(
            "{}, {}, {} present; {} read again, {}; {:.1} s",
            counted(row.tables, "table"),
            counted(row.snapshots, "snapshot"),
            counted(row.objects, "object"),
            HumanCount(row.objects_read),
            HumanBytes(row.bytes_read),
            row.seconds,
        ))?;
        if row.read == "sample" {
            self.print(format_args!(
                "a sample was read: the same one in 64 by digest every time, and some of every newest snapshot"
            ))?;
        }
        if let Some(subset) = &row.subset {
            self.print(format_args!("of the bytes, part {subset} was read"))?;
        }
        if let (Some(objects @ 1..), Some(bytes)) = (row.unreferenced, row.unreferenced_bytes) {
            self.print(format_args!(
                "{} objects, {}, stand in no manifest: what repairs put, what unfinished runs left, or what somebody put there",
                HumanCount(objects),
                HumanBytes(bytes)
            ))?;
        }
        if let Some(repaired @ 1..) = row.repaired {
            self.print(format_args!("{} repaired", counted(repaired, "object")))?;
        }
        match (row.damaged, row.unchecked, row.findings) {
            (0, 0, 0) if row.read == "none" => self.print(format_args!(
                "no problems found; the bytes of data files were not read: --read sample or --read all reads them"
            )),
            (0, 0, 0) => self.print(format_args!("no problems found")),
            (0, 0, findings) => self.print(format_args!(
                "{}, nothing damaged",
                counted(findings, "finding")
            )),
            (0, unchecked, findings) => self.print(format_args!(
                "{unchecked} UNCHECKED, {findings} other findings, no damage found"
            )),
            (damaged, unchecked, findings) => self.print(format_args!(
                "{damaged} DAMAGED, {unchecked} unchecked, {findings} other findings"
            )),
        }
    }

    /// Prints what `index rebuild` did.
    pub(crate) fn index_done(&mut self, row: &IndexDone) -> Result<(), CommandError> {
        if self.json {
            return self.line(row);
        }
        self.print(format_args!(
            "{}: {}, {}",
            row.path,
            counted(row.tables, "table"),
            counted(row.snapshots, "snapshot")
        ))
    }

    pub(super) fn findings(&mut self, findings: &[String]) -> Result<(), CommandError> {
        findings.iter().try_for_each(|finding| {
            let finding = self.again.in_text(finding);
            self.print(format_args!("  finding: {finding}"))
        })
    }

    fn plan_lines(&mut self, lines: &[PlanLine]) -> Result<(), CommandError> {
        lines
            .iter()
            .try_for_each(|line| self.print(format_args!("{:<7} {}", line.label, line.text)))
    }
}

/// A time to the minute, which is what people compare.
pub(super) fn minute(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%MZ").to_string()
}

pub(super) fn lock(mode: LockMode) -> &'static str {
    match mode {
        LockMode::None => "none",
        LockMode::Governance => "governance",
        LockMode::Compliance => "compliance",
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use deltavault::format::{Scope, Trigger};
    use deltavault::ids::{Digest, Version};
    use indicatif::ProgressBar;

    use super::*;
    use crate::cli::again::Again;
    use crate::cli::rows::{Choice, SnapshotRow};

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn printed(json: bool, print: impl FnOnce(&mut Output) -> Result<(), CommandError>) -> String {
        let shared = Shared::default();
        let out = Box::new(shared.clone());
        let bar = ProgressBar::hidden();
        let mut output = Output {
            out,
            ..Output::to_stdout(json, bar, Again::new("deltavault", None, None))
        };
        print(&mut output).unwrap();
        String::from_utf8(shared.0.lock().unwrap().clone()).unwrap()
    }

    fn row(version: u64, rows: Option<i64>) -> SnapshotRow {
        let time = |text: &str| text.parse().unwrap();
        SnapshotRow {
            table: "orders".into(),
            uri: "file:///lake/orders".into(),
            snapshot: SnapshotId(Digest::of(&[0])),
            sequence: 3,
            version: Version(version),
            commit_time: time("2026-11-20T01:58:07Z"),
            taken_at: time("2026-11-20T02:00:00Z"),
            promise: time("2026-12-20T02:00:00Z"),
            lock_mode: LockMode::None,
            class: "daily".into(),
            scope: Scope::Live,
            trigger: Trigger::Manual,
            files: 41_880,
            bytes: 1 << 30,
            new_files: 12,
            new_bytes: 4096,
            versions: 1,
            operation: Some("MERGE".into()),
            user: Some("ann".into()),
            files_added: 2,
            files_removed: 1,
            rows,
            distrusted: false,
            pruned: false,
            mark: None,
        }
    }

    #[test]
    fn where_a_history_breaks_a_column_tells_it_and_elsewhere_there_is_none() {
        let whole = [row(7, None), row(8, None)];
        let text = printed(false, |output| output.snapshots(&whole));
        assert!(!text.contains("HISTORY"), "{text}");
        let mut broken = [row(8, None), row(6, None), row(7, None)];
        broken[1].mark = Some("rewound");
        let text = printed(false, |output| output.snapshots(&broken));
        let lines: Vec<_> = text.lines().collect();
        assert!(lines[0].ends_with("HISTORY"), "{text}");
        assert!(lines[2].ends_with("rewound"), "{text}");
        assert!(!lines[3].contains("rewound"), "{text}");
        let json = printed(true, |output| output.snapshots(&broken));
        assert_eq!(json.matches("\"mark\":\"rewound\"").count(), 1, "{json}");
        assert_eq!(json.matches("\"mark\"").count(), 1, "{json}");
    }

    #[test]
    fn snapshots_are_a_table_without_borders_or_trailing_blanks() {
        let text = printed(false, |output| {
            output.snapshots(&[row(8790, Some(-12)), row(7, None)])
        });
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 3, "{text}");
        assert!(lines[0].starts_with("SNAPSHOT  TABLE   VERSION"), "{text}");
        assert!(
            lines[1].contains("v8790  2026-11-20 01:58Z  2026-12-20 02:00Z  none  daily"),
            "{text}"
        );
        assert!(
            lines[1].ends_with("1.00 GiB  4.00 KiB   -12  MERGE by ann"),
            "{text}"
        );
        assert!(lines[2].contains("     v7  "), "{text}");
    }

    #[test]
    fn every_json_line_has_its_message_type_first_and_stays_flat() {
        let text = printed(true, |output| output.snapshots(&[row(7, None)]));
        assert!(
            text.starts_with("{\"message_type\":\"snapshot\",\"table\":\"orders\","),
            "{text}"
        );
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(line["version"], 7);
        assert_eq!(line["commit_time"], "2026-11-20T01:58:07Z");
        assert_eq!(line["rows"], serde_json::Value::Null);
        assert_eq!(line["lock_mode"], "none");
    }

    #[test]
    fn a_choice_is_printed_with_its_whole_command_and_says_that_nothing_changed() {
        let choice = |command: &str, effect: &str| Choice {
            command: command.into(),
            effect: effect.into(),
            statements: Vec::new(),
        };
        let text = printed(false, |output| {
            output.restore_planned(&RestorePlanned {
                table: "orders".into(),
                situation: "newer".into(),
                lines: vec![
                    PlanLine {
                        label: "TABLE",
                        text: "/lake/orders  live v8815".into(),
                    },
                    PlanLine {
                        label: "",
                        text: "healthy".into(),
                    },
                ],
                choices: vec![
                    choice("deltavault restore orders --heal", "v8790 readable again"),
                    choice("ALTER TABLE t;\nRESTORE TABLE t;", "in the engine"),
                ],
                ..RestorePlanned::default()
            })
        });
        let wanted = "TABLE   /lake/orders  live v8815\n        healthy\nNOTHING CHANGED. Choose:\n  \
                      v8790 readable again:\n    deltavault restore orders --heal\n  \
                      in the engine:\n    ALTER TABLE t;\n    RESTORE TABLE t;\n";
        assert_eq!(text, wanted);
    }

    #[test]
    fn a_failing_table_tells_its_causes_in_one_json_line() {
        let error = CommandError::Output(std::io::Error::other("disk on fire"));
        let text = printed(true, |output| output.table_failed("orders", &error));
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(line["message_type"], "table_failed");
        assert_eq!(line["message"], "write the result: disk on fire");
        assert_eq!(line["code"], 1);
    }
}
