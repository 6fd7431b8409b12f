//! What to do about an error: a hint names the next command or setting, never only the problem again.

use self::log::{Known, log_hint};
use super::{Error, HeldSnapshot};
use crate::format::FormatError;
use crate::format::ledger::PrefixError;
use crate::ids::{InvalidId, SnapshotId, Timestamp, Version};
use crate::plan::choose::ChooseError;
use crate::plan::retention::RetentionError;
use crate::shell::{operand, quoted};
use crate::store::{Obstacle, StoreError, StoreErrorKind, local_path};

mod log;

impl Error {
    /// Something to do: the next command or setting.
    #[expect(clippy::too_many_lines, reason = "one arm a situation")]
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Store(error) => store_hint(error).into(),
            Self::SlotRefused(error) => format!(
                "{}; where none of yours wrote that object, `--forged KEY` treats it as absent",
                store_hint(error)
            ),
            Self::Format(error) | Self::Malformed { what: error, .. } => format_hint(error),
            Self::Log(error) => log_hint(error, Known::Nothing),
            Self::LogUnreadable {
                table,
                held,
                source,
            } => log_hint(source, Known::Newest(table, held.as_ref())),
            Self::Path(_) => "name the table by a path or by a URI such as s3://bucket/prefix or file:///path".into(),
            Self::Ledger(error) => error.hint(),
            Self::Choose(error) => choose_hint(error),
            Self::Retention(error) => retention_hint(error).into(),
            Self::Sort(_) | Self::Scratch(_) => SCRATCH.into(),
            Self::SourceMoving { .. } => {
                "run the same command again when fewer jobs write; what was copied is not copied twice".into()
            }
            Self::TookTooLong { .. } => {
                "run the same command again: what was copied is not copied twice; a longer class (--class) leaves more time".into()
            }
            Self::OutsideRefused { table, folders, .. } => outside_hint(table, folders),
            Self::CannotBeHeld { .. } => {
                "the vault is sound, the table's log is not: no engine writes this; look who committed that file".into()
            }
            Self::PathLeavesTarget { .. } => {
                "restore in place, at the table's own path: its log names files by absolute paths".into()
            }
            Self::AbsoluteIntoOwnRoot { table, .. } => {
                format!("restore in place, without --to: what is missing goes back to {table}")
            }
            Self::Interrupted | Self::Caller(_) => return None,
            Self::InvalidId(error) => id_hint(error).into(),
            Self::NoVault { uri } => format!("check the spelling, or create a vault with `deltavault --vault {} init`", quoted(uri)),
            Self::VaultFileLost { uri, .. } => vault_file_hint(uri),
            Self::NotAVault { .. } => {
                "check --vault; if this was a vault, bring its vault.json back from a replica".into()
            }
            Self::NewerVault { .. } => "use the deltavault version that wrote it, or a newer one".into(),
            Self::UnknownTable { known, .. } if known.is_empty() => {
                "the vault holds no table yet: take the first snapshot with `deltavault snapshot PATH`".into()
            }
            Self::UnknownTable { name, known } => {
                format!("it holds {}", one_of(&closest_first(name, known)))
            }
            Self::AmbiguousTable { candidates, .. } => {
                format!("name it by its key: {}", one_of(candidates))
            }
            Self::SourceFileMissing { table, lost: Some(_), .. } => format!(
                "`deltavault verify {} --read all --repair` looks for what is lost, with --from URI in a replica, too; \
                 or bring the files back {BROUGHT_BACK}",
                operand(table)
            ),
            Self::SourceFileMissing { table, held, .. } => missing_hint(table, held.as_ref()),
            Self::SourceArchived { .. } => {
                "thaw them at the source (`aws s3api restore-object`) and run the same command again: what could be \
                 read is not copied twice"
                    .into()
            }
            Self::LockRefused { source, .. } => lock_hint(source).into(),
            Self::CommitsTooMuch { .. } => {
                "raise max_commit_usd under [retention] or --max-commit-usd, or take a shorter class with --class".into()
            }
            Self::LimitReached { .. } => {
                "run the same command again: it continues where this one stopped, at the version that is newest then".into()
            }
            Self::SourceFileSize { .. } => {
                "its writer logged a wrong size, or the file was changed since: rewrite it (OPTIMIZE does, where the \
                 rows can be read), or commit a version without it, and run again; `deltavault snapshots` lists the \
                 versions that the vault holds"
                    .into()
            }
            Self::EventsMeanwhile { .. } => {
                "run the same command again. If the event is a hold, repeat the hold a quarter of an hour later: it reports whether \
                 anything that it needs was deleted"
                    .into()
            }
            Self::HeldTooLate { .. } => {
                "`deltavault verify` shows what is left of it; hold another snapshot of the table (`deltavault snapshots` \
                 lists them)"
                    .into()
            }
            Self::HoldsUnread { source, .. } => source.hint()?,
            Self::Restore(error) => error.hint(),
            Self::TargetCannotHold { target, .. } if target.starts_with("file:") => {
                "nothing was changed; choose a place on S3, which holds any name, with --to s3://bucket/prefix".into()
            }
            Self::TargetCannotHold { .. } => {
                "nothing was changed; choose a place with a shorter prefix with --to".into()
            }
            Self::TargetNotEmpty { .. } => "choose an empty or a new place with --to".into(),
            Self::ClaimedByOther { .. } => {
                "wait until it ends, or repeat the command with --take-over: the other restore stops within a minute".into()
            }
            Self::RestoreTakenOver { .. } => {
                "look at the plan with --dry-run before you go on; what was put back is not put back twice".into()
            }
            Self::ClaimBlocked { .. } => {
                "look at what lies in _deltavault/ beside the table's log, and move it out of the table's folder".into()
            }
            Self::OwnerMustChoose { choices, .. } => one_of(choices),
            Self::AnotherWriterWon { snapshot, .. } => {
                format!("nothing to do: look at it with `deltavault show {}`", snapshot.short())
            }
            Self::Damaged { .. } => {
                "`deltavault verify --read all` names everything that is damaged".into()
            }
            Self::PruneRefused { .. } => {
                "`deltavault verify` says what is damaged and what to do about it; until then nothing is deleted"
                    .into()
            }
            Self::Pruned { nearest, .. } => pruned_hint(nearest),
        };
        Some(hint)
    }
}

/// How a live table comes to be whole without the vault.
const BROUGHT_BACK: &str = "from another copy or an older object version, or take them out of the table \
     (`FSCK REPAIR TABLE`; in Python `DeltaTable.repair()`), and run again";

/// How an owner lets a log name files elsewhere. Folders are spelled as they are typed.
fn outside_hint(table: &str, folders: &[String]) -> String {
    if folders.is_empty() {
        return "no place can be given for such files: look who committed them, and take them out of the table".into();
    }
    if table.starts_with("s3://") && folders.iter().any(|it| it.starts_with("file:")) {
        return "a table on S3 names no file of this machine: whoever wrote that into its log may want to read it; look who \
                committed it, and take the file out of the table"
            .into();
    }
    let folders = folders.iter();
    let typed = folders.map(|it| it.strip_prefix("file:").unwrap_or(it));
    let typed: Vec<_> = typed.collect();
    let listed: Vec<_> = typed.iter().map(|it| format!("{it:?}")).collect();
    let flags: Vec<_> = typed
        .iter()
        .map(|it| format!("--outside {}", quoted(it)))
        .collect();
    format!(
        "whoever writes the log chooses these names, so nothing is read there before its owner says so. Look at them first; if \
         it is a shallow clone or the like, give the table `outside = [{}]` in the configuration, or pass {}",
        listed.join(", "),
        flags.join(" ")
    )
}

fn missing_hint(table: &str, held: Option<&HeldSnapshot>) -> String {
    if held.is_some() {
        format!(
            "`deltavault restore {} --heal` puts back those that the vault holds; bring others back {BROUGHT_BACK}",
            operand(table)
        )
    } else {
        format!("the vault holds no snapshot of {table} yet: bring them back {BROUGHT_BACK}")
    }
}

fn pruned_hint(nearest: &[(SnapshotId, Version, Timestamp)]) -> String {
    let named: Vec<String> = nearest
        .iter()
        .map(|(id, version, time)| {
            format!(
                "--snapshot {} (version {version}, committed {time})",
                id.short()
            )
        })
        .collect();
    if named.is_empty() {
        return "no snapshot of this table is kept; `deltavault snapshots` lists its records"
            .into();
    }
    match named.as_slice() {
        [one] => format!("the nearest that is kept: {one}"),
        several => format!("the nearest that are kept: {}", several.join(", ")),
    }
}

fn format_hint(error: &FormatError) -> String {
    match error {
        FormatError::NewerFormat { .. } => "use a newer deltavault".into(),
        FormatError::UnknownFeature { tool, .. } => {
            format!(
                "use {tool} or newer; if the record is forged, continue with `snapshot --distrust ID`"
            )
        }
        FormatError::Malformed { .. }
        | FormatError::TooLarge { .. }
        | FormatError::Invalid { .. } => {
            "`deltavault verify --read all` names everything that is damaged".into()
        }
    }
}

fn lock_hint(source: &StoreError) -> &'static str {
    if matches!(source.kind, StoreErrorKind::Denied { .. }) {
        "the credentials that take snapshots need s3:PutObjectRetention and s3:GetObjectRetention on the vault's \
         objects: `deltavault iam render --role snapshotter` prints the policy"
    } else {
        "a vault with locks needs a bucket with Object Lock: `deltavault wall check` says what is missing"
    }
}

fn retention_hint(error: &RetentionError) -> &'static str {
    match error {
        RetentionError::OutOfBounds { .. } | RetentionError::PastCalendar { .. } => {
            "choose another length for the class in the configuration under [classes]"
        }
        RetentionError::UntilOutOfBounds { .. } => {
            "name another time with --retain-until, or a class with --class"
        }
        RetentionError::UnknownClass { .. } => {
            "name a class of the configuration, or add it under [classes]"
        }
        RetentionError::ClockSkew { .. } => {
            "set this machine's clock right, with NTP: promises and locks are counted from now"
        }
    }
}

/// For a `vault.json` of which no object version can be read: an older one that can be would have been used.
fn vault_file_hint(uri: &str) -> String {
    let (copy, place, left) = match local_path(uri) {
        Some(path) => ("cp", path.display().to_string(), ""),
        None => (
            "aws s3 cp",
            uri.to_owned(),
            "; the bucket has no older version of it that can be read",
        ),
    };
    let file = quoted(&format!("{place}/vault.json"));
    format!(
        "put it back from a replica and leave everything else as it is: `{copy} REPLICA/vault.json {file}`{left}"
    )
}

/// Hints for ids that a user typed; what a log or a vault says is not the user's to correct.
fn id_hint(error: &InvalidId) -> &'static str {
    match error.what {
        "digest" | "id" => "copy the id from `deltavault snapshots`",
        "table URI" => "use a path, or a URI like s3://bucket/prefix or file:///backup/vault",
        "source id" => {
            "set `name` under [source] in the configuration to one line that is not empty"
        }
        "table key" => "`deltavault snapshots` lists the tables by name",
        "object key" => {
            "a file of this name can be neither read nor written: S3 limits a key to 1,024 bytes, the table's prefix included; choose a table or a target with a shorter prefix"
        }
        _ => "see `--help` of the command",
    }
}

fn choose_hint(error: &ChooseError) -> String {
    match error {
        ChooseError::Ledger(error) => error.hint(),
        ChooseError::Prefix(error) => prefix_hint(error),
        ChooseError::NoSnapshot { .. } => {
            "the vault holds no snapshot yet: take one with `deltavault snapshot PATH`".into()
        }
        ChooseError::VersionNotHeld { held, .. } => {
            let stretch = |(first, last): &(Version, Version)| {
                if first == last {
                    format!("v{first}")
                } else {
                    format!("v{first} to v{last}")
                }
            };
            let held: Vec<String> = held.iter().map(stretch).collect();
            format!(
                "the vault holds {}; `deltavault snapshots` lists them",
                one_of(&held)
            )
        }
        ChooseError::NothingHeldAt {
            oldest: Some(oldest),
            ..
        } => {
            format!("the oldest version held was committed at {oldest}")
        }
        ChooseError::NothingHeldAt { oldest: None, .. } => {
            "list what is held with `deltavault snapshots`".into()
        }
        ChooseError::LedgerNotWhole { .. } => {
            "`deltavault verify` names every record that is damaged or gone; put it back from a replica, or from an \
             older version of the object"
                .into()
        }
        ChooseError::Several { choices, .. } => one_of(choices),
    }
}

fn prefix_hint(error: &PrefixError) -> String {
    let ids = |ids: &[SnapshotId]| one_of(&ids.iter().map(SnapshotId::short).collect::<Vec<_>>());
    match error {
        PrefixError::NotHex { .. } | PrefixError::TooShort { .. } => {
            "copy at least 4 digits of an id from `deltavault snapshots`".into()
        }
        PrefixError::Unknown { known, .. } if known.is_empty() => {
            "the vault holds no snapshot yet: take one with `deltavault snapshot PATH`".into()
        }
        PrefixError::Unknown { known, .. } => {
            format!("there is {}; `deltavault snapshots` lists them", ids(known))
        }
        PrefixError::Ambiguous { candidates, .. } => {
            format!("type more digits of {}", one_of(candidates))
        }
    }
}

fn store_hint(error: &StoreError) -> &'static str {
    let in_folder = error.uri.starts_with("file:");
    match &error.kind {
        StoreErrorKind::NotFound if in_folder => "check the path, and that its disk is mounted",
        StoreErrorKind::NotFound => "check the URI and the endpoint",
        StoreErrorKind::AlreadyExists | StoreErrorKind::Changed => {
            "something else writes there: run the same command again"
        }
        StoreErrorKind::Denied { .. } if !in_folder => {
            "let the policies of this access key and of the bucket allow it, or use another identity: AWS_PROFILE, or \
             `profile` under [source] or [vault] in the configuration"
        }
        StoreErrorKind::Denied { .. } => {
            "run it as a user who may do this, or change the permissions"
        }
        StoreErrorKind::NoBucket => {
            "check the bucket's name, the endpoint and the region; `deltavault init` makes a vault's bucket"
        }
        StoreErrorKind::Archived => {
            "thaw the files at the source (`aws s3api restore-object`) and run the same command again"
        }
        StoreErrorKind::WrongRegion { .. } => {
            "set `region` under [source] or [vault] in the configuration, or AWS_REGION"
        }
        StoreErrorKind::Unreachable { .. } => {
            "check the network and HTTPS_PROXY, the endpoint (AWS_ENDPOINT_URL, or `endpoint` under [source] or [vault] in \
             the configuration), and AWS_CA_BUNDLE where its certificate is your own"
        }
        StoreErrorKind::ClockSkew => {
            "set the clock of this machine (NTP) and run the same command again"
        }
        StoreErrorKind::Credentials { .. } => {
            "check AWS_ACCESS_KEY_ID and its secret, AWS_PROFILE, or `profile` under [source] or [vault] in the \
             configuration, or log in again; what was done is not done twice"
        }
        StoreErrorKind::ReadOnly => "mount it writable, or choose another place",
        StoreErrorKind::NoSpace => {
            "make room and run the same command again: what is already there is not copied twice"
        }
        StoreErrorKind::NoScratchSpace => SCRATCH,
        StoreErrorKind::InvalidRange
        | StoreErrorKind::TooLarge { .. }
        | StoreErrorKind::WrongDigest { .. } => {
            "`deltavault verify --read all` names everything that is damaged"
        }
        StoreErrorKind::InvalidKey { reason } if reason.contains("lead in a circle") => {
            "remove the link that leads back, and run the same command again"
        }
        StoreErrorKind::InTheWay {
            obstacle: Obstacle::File | Obstacle::Folder | Obstacle::Special,
            ..
        } => "move it away, and run the same command again",
        StoreErrorKind::InTheWay {
            obstacle: Obstacle::LinkNowhere,
            ..
        } => "remove the link, or mount what it leads to, and run the same command again",
        StoreErrorKind::InTheWay {
            obstacle: Obstacle::LinkOut,
            ..
        } => {
            "a link that leads out of the folder is not followed: remove the link, or, where what it leads to belongs here, \
             move that below the folder or mount it there (`mount --bind`)"
        }
        StoreErrorKind::InvalidKey { .. } => "choose a place on S3 that can hold this name",
        StoreErrorKind::Unsupported { .. } if in_folder => "choose another file system for this",
        StoreErrorKind::Unsupported { .. } if !error.uri.starts_with("s3:") => {
            "deltavault reads folders and S3: a table whose log names files elsewhere cannot be held"
        }
        StoreErrorKind::Unsupported { .. } => {
            "check the endpoint, and the settings under [source] and [vault] in the configuration"
        }
        StoreErrorKind::Interrupted | StoreErrorKind::Io { .. } => {
            "run the same command again: what is already done is not done twice"
        }
    }
}

/// What to do where temporary files cannot be written.
const SCRATCH: &str = "make room in the temporary folder, or choose another one with TMPDIR";

/// How alike two names are, from 0 to 1, for the one to be taken for the other with a typing error.
const ALIKE: f64 = 0.8;

/// The names that are spelled like `name` first, the most alike at the front; the others keep their order.
fn closest_first<'a>(name: &str, known: &'a [String]) -> Vec<&'a String> {
    let alike = |other: &String| strsim::jaro_winkler(name, other);
    let (mut close, others): (Vec<_>, Vec<_>) = known.iter().partition(|it| alike(it) >= ALIKE);
    close.sort_by(|a, b| alike(b).total_cmp(&alike(a)));
    close.extend(others);
    close
}

/// How many things a message lists.
pub const LISTED: usize = 8;

/// Joins what there is to choose from; long lists end in how many more there are.
pub fn one_of<T: ToString>(items: &[T]) -> String {
    listed(items, LISTED)
}

/// The first `shown` of some things, and how many more there are.
pub(super) fn listed<T: ToString>(items: &[T], shown: usize) -> String {
    let named: Vec<_> = items.iter().take(shown).map(ToString::to_string).collect();
    let named = named.join(", ");
    match items.len().saturating_sub(shown) {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::TableUri;
    use crate::ids::Digest;
    use crate::ids::ObjectKey;

    #[test]
    fn missing_files_come_back_from_the_vault_only_where_it_holds_the_table() {
        let hint = |held| {
            let error = Error::SourceFileMissing {
                table: "orders".into(),
                version: Version(3),
                files: vec!["a".into()],
                held,
                lost: None,
            };
            error.hint().unwrap()
        };
        let held = HeldSnapshot {
            id: SnapshotId(Digest::of(b"x")),
            version: Version(2),
        };
        assert!(hint(Some(held)).contains("`deltavault restore orders --heal`"));
        let first = hint(None);
        assert!(first.contains("holds no snapshot of orders"), "{first}");
        assert!(!first.contains("deltavault restore"), "{first}");
    }

    #[test]
    fn what_is_no_id_gets_no_hint_about_snapshots() {
        let hint = |error| Error::InvalidId(error).hint().unwrap();
        let digest = "12".parse::<Digest>().unwrap_err();
        assert!(hint(digest).contains("deltavault snapshots"));
        let long = "k".repeat(1025);
        let key = long.parse::<ObjectKey>().unwrap_err();
        assert!(hint(key).contains("shorter prefix"));
        let uri = "gs://b/t".parse::<TableUri>().unwrap_err();
        assert!(hint(uri).contains("s3://bucket/prefix"));
    }

    #[test]
    fn long_lists_in_hints_are_cut_with_their_rest_counted() {
        let known = (0..20).map(|n| format!("t{n}")).collect();
        let hint = Error::UnknownTable {
            name: "x".into(),
            known,
        }
        .hint()
        .unwrap();
        assert_eq!(hint, "it holds t0, t1, t2, t3, t4, t5, t6, t7 and 12 more");
    }

    #[test]
    fn what_was_nearly_typed_is_named_first() {
        let known = "a b c d e f g h i sales.orderz sales.orders".split(' ');
        let hint = Error::UnknownTable {
            name: "sales.order".into(),
            known: known.map(str::to_owned).collect(),
        };
        let hint = hint.hint().unwrap();
        assert!(
            hint.starts_with("it holds sales.orderz, sales.orders, a, b, ")
                && hint.ends_with(" and 3 more"),
            "{hint}"
        );
    }
}
