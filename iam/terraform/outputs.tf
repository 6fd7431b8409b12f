output "vault" {
  description = "The vault, as --vault takes it."
  value       = "s3://${aws_s3_bucket.vault.id}${var.prefix == "" ? "" : "/${var.prefix}"}"
}

output "init" {
  description = "The command that makes the vault with the terms of this module, to be run while before_init is true."
  value = join(" ", [
    "deltavault --vault s3://${aws_s3_bucket.vault.id}${var.prefix == "" ? "" : "/${var.prefix}"} init",
    "--mode ${lower(var.lock_mode)} --shortest ${var.shortest_days} --longest ${var.longest_days} --generation ${var.generation_days}",
  ])
}

output "replica" {
  description = "The replica, as --vault takes it, and the role that restores from it."
  value = var.replica_bucket == null ? null : {
    vault = "s3://${var.replica_bucket}${var.prefix == "" ? "" : "/${var.prefix}"}"
    role  = one([for made in aws_iam_role.replica_restorer : made.arn])
  }
}

output "role_arns" {
  description = "The roles that were made, by name."
  value       = { for role, made in aws_iam_role.role : role => made.arn }
}

output "source_grant" {
  description = "Statements for the policy of a source bucket in another account; for sources in one bucket."
  value       = local.documents["source-grant"]

  # AWS refuses a policy that names a role before it is made.
  depends_on = [aws_iam_role.role]
}

output "kms_key_policy" {
  description = "The policy of a KMS key of the vault's own."
  value       = local.kms_key_policy

  depends_on = [aws_iam_role.role]
}

output "scp" {
  description = "A service control policy for the vault's account."
  value       = local.documents["scp"]
}
