# What is done in the vault is on record, and what was refused or changed in its walls rings.

locals {
  trails     = var.trail ? toset(["trail"]) : toset([])
  trail_name = "${var.role_prefix}-${var.bucket}"
  trail_arn  = "arn:${local.partition}:cloudtrail:${data.aws_region.current.name}:${local.account}:trail/${local.trail_name}"

  of_the_vault = "($.requestParameters.bucketName = \"${var.bucket}\")"

  alarms = {
    denied-deletes = {
      description = "Somebody was refused a deletion in the vault."
      pattern     = "{ ${local.of_the_vault} && ($.errorCode = \"AccessDenied\") && (($.eventName = \"DeleteObject\") || ($.eventName = \"DeleteObjects\")) }"
    }
    bucket-changes = {
      description = "Somebody changed, or tried to change, the configuration of the vault's bucket."
      pattern     = "{ ${local.of_the_vault} && (($.eventName = \"PutBucket*\") || ($.eventName = \"DeleteBucket*\") || ($.eventName = \"PutObjectLockConfiguration\") || ($.eventName = \"PutPublicAccessBlock\") || ($.eventName = \"DeletePublicAccessBlock\")) }"
    }
    role-changes = {
      description = "Somebody changed, or tried to change, what the vault's roles may do or who may take them on."
      pattern     = "{ ($.eventSource = \"iam.amazonaws.com\") && ($.requestParameters.roleName = \"${var.role_prefix}-*\") && (($.eventName = \"CreateRole\") || ($.eventName = \"PutRolePolicy\") || ($.eventName = \"AttachRolePolicy\") || ($.eventName = \"DeleteRolePolicy\") || ($.eventName = \"DetachRolePolicy\") || ($.eventName = \"UpdateAssumeRolePolicy\") || ($.eventName = \"DeleteRole\")) }"
    }
    key-changes = {
      description = "Somebody disabled a key, scheduled its deletion or changed its policy, or tried to."
      pattern     = "{ ($.eventSource = \"kms.amazonaws.com\") && (($.eventName = \"ScheduleKeyDeletion\") || ($.eventName = \"DisableKey\") || ($.eventName = \"DeleteImportedKeyMaterial\") || ($.eventName = \"PutKeyPolicy\")) }"
    }
  }
}

data "aws_region" "current" {}

resource "aws_s3_bucket" "trail" {
  for_each = local.trails

  bucket = "${var.bucket}-trail"
  tags   = var.tags
}

resource "aws_s3_bucket_public_access_block" "trail" {
  for_each = local.trails

  bucket = aws_s3_bucket.trail[each.value].id

  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

data "aws_iam_policy_document" "trail_bucket" {
  for_each = local.trails

  statement {
    sid       = "TrailAsksWhoseBucket"
    actions   = ["s3:GetBucketAcl"]
    resources = [aws_s3_bucket.trail[each.value].arn]

    principals {
      type        = "Service"
      identifiers = ["cloudtrail.amazonaws.com"]
    }

    condition {
      test     = "StringEquals"
      variable = "aws:SourceArn"
      values   = [local.trail_arn]
    }
  }

  statement {
    sid       = "TrailWrites"
    actions   = ["s3:PutObject"]
    resources = ["${aws_s3_bucket.trail[each.value].arn}/AWSLogs/${local.account}/*"]

    principals {
      type        = "Service"
      identifiers = ["cloudtrail.amazonaws.com"]
    }

    condition {
      test     = "StringEquals"
      variable = "s3:x-amz-acl"
      values   = ["bucket-owner-full-control"]
    }

    condition {
      test     = "StringEquals"
      variable = "aws:SourceArn"
      values   = [local.trail_arn]
    }
  }
}

resource "aws_s3_bucket_policy" "trail" {
  for_each = local.trails

  bucket = aws_s3_bucket.trail[each.value].id
  policy = data.aws_iam_policy_document.trail_bucket[each.value].json

  depends_on = [aws_s3_bucket_public_access_block.trail]
}

resource "aws_cloudwatch_log_group" "trail" {
  for_each = local.trails

  name              = "/deltavault/${local.trail_name}"
  retention_in_days = 400
  tags              = var.tags
}

data "aws_iam_policy_document" "trail_trust" {
  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["cloudtrail.amazonaws.com"]
    }
  }
}

data "aws_iam_policy_document" "trail_logs" {
  for_each = local.trails

  statement {
    actions   = ["logs:CreateLogStream", "logs:PutLogEvents"]
    resources = ["${aws_cloudwatch_log_group.trail[each.value].arn}:*"]
  }
}

resource "aws_iam_role" "trail" {
  for_each = local.trails

  name               = "${var.role_prefix}-trail"
  assume_role_policy = data.aws_iam_policy_document.trail_trust.json
  tags               = var.tags
}

resource "aws_iam_role_policy" "trail" {
  for_each = local.trails

  name   = "logs"
  role   = aws_iam_role.trail[each.value].id
  policy = data.aws_iam_policy_document.trail_logs[each.value].json
}

resource "aws_cloudtrail" "vault" {
  for_each = local.trails

  name                          = local.trail_name
  s3_bucket_name                = aws_s3_bucket.trail[each.value].id
  cloud_watch_logs_group_arn    = "${aws_cloudwatch_log_group.trail[each.value].arn}:*"
  cloud_watch_logs_role_arn     = aws_iam_role.trail[each.value].arn
  enable_log_file_validation    = true
  include_global_service_events = true
  is_multi_region_trail         = true
  tags                          = var.tags

  advanced_event_selector {
    name = "Everything that is done to the vault's objects"

    field_selector {
      field  = "eventCategory"
      equals = ["Data"]
    }

    field_selector {
      field  = "resources.type"
      equals = ["AWS::S3::Object"]
    }

    field_selector {
      field       = "resources.ARN"
      starts_with = ["${aws_s3_bucket.vault.arn}/"]
    }
  }

  advanced_event_selector {
    name = "Everything that changes configuration"

    field_selector {
      field  = "eventCategory"
      equals = ["Management"]
    }

    field_selector {
      field  = "readOnly"
      equals = ["false"]
    }
  }

  depends_on = [aws_s3_bucket_policy.trail]
}

resource "aws_cloudwatch_log_metric_filter" "wall" {
  for_each = var.trail ? local.alarms : {}

  name           = "${local.trail_name}-${each.key}"
  log_group_name = aws_cloudwatch_log_group.trail["trail"].name
  pattern        = each.value.pattern

  metric_transformation {
    name      = "${local.trail_name}-${each.key}"
    namespace = "deltavault"
    value     = "1"
  }
}

resource "aws_cloudwatch_metric_alarm" "wall" {
  for_each = var.trail ? local.alarms : {}

  alarm_name          = "${local.trail_name}-${each.key}"
  alarm_description   = each.value.description
  namespace           = "deltavault"
  metric_name         = aws_cloudwatch_log_metric_filter.wall[each.key].metric_transformation[0].name
  statistic           = "Sum"
  period              = 300
  evaluation_periods  = 1
  threshold           = 1
  comparison_operator = "GreaterThanOrEqualToThreshold"
  treat_missing_data  = "notBreaching"
  alarm_actions       = var.alarm_topic_arns
  tags                = var.tags
}
