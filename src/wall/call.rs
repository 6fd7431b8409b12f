//! The calls that `wall check` tries, each once a role.

/// A call, as the table of walls has it. The order is that of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Call {
    /// Lists keys and object versions.
    List,
    /// Asks for the bucket's configuration.
    ReadConfiguration,
    /// Reads a record.
    ReadRecord,
    /// Reads a manifest's page.
    ReadPage,
    /// Reads a blob.
    ReadBlob,
    /// Asks how an object is locked.
    ReadLock,
    /// Puts a new blob, locked.
    CreateBlob,
    /// Puts a new record, locked.
    CreateRecord,
    /// Puts a new event, locked.
    CreateEvent,
    /// Puts a new prune plan, locked.
    CreatePlan,
    /// Puts a new object under a name that no vault has.
    CreateElsewhere,
    /// Makes a lock longer.
    Extend,
    /// Puts a legal hold on.
    Hold,
    /// Takes a legal hold off.
    Release,
    /// Deletes an object version whose lock is over.
    DeleteOver,
    /// Puts under a name that is taken, without a condition.
    Overwrite,
    /// Puts without a lock.
    PutUnlocked,
    /// Puts with a lock below the floor.
    PutShort,
    /// Puts with a lock above the ceiling.
    PutBeyond,
    /// Puts with a lock of another mode.
    PutOtherMode,
    /// Puts under a legal hold.
    PutHeld,
    /// Puts into another storage class.
    PutClass,
    /// Puts with an ACL.
    PutAcl,
    /// Puts with tags.
    PutTags,
    /// Puts encrypted with a key that only the caller has.
    PutCustomerKey,
    /// Puts a delete marker.
    Delete,
    /// Deletes a locked object version.
    DeleteVersion,
    /// Deletes a locked object version, asking for GOVERNANCE to be bypassed.
    DeleteBypass,
    /// Deletes locked object versions, many a call.
    DeleteMany,
    /// Makes a lock shorter.
    Shorten,
    /// Makes a lock shorter, asking for GOVERNANCE to be bypassed.
    ShortenBypass,
    /// Takes a lock off, asking for GOVERNANCE to be bypassed.
    Unlock,
    /// Makes a lock longer than the ceiling.
    ExtendBeyond,
    /// Sets an object's ACL.
    SetAcl,
    /// Sets an object's tags.
    SetTags,
    /// Encrypts an object anew.
    Reencrypt,
    /// Drops an unfinished upload of somebody else.
    Abort,
    /// Sets the bucket's policy.
    SetPolicy,
    /// Deletes the bucket's policy.
    DeletePolicy,
    /// Sets what the server does to objects by itself.
    SetLifecycle,
    /// Switches versioning.
    SetVersioning,
    /// Sets the default encryption.
    SetEncryption,
    /// Sets where the server copies objects to.
    SetReplication,
    /// Sets the default retention.
    SetLocks,
    /// Sets the public access block.
    SetPublicAccess,
    /// Sets who owns what is uploaded.
    SetOwnership,
    /// Deletes the bucket.
    DeleteBucket,
    /// Anything, without TLS.
    PlainHttp,
}

impl Call {
    /// Every call, in the order of the table.
    pub const ALL: [Self; 48] = [
        Self::List,
        Self::ReadConfiguration,
        Self::ReadRecord,
        Self::ReadPage,
        Self::ReadBlob,
        Self::ReadLock,
        Self::CreateBlob,
        Self::CreateRecord,
        Self::CreateEvent,
        Self::CreatePlan,
        Self::CreateElsewhere,
        Self::Extend,
        Self::Hold,
        Self::Release,
        Self::DeleteOver,
        Self::Overwrite,
        Self::PutUnlocked,
        Self::PutShort,
        Self::PutBeyond,
        Self::PutOtherMode,
        Self::PutHeld,
        Self::PutClass,
        Self::PutAcl,
        Self::PutTags,
        Self::PutCustomerKey,
        Self::Delete,
        Self::DeleteVersion,
        Self::DeleteBypass,
        Self::DeleteMany,
        Self::Shorten,
        Self::ShortenBypass,
        Self::Unlock,
        Self::ExtendBeyond,
        Self::SetAcl,
        Self::SetTags,
        Self::Reencrypt,
        Self::Abort,
        Self::SetPolicy,
        Self::DeletePolicy,
        Self::SetLifecycle,
        Self::SetVersioning,
        Self::SetEncryption,
        Self::SetReplication,
        Self::SetLocks,
        Self::SetPublicAccess,
        Self::SetOwnership,
        Self::DeleteBucket,
        Self::PlainHttp,
    ];

    /// Its name, for scripts.
    pub fn name(self) -> &'static str {
        self.both().0
    }

    /// What it does, for people.
    pub fn what(self) -> &'static str {
        self.both().1
    }

    fn both(self) -> (&'static str, &'static str) {
        match self {
            Self::List => ("list", "list keys and object versions"),
            Self::ReadConfiguration => ("read-configuration", "ask for the bucket's configuration"),
            Self::ReadRecord => ("read-record", "read a record"),
            Self::ReadPage => ("read-page", "read a page or manifest"),
            Self::ReadBlob => ("read-blob", "read a blob or copy"),
            Self::ReadLock => ("read-lock", "ask how an object is locked"),
            Self::CreateBlob => ("create-blob", "put a new blob, locked"),
            Self::CreateRecord => ("create-record", "put a new record, locked"),
            Self::CreateEvent => ("create-event", "put a new event, locked"),
            Self::CreatePlan => ("create-plan", "put a new prune plan, locked"),
            Self::CreateElsewhere => ("create-elsewhere", "put an object elsewhere in the bucket"),
            Self::Extend => ("extend", "make a lock longer"),
            Self::Hold => ("hold", "put a legal hold on"),
            Self::Release => ("release", "take a legal hold off"),
            Self::DeleteOver => ("delete-over", "delete an object version whose lock is over"),
            Self::Overwrite => ("overwrite", "overwrite: put without If-None-Match"),
            Self::PutUnlocked => ("put-unlocked", "put without a lock, not even the floor's"),
            Self::PutShort => ("put-short", "put with a lock below the floor"),
            Self::PutBeyond => ("put-beyond", "put with a lock above the ceiling"),
            Self::PutOtherMode => ("put-other-mode", "put with a lock of another mode"),
            Self::PutHeld => ("put-held", "put under a legal hold"),
            Self::PutClass => ("put-class", "put into another storage class"),
            Self::PutAcl => ("put-acl", "put with an ACL"),
            Self::PutTags => ("put-tags", "put with tags"),
            Self::PutCustomerKey => ("put-customer-key", "put encrypted with SSE-C"),
            Self::Delete => ("delete", "put a delete marker"),
            Self::DeleteVersion => ("delete-version", "delete a locked object version"),
            Self::DeleteBypass => ("delete-bypass", "the same, bypassing GOVERNANCE"),
            Self::DeleteMany => ("delete-many", "the same, by a batch"),
            Self::Shorten => ("shorten", "make a lock shorter"),
            Self::ShortenBypass => ("shorten-bypass", "the same, bypassing GOVERNANCE"),
            Self::Unlock => ("unlock", "take a lock off, bypassing GOVERNANCE"),
            Self::ExtendBeyond => ("extend-beyond", "make a lock longer than the ceiling"),
            Self::SetAcl => ("set-acl", "set an object's ACL"),
            Self::SetTags => ("set-tags", "set an object's tags"),
            Self::Reencrypt => ("reencrypt", "encrypt an object anew"),
            Self::Abort => ("abort", "drop somebody else's unfinished upload"),
            Self::SetPolicy => ("set-policy", "set the bucket's policy"),
            Self::DeletePolicy => ("delete-policy", "delete the bucket's policy"),
            Self::SetLifecycle => ("set-lifecycle", "set the lifecycle rules"),
            Self::SetVersioning => ("set-versioning", "switch versioning"),
            Self::SetEncryption => ("set-encryption", "set the default encryption"),
            Self::SetReplication => ("set-replication", "set the replication"),
            Self::SetLocks => ("set-locks", "set the default retention"),
            Self::SetPublicAccess => ("set-public-access", "set the public access block"),
            Self::SetOwnership => ("set-ownership", "set the object ownership"),
            Self::DeleteBucket => ("delete-bucket", "delete the bucket"),
            Self::PlainHttp => ("plain-http", "anything by plain HTTP"),
        }
    }
}
