# A second bucket in another region with the same walls. What is replicated keeps its lock; delete markers and deletions
# are not replicated, so the pruner's work has to be done there as well, or the replica keeps everything.

locals {
  replicas = var.replica_bucket == null ? toset([]) : toset([var.replica_bucket])
}

resource "aws_s3_bucket" "replica" {
  for_each = local.replicas
  provider = aws.replica

  bucket              = each.value
  object_lock_enabled = true
  tags                = var.tags

  lifecycle {
    prevent_destroy = true

    precondition {
      condition     = var.kms_key_arn == null
      error_message = "A replica is encrypted by S3 itself: a key of the vault's own is not replicated by this module."
    }
  }
}

resource "aws_s3_bucket_versioning" "replica" {
  for_each = local.replicas
  provider = aws.replica

  bucket = aws_s3_bucket.replica[each.value].id

  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_s3_bucket_object_lock_configuration" "replica" {
  for_each = local.replicas
  provider = aws.replica

  bucket = aws_s3_bucket.replica[each.value].id

  rule {
    default_retention {
      mode = var.lock_mode
      days = var.shortest_days
    }
  }

  depends_on = [aws_s3_bucket_versioning.replica]
}

resource "aws_s3_bucket_public_access_block" "replica" {
  for_each = local.replicas
  provider = aws.replica

  bucket = aws_s3_bucket.replica[each.value].id

  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_ownership_controls" "replica" {
  for_each = local.replicas
  provider = aws.replica

  bucket = aws_s3_bucket.replica[each.value].id

  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

resource "aws_s3_bucket_server_side_encryption_configuration" "replica" {
  for_each = local.replicas
  provider = aws.replica

  bucket = aws_s3_bucket.replica[each.value].id

  rule {
    apply_server_side_encryption_by_default {
      sse_algorithm = "AES256"
    }
  }
}

resource "aws_s3_bucket_policy" "replica" {
  for_each = var.before_init ? toset([]) : local.replicas
  provider = aws.replica

  bucket = aws_s3_bucket.replica[each.value].id
  policy = local.documents["replica-bucket-policy"]

  depends_on = [
    aws_s3_bucket_object_lock_configuration.replica,
    aws_s3_bucket_ownership_controls.replica,
    aws_s3_bucket_public_access_block.replica,
    aws_s3_bucket_server_side_encryption_configuration.replica,
  ]
}

data "aws_iam_policy_document" "replication_trust" {
  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["s3.amazonaws.com"]
    }

    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [local.account]
    }
  }
}

data "aws_iam_policy_document" "replication" {
  for_each = local.replicas

  statement {
    actions   = ["s3:GetReplicationConfiguration", "s3:ListBucket"]
    resources = [aws_s3_bucket.vault.arn]
  }

  statement {
    actions = [
      "s3:GetObjectLegalHold",
      "s3:GetObjectRetention",
      "s3:GetObjectVersionAcl",
      "s3:GetObjectVersionForReplication",
      "s3:GetObjectVersionTagging",
    ]
    resources = ["${aws_s3_bucket.vault.arn}/*"]
  }

  statement {
    actions   = ["s3:ReplicateObject", "s3:ReplicateTags"]
    resources = ["${aws_s3_bucket.replica[each.value].arn}/*"]
  }
}

resource "aws_iam_role" "replication" {
  for_each = local.replicas

  name               = "${var.role_prefix}-replication"
  assume_role_policy = data.aws_iam_policy_document.replication_trust.json
  tags               = var.tags
}

resource "aws_iam_role_policy" "replication" {
  for_each = local.replicas

  name   = "replication"
  role   = aws_iam_role.replication[each.value].id
  policy = data.aws_iam_policy_document.replication[each.value].json
}

resource "aws_s3_bucket_replication_configuration" "vault" {
  for_each = local.replicas

  bucket = aws_s3_bucket.vault.id
  role   = aws_iam_role.replication[each.value].arn

  rule {
    id     = "everything"
    status = "Enabled"

    filter {}

    delete_marker_replication {
      status = "Disabled"
    }

    destination {
      bucket        = aws_s3_bucket.replica[each.value].arn
      storage_class = "STANDARD"
    }
  }

  depends_on = [
    aws_s3_bucket_versioning.replica,
    aws_s3_bucket_versioning.vault,
  ]
}

# The vault's own roles may not read the replica. This one restores from it when the vault is gone.
resource "aws_iam_role" "replica_restorer" {
  for_each = length(var.replica_trusted_arns) > 0 ? local.replicas : toset([])

  name                 = "${var.role_prefix}-replica-restorer"
  description          = "deltavault: restores from ${each.value}"
  assume_role_policy   = local.trust_policies["replica-restorer"]
  max_session_duration = var.session_hours * 60 * 60
  tags                 = var.tags
}

resource "aws_iam_role_policy" "replica_restorer" {
  for_each = aws_iam_role.replica_restorer

  name   = "deltavault"
  role   = each.value.id
  policy = local.documents["replica-restorer"]
}

resource "aws_iam_role_policies_exclusive" "replica_restorer" {
  for_each = aws_iam_role.replica_restorer

  role_name    = each.value.name
  policy_names = [aws_iam_role_policy.replica_restorer[each.key].name]
}

resource "aws_iam_role_policy_attachments_exclusive" "replica_restorer" {
  for_each = aws_iam_role.replica_restorer

  role_name   = each.value.name
  policy_arns = []
}
