//! `init`: makes a vault, and its bucket where there is none.
//!
//! A bucket that was there and holds something is adopted as it is: others may rely on how it is set, so each finding is
//! only told, with its remedy. One that holds nothing gets what it lacks. `vault.json` is put last; until then, nothing was
//! chosen for good, and the same command can be given again with another choice.

use clap::Args;
use deltavault::format::{LockMode, VaultFile, layout};
use deltavault::iam::Params;
use deltavault::ids::{Id128, Timestamp};
use deltavault::store::s3::S3Store;
use deltavault::store::{ReadStore as _, StoreErrorKind};
use deltavault::vault::Vault;
use deltavault::wall::lint::{Expected, Finding, Severity, enable_lock, lint};
use deltavault::wall::locks::{Strength, judge};
use deltavault::wall::state::Asked;
use deltavault::{Error, ExitCode, vault};
use futures::TryStreamExt;
use jiff::SignedDuration;
use serde::Serialize;

use super::{Context, confirm};
use crate::cli::args::{MODES, one_of};
use crate::cli::error::CommandError;
use crate::cli::output::{Message, Output, lock};
use crate::cli::place::overlap;
use crate::cli::stores::Place;

/// Flags of `init`.
#[derive(Debug, Default, Args)]
pub(crate) struct InitArgs {
    /// Lock objects in MODE: anyone with the right to bypass it ends governance early, nobody compliance [on S3, governance]
    #[arg(long, value_name = "MODE", value_parser = one_of(MODES), conflicts_with = "no_lock")]
    pub(crate) mode: Option<LockMode>,
    /// Keep every snapshot, and lock everything in the vault, for at least DAYS [3]
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(3..=36500))]
    pub(crate) shortest: Option<u32>,
    /// Promise to keep no snapshot for more than DAYS [3650]
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(3..=36500))]
    pub(crate) longest: Option<u32>,
    /// Extend locks by DAYS at a time [10]
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(1..=3650))]
    pub(crate) generation: Option<u32>,
    /// Make a vault without locks: anyone who may delete in its bucket can destroy the backup
    #[arg(long)]
    pub(crate) no_lock: bool,
    /// Go by the flags, and ask nothing
    #[arg(long)]
    pub(crate) yes: bool,
}

impl InitArgs {
    /// The lock mode that was named; `None` of the two where nothing was.
    fn lock_mode(&self) -> Option<LockMode> {
        self.mode.or(self.no_lock.then_some(LockMode::None))
    }

    fn shortest(&self) -> u32 {
        self.shortest.unwrap_or(Params::SHORTEST_DAYS)
    }

    fn longest(&self) -> u32 {
        self.longest.unwrap_or(Params::LONGEST_DAYS)
    }

    /// Whether a vault is as the flags say that it is to be; what no flag says is as it is.
    fn is_met_by(&self, vault: &VaultFile) -> bool {
        let lengths = [
            (self.shortest, vault.shortest_days),
            (self.longest, vault.longest_days),
            (self.generation, vault.generation_days),
        ];
        let is_met = |(asked, is): (Option<u32>, u32)| asked.is_none_or(|asked| asked == is);
        let mode = self.lock_mode();
        mode.is_none_or(|mode| mode == vault.lock_mode) && lengths.into_iter().all(is_met)
    }

    /// Of a vault that is made to be thrown away: without locks.
    pub(super) fn throwaway() -> Self {
        Self {
            no_lock: true,
            yes: true,
            ..Self::default()
        }
    }
}

/// What COMPLIANCE means, before anything is locked in it.
const NEVER_UNDONE: &str = "COMPLIANCE can never be undone: until the date that an object is locked to, nobody deletes \
     it or shortens its lock, neither root nor AWS Support; only closing the account ends it, and the bill goes on";

/// `init`
pub(super) async fn init(args: InitArgs, context: &mut Context) -> Result<ExitCode, CommandError> {
    let made = match make(&args, context).await {
        // Whoever sets up machines runs the same command again.
        Err(CommandError::AlreadyAVault { uri, file }) if args.is_met_by(&file) => Made {
            done: InitDone::of(uri, &file, false, None),
            findings: Vec::new(),
        },
        made => made?,
    };
    context.output.say(&made.done)?;
    for finding in &made.findings {
        context.output.say(finding)?;
    }
    let mut findings = made.findings.iter();
    let has_finding = findings.any(|finding| finding.severity > Severity::Note);
    Ok(ExitCode::findings_if(has_finding))
}

/// Asks what is to be asked, and makes the vault.
async fn make(args: &InitArgs, context: &mut Context) -> Result<Made, CommandError> {
    if args.longest() < args.shortest() {
        return Err(CommandError::UnusableFlag {
            flag: "--longest",
            rule: "it is less than --shortest",
        });
    }
    let uri = context.vault()?.to_owned();
    let place = context.stores.vault(&uri).await?;
    let mut configured = context.config.tables.iter();
    if configured.any(|table| overlap(place.uri(), &table.uri)) {
        return Err(CommandError::InvalidUri {
            uri,
            rule: "the configuration has a table there, above or below: a vault goes to a place of its own",
        });
    }
    if let Place::Folder(store) = &place {
        let mut above = store.path().ancestors().skip(1);
        if above.any(|it| it.join("vault.json").is_file()) {
            return Err(CommandError::InvalidUri {
                uri,
                rule: "it lies in a vault, which may hold nothing else",
            });
        }
    }
    if matches!(place, Place::Folder(_))
        && matches!(args.lock_mode(), Some(mode) if mode != LockMode::None)
    {
        return Err(CommandError::UnusableFlag {
            flag: "--mode",
            rule: "a folder has no locks",
        });
    }
    if args.lock_mode() == Some(LockMode::Compliance) && !args.yes {
        match refuse_what_is_there(&place).await {
            Err(error) if error.is_without_bucket() => {}
            checked => checked?,
        }
        context.output.text(NEVER_UNDONE)?;
        confirm(&format!("lock everything in {uri} in COMPLIANCE"), context)?;
    }
    make_vault(&place, args, context.clock.now()).await
}

/// A vault that was made, and what there is to say about its bucket.
pub(super) struct Made {
    pub(super) done: InitDone,
    pub(super) findings: Vec<Finding>,
}

/// What is known of a vault's bucket before the vault is made.
struct Checked {
    bucket: BucketRow,
    lock_mode: LockMode,
    findings: Vec<Finding>,
}

/// Makes a vault where nothing is, and its bucket where that is missing.
pub(super) async fn make_vault(
    place: &Place,
    args: &InitArgs,
    now: Timestamp,
) -> Result<Made, CommandError> {
    let checked = match place {
        Place::Bucket(store) => Some(check_bucket(place, store, args, now).await?),
        Place::Folder(_) => {
            refuse_what_is_there(place).await?;
            place.make()?;
            None
        }
    };
    let (lock_mode, bucket, findings) = match checked {
        Some(it) => (it.lock_mode, Some(it.bucket), it.findings),
        None => (LockMode::None, None, Vec::new()),
    };
    let new = VaultFile {
        lock_mode,
        generation_days: args.generation.unwrap_or(Params::GENERATION_DAYS),
        shortest_days: args.shortest(),
        longest_days: args.longest(),
        ..VaultFile::new(Id128::from_bytes(rand::random()), now)
    };
    let locking = place.clone().with_lock_mode(lock_mode);
    let file = match vault::init(locking.write().as_ref(), new).await {
        Err(Error::Store(error)) if matches!(error.kind, StoreErrorKind::AlreadyExists) => {
            // Another process was quicker.
            refuse_what_is_there(place).await?;
            return Err(error.into());
        }
        made => made?,
    };
    Ok(Made {
        done: InitDone::of(place.uri().to_owned(), &file, true, bucket),
        findings,
    })
}

/// Makes or adopts the bucket, and refuses one whose locks would not be what they are called.
async fn check_bucket(
    place: &Place,
    store: &S3Store,
    args: &InitArgs,
    now: Timestamp,
) -> Result<Checked, CommandError> {
    let lock_mode = args.lock_mode().unwrap_or(LockMode::Governance);
    let created = match refuse_what_is_there(place).await {
        Err(error) if error.is_without_bucket() => {
            let created = store.create_bucket().await?;
            // Somebody else may have been quicker, also with a vault.
            refuse_what_is_there(place).await?;
            created
        }
        checked => {
            checked?;
            false
        }
    };
    let mut state = store.bucket_state().await?;
    let is_bare = created || holds_nothing(store).await?;
    if is_bare {
        store
            .set_up_bucket(&state, lock_mode, args.shortest())
            .await?;
        state = store.bucket_state().await?;
    }
    let client = store.client();
    let expected = Expected {
        bucket: store.bucket(),
        prefix: store.prefix(),
        endpoint: client.has_own_endpoint().then(|| client.service()),
        lock_mode,
        shortest_days: args.shortest(),
        policy: None,
    };
    let mut findings = lint(&state, &expected);
    if lock_mode == LockMode::None {
        // It was asked for.
        for finding in &mut findings {
            if finding.check == "object-lock" {
                finding.severity = Severity::Note;
            }
        }
    } else {
        if matches!(state.object_lock, Asked::Absent | Asked::NotOffered) {
            return Err(cannot_lock(store, &findings, &expected));
        }
        findings.extend(probe_locks(store, &expected, args, now).await?);
    }
    Ok(Checked {
        bucket: match (created, is_bare) {
            (true, _) => BucketRow::Created,
            (false, true) => BucketRow::SetUp,
            (false, false) => BucketRow::Adopted,
        },
        lock_mode,
        findings,
    })
}

/// Finds out what the server's locks are worth; refuses those that hold nothing, and asks about those that may not.
async fn probe_locks(
    store: &S3Store,
    expected: &Expected<'_>,
    args: &InitArgs,
    now: Timestamp,
) -> Result<Vec<Finding>, CommandError> {
    let key = || layout::probe_key(layout::BLOBS_PREFIX, Id128::from_bytes(rand::random()));
    // Beyond what a bucket policy with the vault's floor refuses as too short.
    let days = i64::from(args.shortest()).saturating_add(1);
    let floor = SignedDuration::from_hours(days.saturating_mul(24));
    let longer = now.saturating_add(floor).unwrap_or(Timestamp::MAX);
    let (first, second) = (key(), key());
    let keys = [first.as_str(), second.as_str()];
    let probe = store.probe_locks(keys, expected.lock_mode, now, longer);
    let (strength, mut findings) = judge(&probe.await?, expected.endpoint.is_none());
    match strength {
        Strength::Holds => {}
        Strength::None => return Err(cannot_lock(store, &findings, expected)),
        Strength::Bypassable if args.lock_mode().is_some() && args.yes => {
            for finding in &mut findings {
                // It was said and chosen.
                finding.severity = Severity::Note;
            }
        }
        Strength::Bypassable => {
            let what = findings.iter().map(|finding| finding.what.clone()).next();
            return Err(Error::OwnerMustChoose {
                what: what.unwrap_or_default(),
                choices: vec![
                    "`--mode compliance`, which holds here".to_owned(),
                    "`--mode governance --yes`, a wall against mistakes only".to_owned(),
                ],
            }
            .into());
        }
    }
    Ok(findings)
}

/// The bucket can never be immutable, or not as it is.
fn cannot_lock(store: &S3Store, findings: &[Finding], expected: &Expected<'_>) -> CommandError {
    let about = |finding: &&Finding| matches!(finding.check, "object-lock" | "lock-probe");
    let worst = findings.iter().find(about);
    let why = worst.map_or("", |finding| finding.what.as_str());
    Error::OwnerMustChoose {
        what: format!(
            "s3://{} cannot hold an immutable vault: {why}",
            store.bucket()
        ),
        choices: vec![
            enable_lock(expected),
            "`--no-lock`, a backup and no wall".to_owned(),
        ],
    }
    .into()
}

/// Whether there is nothing in a whole bucket but probes.
async fn holds_nothing(store: &S3Store) -> Result<bool, CommandError> {
    let whole = S3Store::open(store.client(), &format!("s3://{}", store.bucket()))?;
    let mut listing = whole.list_versions("", None);
    while let Some(found) = listing.try_next().await? {
        let key = found.key().as_str();
        let within = key.strip_prefix(store.prefix());
        if !within.is_some_and(layout::is_probe) {
            return Ok(false);
        }
    }
    Ok(true)
}

async fn refuse_what_is_there(place: &Place) -> Result<(), CommandError> {
    let uri = place.uri().to_owned();
    match Vault::open(place.read()).await {
        Ok(vault) => {
            let file = Box::new(vault.file().clone());
            return Err(CommandError::AlreadyAVault { uri, file });
        }
        Err(Error::NoVault { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    // The oldest version of a key is what a vault reads, so what a delete marker hides counts, too. Probes of an init
    // that ended before there was a vault do not.
    let store = place.read();
    let mut listing = store.list_versions("", None);
    let mut has_object = false;
    while let Some(found) = listing.try_next().await? {
        if !layout::is_probe(found.key().as_str()) {
            has_object = true;
            break;
        }
    }
    drop(listing);
    if has_object || place.has_entry() {
        return Err(CommandError::FolderNotEmpty { uri });
    }
    Ok(())
}

/// `init` is done.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct InitDone {
    /// Where the vault is.
    pub(crate) vault: String,
    pub(crate) id: String,
    /// Whether it was made now, or was there already.
    pub(crate) created: bool,
    /// What became of the bucket; none for a folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) bucket: Option<BucketRow>,
    /// How its objects are locked.
    pub(crate) lock_mode: LockMode,
    /// The shortest promise allowed, days.
    pub(crate) shortest_days: u32,
    /// The longest promise allowed, days.
    pub(crate) longest_days: u32,
    /// Length of a lock generation, days.
    pub(crate) generation_days: u32,
}

impl InitDone {
    fn of(vault: String, file: &VaultFile, created: bool, bucket: Option<BucketRow>) -> Self {
        Self {
            vault,
            id: file.id.to_string(),
            created,
            bucket,
            lock_mode: file.lock_mode,
            shortest_days: file.shortest_days,
            longest_days: file.longest_days,
            generation_days: file.generation_days,
        }
    }
}

impl Message for InitDone {
    const TYPE: &'static str = "vault";

    fn text(&self, out: &mut Output) -> Result<(), CommandError> {
        let made = if self.created {
            "made the vault"
        } else {
            "nothing to do: the vault is there already,"
        };
        out.print(format_args!("{made} {}", self.vault))?;
        match self.bucket {
            Some(BucketRow::Created) => out.print(format_args!(
                "made the bucket, with versioning and Object Lock"
            ))?,
            Some(BucketRow::SetUp) => out.print(format_args!(
                "the bucket was there with nothing in it: what a vault needs and it did not have was set"
            ))?,
            Some(BucketRow::Adopted) => out.print(format_args!(
                "the bucket was there and is as it was"
            ))?,
            None => {}
        }
        match self.lock_mode {
            LockMode::None => out.print(format_args!(
                "objects are not locked: this is a real backup, but anyone who may delete {} can destroy it",
                if self.vault.starts_with("s3://") {
                    "in the bucket"
                } else {
                    "the folder"
                }
            )),
            LockMode::Governance | LockMode::Compliance => out.print(format_args!(
                "objects are locked, mode {}, for {} days at least",
                lock(self.lock_mode),
                self.shortest_days
            )),
        }
    }
}

/// What `init` did about the bucket.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum BucketRow {
    /// It was made, with versioning and Object Lock.
    Created,
    /// It was there with nothing in it, and got what it lacked.
    #[serde(rename = "set-up")]
    SetUp,
    /// It was there and is as it was.
    Adopted,
}

impl Message for Finding {
    const TYPE: &'static str = "bucket_finding";

    fn text(&self, out: &mut Output) -> Result<(), CommandError> {
        let severity = match self.severity {
            Severity::Note if !out.is_verbose() => return Ok(()),
            Severity::Note => "NOTE   ",
            Severity::Warning => "WARNING",
            Severity::Breach => "BREACH ",
        };
        out.print(format_args!("{severity} {}: {}", self.check, self.what))?;
        out.print(format_args!("        {}", self.remedy))
    }
}
