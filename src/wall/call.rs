//! The calls that `wall check` tries, each once a role, and the roles whose work each is.

use crate::iam::Role::{self, Holder, Pruner, Restorer, Snapshotter, Verifier};

const EVERYBODY: &[Role] = &Role::ALL;
const NOBODY: &[Role] = &[];

/// A line has the variant, its name for scripts, what it does for people, and the roles that may make it.
macro_rules! calls {
    ($($call:ident, $name:literal, $what:literal, $roles:expr;)+) => {
        /// A call, in the order of the table of walls.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Call {
            $(#[doc = $what] $call,)+
        }

        impl Call {
            /// Every call, in the order of the table.
            pub const ALL: [Self; 64] = [$(Self::$call),+];

            /// Its name, for scripts.
            pub fn name(self) -> &'static str {
                match self { $(Self::$call => $name,)+ }
            }

            /// What it does, for people.
            pub fn what(self) -> &'static str {
                match self { $(Self::$call => $what,)+ }
            }

            /// The roles that may make it, by their policies. Every other one is refused: by its policy, by the bucket's,
            /// or by a lock.
            pub fn roles(self) -> &'static [Role] {
                match self { $(Self::$call => $roles,)+ }
            }
        }
    };
}

calls! {
    List, "list", "list keys and object versions", EVERYBODY;
    ReadConfiguration, "read-configuration", "ask for the bucket's configuration", EVERYBODY;
    ReadRecord, "read-record", "read a record", EVERYBODY;
    ReadPage, "read-page", "read a page or manifest", EVERYBODY;
    ReadBlob, "read-blob", "read a blob or copy", &[Snapshotter, Restorer, Verifier];
    ReadJournal, "read-journal", "read a journal", &[Snapshotter, Restorer, Verifier, Pruner];
    ReadLock, "read-lock", "ask how an object is locked", EVERYBODY;
    CreateBlob, "create-blob", "put a new blob or copy", &[Snapshotter];
    CreatePage, "create-page", "put a new page or manifest", &[Snapshotter];
    CreateJournal, "create-journal", "put a new journal or set", &[Snapshotter];
    CreateRecord, "create-record", "put a new record", &[Snapshotter];
    CreateHolderEvent, "create-holder-event", "put a new event of the holder", &[Holder];
    CreatePrunerEvent, "create-pruner-event", "put a new event of the pruner", &[Pruner];
    CreateRestorerEvent, "create-restorer-event", "put a new event of the restorer", &[Restorer];
    CreatePlan, "create-plan", "put a new prune plan", &[Pruner];
    CreateElsewhere, "create-elsewhere", "put an object elsewhere in the bucket", NOBODY;
    ReplaceVaultFile, "replace-vault-file", "put the vault's own file", NOBODY;
    ForgeRecord, "forge-record", "forge a record, in parts, by a copy or over another", &[Snapshotter];
    Extend, "extend", "make a lock longer", &[Snapshotter];
    Hold, "hold", "put a legal hold on", &[Holder];
    Release, "release", "take a legal hold off", &[Holder];
    DeleteOver, "delete-over", "delete an object version whose lock is over", &[Pruner];
    DeleteRecord, "delete-record", "delete a version of a record whose lock is over", NOBODY;
    Overwrite, "overwrite", "overwrite: put without If-None-Match", NOBODY;
    PutUnlocked, "put-unlocked", "put without a lock, not even the floor's", NOBODY;
    PutShort, "put-short", "put with a lock below the floor", NOBODY;
    PutBeyond, "put-beyond", "put with a lock above the ceiling", NOBODY;
    PutOtherMode, "put-other-mode", "put with a lock of another mode", NOBODY;
    PutHeld, "put-held", "put under a legal hold", NOBODY;
    PutEventHold, "put-event-hold", "put under an event hold", NOBODY;
    PutClass, "put-class", "put into another storage class", NOBODY;
    PutAcl, "put-acl", "put with an ACL", NOBODY;
    PutTags, "put-tags", "put with tags", NOBODY;
    PutCustomerKey, "put-customer-key", "put encrypted with SSE-C", NOBODY;
    ReplicateIn, "replicate-in", "put as a replication from elsewhere does", NOBODY;
    Delete, "delete", "put a delete marker", NOBODY;
    HideRecord, "hide-record", "put a delete marker on a record", NOBODY;
    DeleteVersion, "delete-version", "delete a locked object version", NOBODY;
    DeleteBypass, "delete-bypass", "the same, bypassing GOVERNANCE", NOBODY;
    DeleteMany, "delete-many", "the same, by a batch", NOBODY;
    Shorten, "shorten", "make a lock shorter", NOBODY;
    ShortenBypass, "shorten-bypass", "the same, bypassing GOVERNANCE", NOBODY;
    Unlock, "unlock", "take a lock off, bypassing GOVERNANCE", NOBODY;
    ExtendBeyond, "extend-beyond", "make a lock longer than the ceiling", NOBODY;
    SetAcl, "set-acl", "set an object's ACL", NOBODY;
    SetTags, "set-tags", "set an object's tags", NOBODY;
    Annotate, "annotate", "annotate an object", NOBODY;
    Reencrypt, "reencrypt", "encrypt an object again", NOBODY;
    Abort, "abort", "drop somebody else's unfinished upload", NOBODY;
    SetPolicy, "set-policy", "set the bucket's policy", NOBODY;
    DeletePolicy, "delete-policy", "delete the bucket's policy", NOBODY;
    SetLifecycle, "set-lifecycle", "set the lifecycle rules", NOBODY;
    SetVersioning, "set-versioning", "switch versioning", NOBODY;
    SetEncryption, "set-encryption", "set the default encryption", NOBODY;
    SetReplication, "set-replication", "set the replication", NOBODY;
    SetLocks, "set-locks", "set the default retention", NOBODY;
    SetPublicAccess, "set-public-access", "set the public access block", NOBODY;
    SetOwnership, "set-ownership", "set the object ownership", NOBODY;
    SetInventory, "set-inventory", "set an inventory", NOBODY;
    SetLogging, "set-logging", "set the access log", NOBODY;
    SetNotification, "set-notification", "set the notifications", NOBODY;
    SetWebsite, "set-website", "set the website", NOBODY;
    DeleteBucket, "delete-bucket", "delete the bucket", NOBODY;
    PlainHttp, "plain-http", "anything by plain HTTP", NOBODY;
}
