# One role a task. Only those are made that somebody is named for.

resource "aws_iam_role" "role" {
  for_each = var.trusted_arns

  name                 = "${var.role_prefix}-${each.key}"
  description          = "deltavault: ${each.key} of ${var.bucket}"
  assume_role_policy   = local.trust_policies[each.key]
  max_session_duration = var.session_hours * 60 * 60
  tags                 = var.tags
}

resource "aws_iam_role_policy" "role" {
  for_each = var.trusted_arns

  name   = "deltavault"
  role   = aws_iam_role.role[each.key].id
  policy = local.documents[each.key]
}

# Nothing else may be attached to them, by anybody who applies this.
resource "aws_iam_role_policies_exclusive" "role" {
  for_each = var.trusted_arns

  role_name    = aws_iam_role.role[each.key].name
  policy_names = [aws_iam_role_policy.role[each.key].name]
}

resource "aws_iam_role_policy_attachments_exclusive" "role" {
  for_each = var.trusted_arns

  role_name   = aws_iam_role.role[each.key].name
  policy_arns = []
}
