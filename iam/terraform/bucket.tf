# The vault's bucket. Its policy goes on last, because it refuses changes of everything else here to all but the
# break-glass principal.

resource "aws_s3_bucket" "vault" {
  bucket              = var.bucket
  object_lock_enabled = true
  tags                = var.tags

  lifecycle {
    prevent_destroy = true
  }
}

resource "aws_s3_bucket_versioning" "vault" {
  bucket = aws_s3_bucket.vault.id

  versioning_configuration {
    status = "Enabled"
  }
}

# The floor: what is put without a lock, parts and their completion too, gets this one.
resource "aws_s3_bucket_object_lock_configuration" "vault" {
  bucket = aws_s3_bucket.vault.id

  rule {
    default_retention {
      mode = var.lock_mode
      days = var.shortest_days
    }
  }

  depends_on = [aws_s3_bucket_versioning.vault]
}

resource "aws_s3_bucket_public_access_block" "vault" {
  bucket = aws_s3_bucket.vault.id

  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_ownership_controls" "vault" {
  bucket = aws_s3_bucket.vault.id

  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

resource "aws_s3_bucket_server_side_encryption_configuration" "vault" {
  bucket = aws_s3_bucket.vault.id

  rule {
    bucket_key_enabled = var.kms_key_arn != null

    apply_server_side_encryption_by_default {
      sse_algorithm     = var.kms_key_arn == null ? "AES256" : "aws:kms"
      kms_master_key_id = var.kms_key_arn
    }
  }
}

# Unfinished uploads, and nothing else: nobody may abort one, and no rule may expire what a snapshot needs.
resource "aws_s3_bucket_lifecycle_configuration" "vault" {
  bucket = aws_s3_bucket.vault.id

  rule {
    id     = "unfinished-uploads"
    status = "Enabled"

    filter {}

    abort_incomplete_multipart_upload {
      days_after_initiation = 7
    }
  }

  depends_on = [aws_s3_bucket_versioning.vault]
}

resource "aws_s3_bucket_policy" "vault" {
  count = var.before_init ? 0 : 1

  bucket = aws_s3_bucket.vault.id
  policy = local.documents["bucket-policy"]

  depends_on = [
    aws_s3_bucket_lifecycle_configuration.vault,
    aws_s3_bucket_object_lock_configuration.vault,
    aws_s3_bucket_ownership_controls.vault,
    aws_s3_bucket_public_access_block.vault,
    aws_s3_bucket_replication_configuration.vault,
    aws_s3_bucket_server_side_encryption_configuration.vault,
  ]
}
