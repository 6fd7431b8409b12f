# What is done in the vault is on record, and what was refused or changed in its walls rings.

locals {
  trails    = var.trail ? toset(["trail"]) : toset([])
  trail_arn = "arn:${local.partition}:cloudtrail:${local.region}:${local.account}:trail/${local.trail_name}"
}

resource "aws_s3_bucket" "trail" {
  for_each = local.trails

  bucket              = "${var.bucket}-trail"
  object_lock_enabled = true
  tags                = var.tags

  lifecycle {
    prevent_destroy = true
  }
}

resource "aws_s3_bucket_versioning" "trail" {
  for_each = local.trails

  bucket = aws_s3_bucket.trail[each.value].id

  versioning_configuration {
    status = "Enabled"
  }
}

# CloudTrail asks for no lock, so that each log file gets this one.
resource "aws_s3_bucket_object_lock_configuration" "trail" {
  for_each = local.trails

  bucket = aws_s3_bucket.trail[each.value].id

  rule {
    default_retention {
      mode = var.lock_mode
      days = var.trail_days
    }
  }

  depends_on = [aws_s3_bucket_versioning.trail]
}

resource "aws_s3_bucket_ownership_controls" "trail" {
  for_each = local.trails

  bucket = aws_s3_bucket.trail[each.value].id

  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

resource "aws_s3_bucket_server_side_encryption_configuration" "trail" {
  for_each = local.trails

  bucket = aws_s3_bucket.trail[each.value].id

  rule {
    apply_server_side_encryption_by_default {
      sse_algorithm = "AES256"
    }
  }
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
    sid       = "DenyPlainHttp"
    effect    = "Deny"
    actions   = ["s3:*"]
    resources = [aws_s3_bucket.trail[each.value].arn, "${aws_s3_bucket.trail[each.value].arn}/*"]

    principals {
      type        = "*"
      identifiers = ["*"]
    }

    condition {
      test     = "Bool"
      variable = "aws:SecureTransport"
      values   = ["false"]
    }
  }

  # What the lock of a log file does not refuse.
  statement {
    sid       = "DenyDeletes"
    effect    = "Deny"
    actions   = ["s3:DeleteObject", "s3:DeleteObjectVersion", "s3:BypassGovernanceRetention"]
    resources = ["${aws_s3_bucket.trail[each.value].arn}/*"]

    principals {
      type        = "*"
      identifiers = ["*"]
    }
  }

  statement {
    sid    = "DenyConfigurationChanges"
    effect = "Deny"
    actions = [
      "s3:DeleteBucket",
      "s3:DeleteBucketPolicy",
      "s3:PutBucketObjectLockConfiguration",
      "s3:PutBucketOwnershipControls",
      "s3:PutBucketPolicy",
      "s3:PutBucketPublicAccessBlock",
      "s3:PutBucketVersioning",
      "s3:PutEncryptionConfiguration",
      "s3:PutLifecycleConfiguration",
      "s3:PutReplicationConfiguration",
    ]
    resources = [aws_s3_bucket.trail[each.value].arn]

    principals {
      type        = "*"
      identifiers = ["*"]
    }

    condition {
      test     = "ArnNotLike"
      variable = "aws:PrincipalArn"
      values   = var.break_glass_arns
    }
  }

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

  depends_on = [
    aws_s3_bucket_object_lock_configuration.trail,
    aws_s3_bucket_ownership_controls.trail,
    aws_s3_bucket_public_access_block.trail,
    aws_s3_bucket_server_side_encryption_configuration.trail,
  ]
}

resource "aws_cloudwatch_log_group" "trail" {
  for_each = local.trails

  name              = "/deltavault/${local.trail_name}"
  retention_in_days = 400

  lifecycle {
    prevent_destroy = true
  }

  tags = var.tags
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
      starts_with = [for bucket in local.vault_buckets : "arn:${local.partition}:s3:::${bucket}/"]
    }
  }

  # Also what only reads: assuming a role is such an event.
  advanced_event_selector {
    name = "Everything that is done to roles, keys, buckets and the trail"

    field_selector {
      field  = "eventCategory"
      equals = ["Management"]
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

# A trail that was stopped records nothing, and nothing rings: so silence rings.
resource "aws_cloudwatch_metric_alarm" "silence" {
  for_each = local.trails

  alarm_name          = "${local.trail_name}-silence"
  alarm_description   = "The trail recorded nothing for ${var.silence_hours} hours."
  namespace           = "AWS/Logs"
  metric_name         = "IncomingLogEvents"
  dimensions          = { LogGroupName = aws_cloudwatch_log_group.trail[each.value].name }
  statistic           = "Sum"
  period              = 3600
  evaluation_periods  = var.silence_hours
  datapoints_to_alarm = var.silence_hours
  threshold           = 1
  comparison_operator = "LessThanThreshold"
  treat_missing_data  = "breaching"
  alarm_actions       = var.alarm_topic_arns
  tags                = var.tags
}
