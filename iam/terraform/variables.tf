variable "bucket" {
  description = "The vault's bucket, which this module creates. It belongs to one vault alone."
  type        = string

  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$", var.bucket))
    error_message = "A bucket's name has 3 to 63 lower-case letters, digits, dots and hyphens."
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

variable "lock_mode" {
  description = "GOVERNANCE or COMPLIANCE, as the vault was or will be made with. COMPLIANCE can never be undone."
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
    error_message = "No vault promises less than 3 days."
  }
}

variable "longest_days" {
  description = "The vault's longest promise; with a lock generation and a day, the ceiling of every lock."
  type        = number
  default     = 3650
}

variable "generation_days" {
  description = "The length of a lock generation of the vault."
  type        = number
  default     = 10
}

variable "storage_classes" {
  description = "The storage classes that objects may have."
  type        = list(string)
  default     = ["STANDARD"]
}

variable "kms_key_arn" {
  description = "A KMS key of the vault's own, with the policy that this module puts out; without it, S3's own encryption."
  type        = string
  default     = null
}

variable "sources" {
  description = "Where the tables are."
  type = list(object({
    bucket = string
    prefix = optional(string, "")
  }))
  default = []
}

variable "source_kms_key_arns" {
  description = "The KMS keys that the sources are encrypted with."
  type        = list(string)
  default     = []
}

variable "role_prefix" {
  description = "What the names of the roles begin with, before a hyphen and the role."
  type        = string
  default     = "deltavault"
}

variable "trusted_arns" {
  description = "Who may take on each role, by role; a role that nobody is named for is not made."
  type        = map(list(string))

  validation {
    condition = alltrue([
      for role, arns in var.trusted_arns :
      contains(["snapshotter", "restorer", "auditor", "verifier", "pruner", "holder"], role) && length(arns) > 0
    ])
    error_message = "The roles are snapshotter, restorer, auditor, verifier, pruner and holder, each with somebody."
  }
}

variable "external_id" {
  description = "What who takes on a role has to say."
  type        = string
  sensitive   = true
}

variable "break_glass_arns" {
  description = "Who may change the bucket's configuration; whoever applies this module has to be among them."
  type        = list(string)

  validation {
    condition     = length(var.break_glass_arns) > 0 && alltrue([for arn in var.break_glass_arns : can(regex("^arn:[^*?]+$", arn))])
    error_message = "Name at least one principal by its whole ARN."
  }
}

variable "replica_bucket" {
  description = "A bucket in the replica's region that this module creates and replicates to; none without."
  type        = string
  default     = null
}

variable "trail" {
  description = "Whether to record every call on the vault's objects, with alarms on denied deletes and on changed walls."
  type        = bool
  default     = true
}

variable "alarm_topic_arns" {
  description = "The SNS topics that alarms go to."
  type        = list(string)
  default     = []
}

variable "tags" {
  description = "Tags of everything that this module creates."
  type        = map(string)
  default     = {}
}
