# A vault in Ireland with a replica in Frankfurt, for the tables below s3://acme-lake/sales.

terraform {
  required_version = ">= 1.9"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.75, < 6.0"
    }
  }
}

provider "aws" {
  region = "eu-west-1"
}

provider "aws" {
  alias  = "replica"
  region = "eu-central-1"
}

variable "external_id" {
  description = "What who takes on a role has to say."
  type        = string
  sensitive   = true
}

module "vault" {
  source = "../"

  providers = {
    aws         = aws
    aws.replica = aws.replica
  }

  bucket         = "acme-vault"
  prefix         = "lake"
  lock_mode      = "COMPLIANCE"
  shortest_days  = 7
  longest_days   = 400
  replica_bucket = "acme-vault-replica"

  sources = [{ bucket = "acme-lake", prefix = "sales" }]

  trusted_arns = {
    snapshotter = ["arn:aws:iam::444455556666:role/backup-runner"]
    restorer    = ["arn:aws:iam::444455556666:role/on-call"]
    auditor     = ["arn:aws:iam::444455556666:role/audit"]
    verifier    = ["arn:aws:iam::444455556666:role/backup-runner"]
    pruner      = ["arn:aws:iam::111122223333:role/prune-runner"]
    holder      = ["arn:aws:iam::111122223333:role/legal"]
  }

  # When s3://acme-vault is gone.
  replica_trusted_arns = ["arn:aws:iam::444455556666:role/on-call"]

  # The runners call from this network alone.
  vpc_endpoint_ids = ["vpce-0a1b2c3d4e5f67890"]
  org_ids          = ["o-a1b2c3d4e5"]

  external_id      = var.external_id
  break_glass_arns = ["arn:aws:iam::111122223333:role/break-glass"]
  alarm_topic_arns = ["arn:aws:sns:eu-west-1:111122223333:security"]
}

output "vault" {
  value = module.vault.vault
}

output "role_arns" {
  value = module.vault.role_arns
}

# For the policy of s3://acme-lake, in its own account.
output "source_grant" {
  value = module.vault.source_grant
}

# For the organisation that the vault's account is in.
output "scp" {
  value = module.vault.scp
}
