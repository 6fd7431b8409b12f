//! How each call of the table is tried.

use crate::format::layout;
use crate::probe::prober::Extra;
use crate::wall::call::Call;

/// How a call is tried.
#[derive(Debug, Clone, Copy)]
pub(super) enum Act {
    List,
    ReadConfiguration,
    /// Reads a canary below a prefix.
    Read(&'static str),
    ReadLock,
    /// Puts an object below a prefix where none is.
    Create(&'static str),
    Overwrite,
    /// Puts with less than the floor: with a short lock, or with none.
    PutBelow {
        short: bool,
    },
    /// Puts what must never be put, so that it cannot be done.
    Dry(Dry),
    Delete(Deletion),
    Lock(Relock),
    ExtendBeyond,
    Hold,
    Release,
    Change(Change),
    Abort,
    Configure(Config),
    PlainHttp,
}

/// What a put asks for that must never be done.
#[derive(Debug, Clone, Copy)]
pub(super) enum Dry {
    Beyond,
    OtherMode,
    Also(Extra),
}

/// How an object is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Deletion {
    Marker,
    Version,
    Bypass,
    Many,
    /// A version whose lock is over.
    Over,
}

/// How a lock is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Relock {
    Longer,
    Shorter,
    ShorterBypass,
    Off,
}

/// What of an object is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    Acl,
    Tags,
    Encryption,
}

/// Which setting of the bucket is sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::probe) enum Config {
    Policy,
    DeletePolicy,
    Lifecycle,
    Versioning,
    Encryption,
    Replication,
    Locks,
    PublicAccess,
    Ownership,
    DeleteBucket,
}

/// No prefix of a vault.
const ELSEWHERE: &str = "elsewhere/";

/// How a call is tried.
pub(super) fn act(call: Call) -> Act {
    match call {
        Call::List => Act::List,
        Call::ReadConfiguration => Act::ReadConfiguration,
        Call::ReadRecord => Act::Read(layout::PROBE_LEDGER),
        Call::ReadPage => Act::Read(layout::PAGES_PREFIX),
        Call::ReadBlob => Act::Read(layout::BLOBS_PREFIX),
        Call::ReadLock => Act::ReadLock,
        Call::CreateBlob => Act::Create(layout::BLOBS_PREFIX),
        Call::CreateRecord => Act::Create(layout::PROBE_LEDGER),
        Call::CreateEvent => Act::Create(layout::PROBE_EVENTS),
        Call::CreatePlan => Act::Create(layout::PRUNE_PREFIX),
        Call::CreateElsewhere => Act::Create(ELSEWHERE),
        Call::Extend => Act::Lock(Relock::Longer),
        Call::Hold => Act::Hold,
        Call::Release => Act::Release,
        Call::DeleteOver => Act::Delete(Deletion::Over),
        Call::Overwrite => Act::Overwrite,
        Call::PutUnlocked => Act::PutBelow { short: false },
        Call::PutShort => Act::PutBelow { short: true },
        Call::PutBeyond => Act::Dry(Dry::Beyond),
        Call::PutOtherMode => Act::Dry(Dry::OtherMode),
        Call::PutHeld => Act::Dry(Dry::Also(Extra::Hold)),
        Call::PutClass => Act::Dry(Dry::Also(Extra::Class)),
        Call::PutAcl => Act::Dry(Dry::Also(Extra::Acl)),
        Call::PutTags => Act::Dry(Dry::Also(Extra::Tags)),
        Call::PutCustomerKey => Act::Dry(Dry::Also(Extra::CustomerKey)),
        Call::Delete => Act::Delete(Deletion::Marker),
        Call::DeleteVersion => Act::Delete(Deletion::Version),
        Call::DeleteBypass => Act::Delete(Deletion::Bypass),
        Call::DeleteMany => Act::Delete(Deletion::Many),
        Call::Shorten => Act::Lock(Relock::Shorter),
        Call::ShortenBypass => Act::Lock(Relock::ShorterBypass),
        Call::Unlock => Act::Lock(Relock::Off),
        Call::ExtendBeyond => Act::ExtendBeyond,
        Call::SetAcl => Act::Change(Change::Acl),
        Call::SetTags => Act::Change(Change::Tags),
        Call::Reencrypt => Act::Change(Change::Encryption),
        Call::Abort => Act::Abort,
        Call::SetPolicy => Act::Configure(Config::Policy),
        Call::DeletePolicy => Act::Configure(Config::DeletePolicy),
        Call::SetLifecycle => Act::Configure(Config::Lifecycle),
        Call::SetVersioning => Act::Configure(Config::Versioning),
        Call::SetEncryption => Act::Configure(Config::Encryption),
        Call::SetReplication => Act::Configure(Config::Replication),
        Call::SetLocks => Act::Configure(Config::Locks),
        Call::SetPublicAccess => Act::Configure(Config::PublicAccess),
        Call::SetOwnership => Act::Configure(Config::Ownership),
        Call::DeleteBucket => Act::Configure(Config::DeleteBucket),
        Call::PlainHttp => Act::PlainHttp,
    }
}
