# What rings. Each pattern is looked for in the trail's log; a pattern has at most 1,024 characters.

locals {
  trail_name = "${var.role_prefix}-${var.bucket}"

  vault_buckets = compact([var.bucket, var.replica_bucket])
  of_the_vault  = "(${join(" || ", [for bucket in local.vault_buckets : "($.requestParameters.bucketName = \"${bucket}\")"])})"
  deletion      = "(($.eventName = \"DeleteObject\") || ($.eventName = \"DeleteObjects\"))"
  issuer        = "$.userIdentity.sessionContext.sessionIssuer.arn"

  # The event names that each alarm is about, of one service.
  changes = {
    trail-changes = {
      description = "Somebody stopped, deleted or changed the trail, or tried to."
      service     = "cloudtrail"
      events      = ["StopLogging", "DeleteTrail", "UpdateTrail", "PutEventSelectors"]
    }
    log-changes = {
      description = "Somebody deleted or shortened the trail's log, or tried to."
      service     = "logs"
      events      = ["DeleteLogGroup", "DeleteLogStream", "DeleteMetricFilter", "PutMetricFilter", "PutRetentionPolicy"]
    }
    alarm-changes = {
      description = "Somebody deleted, changed or silenced an alarm, or tried to."
      service     = "monitoring"
      events      = ["DeleteAlarms", "DisableAlarmActions", "PutMetricAlarm"]
    }
    key-changes = {
      description = "Somebody disabled a key, scheduled its deletion or changed its policy, or tried to."
      service     = "kms"
      events      = ["ScheduleKeyDeletion", "DisableKey", "DeleteImportedKeyMaterial", "PutKeyPolicy"]
    }
    side-doors = {
      description = "Somebody created an access point or an access grant, or opened the account to the public, or tried to."
      service     = "s3"
      events      = ["CreateAccess*", "PutAccess*", "CreateMultiRegionAccessPoint", "PutMultiRegionAccessPointPolicy", "PutAccountPublicAccessBlock", "DeleteAccountPublicAccessBlock"]
    }
  }

  role_events = ["CreateRole", "PutRolePolicy", "AttachRolePolicy", "DeleteRolePolicy", "DetachRolePolicy", "UpdateAssumeRolePolicy", "PutRolePermissionsBoundary", "DeleteRolePermissionsBoundary", "UpdateRole", "DeleteRole"]

  alarms = merge(
    {
      for name, change in local.changes : name => {
        description = change.description
        pattern     = "{ ($.eventSource = \"${change.service}.amazonaws.com\") && (${join(" || ", [for event in change.events : "($.eventName = \"${event}\")"])}) }"
      }
    },
    {
      denied-deletes = {
        description = "Somebody was refused a deletion in the vault. A batch of deletions is not refused as a whole: deletes-by-others tells of it."
        pattern     = "{ ${local.of_the_vault} && ($.errorCode = \"AccessDenied\") && ${local.deletion} }"
      }
      deletes-by-others = {
        description = "Somebody else than the pruner deleted in the vault, or tried to."
        pattern     = "{ ${local.of_the_vault} && ${local.deletion} && ((${local.issuer} NOT EXISTS) || (${local.issuer} != \"${local.role_arns["pruner"]}\")) }"
      }
      holds = {
        description = "Somebody put a legal hold on or took one off, or tried to."
        pattern     = "{ ${local.of_the_vault} && ($.eventName = \"PutObjectLegalHold\") }"
      }
      bucket-changes = {
        description = "Somebody changed, or tried to change, the configuration of the vault's bucket."
        pattern     = "{ ${local.of_the_vault} && (($.eventName = \"PutBucket*\") || ($.eventName = \"DeleteBucket*\") || ($.eventName = \"PutObjectLockConfiguration\") || ($.eventName = \"PutPublicAccessBlock\") || ($.eventName = \"DeletePublicAccessBlock\")) }"
      }
      role-changes = {
        description = "Somebody changed, or tried to change, what the vault's roles may do or who may assume them."
        pattern     = "{ ($.eventSource = \"iam.amazonaws.com\") && ($.requestParameters.roleName = \"${var.role_prefix}-*\") && (${join(" || ", [for event in local.role_events : "($.eventName = \"${event}\")"])}) }"
      }
    },
    {
      for number, arn in var.break_glass_arns : "break-glass-${number}" => {
        description = "${arn} was used or assumed."
        pattern     = "{ (${local.issuer} = \"${arn}\") || ($.userIdentity.arn = \"${arn}\") || ($.requestParameters.roleArn = \"${arn}\") }"
      }
    },
  )
}
