variable "bucket" {
  description = "The vault's bucket, which this module creates. It belongs to one vault alone."
  type        = string

  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$", var.bucket))
    error_message = "A bucket's name has 3 to 63 lower-case letters, digits, dots and hyphens."
  }

  validation {
    condition     = !var.trail || length(var.bucket) <= 57
    error_message = "The trail's bucket is called like the vault's with -trail behind it: 57 characters are left for the vault's."
  }
}

variable "prefix" {
  description = "What the vault's keys begin with, without slashes around it; empty for the whole bucket."
  type        = string
  default     = ""

  validation {
    condition     = !can(regex("[*?$\"\\\\]|^/|/$", var.prefix))
    error_message = "Policies read *, ? and $ as patterns; quotes, backslashes and slashes around it are not taken."
  }
}

variable "before_init" {
  description = "True until `deltavault init` has made the vault: the buckets have no policy yet, which would refuse that. Then apply again without it."
  type        = bool
  default     = false
}

variable "lock_mode" {
  description = <<-TEXT
    GOVERNANCE or COMPLIANCE, as the vault was or will be made with. GOVERNANCE: a lock can be taken off by anyone with
    s3:BypassGovernanceRetention, which the bucket's policy refuses to everybody: whoever may replace that policy, the
    break-glass principal and the account's root, can end every lock. COMPLIANCE: nobody can, not even AWS, until the lock
    is over, for no mistake either; only closing the account ends it. It has to be asked for by name.
  TEXT
  type        = string
  default     = "GOVERNANCE"

  validation {
    condition     = contains(["GOVERNANCE", "COMPLIANCE"], var.lock_mode)
    error_message = "The modes are GOVERNANCE and COMPLIANCE."
  }
}

variable "shortest_days" {
  description = "The vault's shortest promise: the floor of every lock, and the bucket's default."
  type        = number
  default     = 3

  validation {
    condition     = var.shortest_days >= 3 && floor(var.shortest_days) == var.shortest_days
    error_message = "No vault promises less than 3 days, and days are whole."
  }
}

variable "longest_days" {
  description = "The vault's longest promise; with a lock generation and a day, the ceiling of every lock. Stolen keys can lock everything, and its bill, for that long."
  type        = number
  default     = 400

  validation {
    condition     = var.longest_days >= var.shortest_days && floor(var.longest_days) == var.longest_days
    error_message = "The longest promise is not shorter than the shortest, and days are whole."
  }

  validation {
    condition     = var.longest_days <= 3650
    error_message = "What is locked is paid for until its lock is over: promise 3650 days at most."
  }
}

variable "generation_days" {
  description = "The length of a lock generation of the vault."
  type        = number
  default     = 10

  validation {
    condition     = var.generation_days >= 1 && var.generation_days <= 365 && floor(var.generation_days) == var.generation_days
    error_message = "A lock generation has 1 to 365 days."
  }
}

variable "storage_classes" {
  description = "The storage classes that objects may have."
  type        = list(string)
  default     = ["STANDARD"]

  validation {
    condition     = length(var.storage_classes) > 0 && alltrue([for class in var.storage_classes : contains(["STANDARD", "STANDARD_IA", "INTELLIGENT_TIERING", "GLACIER_IR"], class)])
    error_message = "The classes are STANDARD, STANDARD_IA, INTELLIGENT_TIERING and GLACIER_IR: a snapshot in another is not readable at once, or lies in one zone."
  }
}

variable "kms_key_arn" {
  description = "A KMS key of the vault's own, with the policy that this module puts out; without it, S3's own encryption."
  type        = string
  default     = null

  validation {
    condition     = var.kms_key_arn == null || can(regex("^arn:[a-z-]+:kms:[a-z0-9-]+:[0-9]{12}:key/[A-Za-z0-9-]+$", var.kms_key_arn))
    error_message = "A key is named by its whole ARN, not by an alias or a pattern."
  }
}

variable "sources" {
  description = "Where the tables are."
  type = list(object({
    bucket = string
    prefix = optional(string, "")
  }))
  default = []

  validation {
    condition     = alltrue([for source in var.sources : can(regex("^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$", source.bucket)) && !can(regex("[*?$\"\\\\]", source.prefix))])
    error_message = "A source is one bucket by its whole name, and a prefix without *, ?, $, quotes and backslashes."
  }

  validation {
    condition     = alltrue([for source in var.sources : source.bucket != var.bucket && source.bucket != coalesce(var.replica_bucket, "-") && source.bucket != "${var.bucket}-trail"])
    error_message = "The vault, its replica and its trail are not sources: a role that writes into a source would write into them."
  }
}

variable "source_kms_key_arns" {
  description = "The KMS keys that the sources are encrypted with."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for arn in var.source_kms_key_arns : can(regex("^arn:[a-z-]+:kms:[a-z0-9-]+:[0-9]{12}:key/[A-Za-z0-9-]+$", arn)) && arn != coalesce(var.kms_key_arn, "-")])
    error_message = "A key is named by its whole ARN, not by an alias or a pattern, and is not the vault's own."
  }
}

variable "role_prefix" {
  description = "What the names of the roles begin with, before a hyphen and the role."
  type        = string
  default     = "deltavault"

  validation {
    condition     = can(regex("^[A-Za-z0-9_-]{1,40}$", var.role_prefix))
    error_message = "A role prefix has 1 to 40 letters, digits, underscores and hyphens."
  }
}

variable "trusted_arns" {
  description = "Who may assume each role, by role; a role that nobody is named for is not made."
  type        = map(list(string))

  validation {
    condition = alltrue([
      for role, arns in var.trusted_arns :
      contains(["snapshotter", "restorer", "auditor", "verifier", "pruner", "holder"], role) && length(arns) > 0
    ])
    error_message = "The roles are snapshotter, restorer, auditor, verifier, pruner and holder, each with somebody."
  }

  validation {
    condition     = alltrue([for arn in flatten(values(var.trusted_arns)) : can(regex("^arn:[a-z-]+:iam::[0-9]{12}:(role|user)/[A-Za-z0-9+=,.@_/-]+$", arn))])
    error_message = "Name each principal by the whole ARN of a role or a user: * or an account would be anybody."
  }
}

variable "external_id" {
  description = "What anyone who assumes a role has to present."
  type        = string
  sensitive   = true

  validation {
    condition     = can(regex("^[A-Za-z0-9+=,.@:/-]{2,}$", var.external_id)) && length(var.external_id) <= 1224
    error_message = "An external id has 2 to 1224 letters, digits and any of + = , . @ : / -."
  }
}

variable "session_hours" {
  description = "How long a session of a role may be. Stolen session keys work for that long; a run that takes longer assumes its role again."
  type        = number
  default     = 1

  validation {
    condition     = var.session_hours >= 1 && var.session_hours <= 12 && floor(var.session_hours) == var.session_hours
    error_message = "A session has 1 to 12 whole hours."
  }
}

variable "break_glass_arns" {
  description = "Who may change the bucket's configuration and read the vault; whoever applies this module has to be among them."
  type        = list(string)

  validation {
    condition     = length(var.break_glass_arns) > 0 && alltrue([for arn in var.break_glass_arns : can(regex("^arn:[a-z-]+:iam::[0-9]{12}:(role|user)/[A-Za-z0-9+=,.@_/-]+$", arn))])
    error_message = "Name at least one principal, each by the whole ARN of a role or a user."
  }

  validation {
    condition     = length(setintersection(var.break_glass_arns, flatten([values(var.trusted_arns), var.replica_trusted_arns]))) == 0
    error_message = "Anyone who may break the glass may not assume a role too: one stolen identity would have both."
  }
}

variable "vpc_endpoint_ids" {
  description = "The VPC endpoints that calls on the vault have to come through; any way without. The break-glass principal is let in from anywhere."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for id in var.vpc_endpoint_ids : can(regex("^vpce-[0-9a-f]{8,17}$", id))])
    error_message = "The id of a VPC endpoint is vpce- and hexadecimal digits."
  }
}

variable "org_ids" {
  description = "The organisations that callers have to belong to; any without. The break-glass principal is let in all the same."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for id in var.org_ids : can(regex("^o-[a-z0-9]{10,32}$", id))])
    error_message = "The id of an organisation is o- and 10 to 32 lower-case letters and digits."
  }
}

variable "replica_bucket" {
  description = "A bucket in the replica's region that this module creates and replicates to; none without."
  type        = string
  default     = null

  validation {
    condition     = var.replica_bucket == null || can(regex("^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$", var.replica_bucket))
    error_message = "A bucket's name has 3 to 63 lower-case letters, digits, dots and hyphens."
  }

  validation {
    condition     = var.replica_bucket == null || !contains([var.bucket, "${var.bucket}-trail"], coalesce(var.replica_bucket, "-"))
    error_message = "The replica is another bucket than the vault and its trail."
  }
}

variable "replica_trusted_arns" {
  description = "Who may assume the role that reads the replica and restores from it; without, nobody can before IAM is changed."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for arn in var.replica_trusted_arns : can(regex("^arn:[a-z-]+:iam::[0-9]{12}:(role|user)/[A-Za-z0-9+=,.@_/-]+$", arn))])
    error_message = "Name each principal by the whole ARN of a role or a user: * or an account would be anybody."
  }

  validation {
    condition     = length(var.replica_trusted_arns) == 0 || var.replica_bucket != null
    error_message = "Without a replica there is nothing to restore from: name replica_bucket."
  }
}

variable "trail" {
  description = "Whether to record every call on the vault's objects and every change around it, with alarms."
  type        = bool
  default     = true
}

variable "trail_days" {
  description = "How long the trail's own files are locked, in the vault's lock mode."
  type        = number
  default     = 400

  validation {
    condition     = var.trail_days >= 30 && var.trail_days <= 3650 && floor(var.trail_days) == var.trail_days
    error_message = "The trail's files are locked for 30 to 3650 whole days."
  }
}

variable "silence_hours" {
  description = "After how many hours without a single event the trail counts as stopped."
  type        = number
  default     = 26

  validation {
    condition     = var.silence_hours >= 1 && var.silence_hours <= 168 && floor(var.silence_hours) == var.silence_hours
    error_message = "CloudWatch looks back over 1 to 168 hours."
  }
}

variable "alarm_topic_arns" {
  description = "The SNS topics that alarms go to."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for arn in var.alarm_topic_arns : can(regex("^arn:[a-z-]+:sns:[a-z0-9-]+:[0-9]{12}:[A-Za-z0-9_-]+$", arn))])
    error_message = "Name each topic by its whole ARN."
  }

  validation {
    condition     = !var.trail || length(var.alarm_topic_arns) > 0
    error_message = "Alarms that go nowhere are none: name a topic, or set trail to false."
  }
}

variable "tags" {
  description = "Tags of everything that this module creates."
  type        = map(string)
  default     = {}
}
