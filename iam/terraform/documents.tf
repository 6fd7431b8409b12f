# The same templates that `deltavault iam render` fills in, filled in by the same rule: `${name}` is text inside a string,
# or a JSON list, and a statement with an empty list of resources, principals or values is left out.

locals {
  prefix = var.prefix == "" ? "" : "${var.prefix}/"

  roles     = ["snapshotter", "restorer", "auditor", "verifier", "pruner", "holder"]
  role_arns = { for role in local.roles : role => "arn:${local.partition}:iam::${local.account}:role/${var.role_prefix}-${role}" }

  # Grants name these alone: AWS refuses a policy whose principal does not exist.
  made = [for role in local.roles : role if contains(keys(var.trusted_arns), role)]

  # Who restores from the replica, when the vault is gone.
  replica_restorer_arn  = "arn:${local.partition}:iam::${local.account}:role/${var.role_prefix}-replica-restorer"
  replica_restorer_arns = length(var.replica_trusted_arns) > 0 ? [local.replica_restorer_arn] : []

  data_readers = ["snapshotter", "restorer", "verifier"]

  sources = [
    for source in var.sources : {
      bucket = source.bucket
      prefix = trim(source.prefix, "/") == "" ? "" : "${trim(source.prefix, "/")}/"
    }
  ]

  source_values = {
    source_buckets = jsonencode(distinct([
      for source in local.sources : "arn:${local.partition}:s3:::${source.bucket}"
    ]))
    source_objects = jsonencode(distinct([
      for source in local.sources : "arn:${local.partition}:s3:::${source.bucket}/${source.prefix}*"
    ]))
    source_logs = jsonencode(distinct(flatten([
      for source in local.sources : [
        "arn:${local.partition}:s3:::${source.bucket}/${source.prefix}_delta_log/*",
        "arn:${local.partition}:s3:::${source.bucket}/${source.prefix}*/_delta_log/*",
      ]
    ])))
    source_log_prefixes = jsonencode(distinct(flatten([
      for source in local.sources : [
        "${source.prefix}_delta_log/*",
        "${source.prefix}*/_delta_log/*",
      ]
    ])))
    source_kms_keys = jsonencode(var.source_kms_key_arns)
  }

  # Nothing in here depends on the key: its own policy is filled in with these alone.
  role_values = {
    partition        = local.partition
    account          = local.account
    role_prefix      = var.role_prefix
    break_glass_arns = jsonencode(var.break_glass_arns)
    all_role_arns    = jsonencode([for role in local.made : local.role_arns[role]])
    writer_arns = jsonencode([
      for role in local.made : local.role_arns[role] if contains(["snapshotter", "restorer", "pruner", "holder"], role)
    ])
    source_reader_arns = jsonencode(concat(
      [for role in local.made : local.role_arns[role] if contains(["snapshotter", "restorer"], role)],
      local.replica_restorer_arns,
    ))
    restorer_arns = jsonencode(concat(
      [for role in local.made : local.role_arns[role] if role == "restorer"],
      local.replica_restorer_arns,
    ))
    auditor_arns        = jsonencode([for role in local.made : local.role_arns[role] if role == "auditor"])
    snapshotter_arns    = jsonencode([local.role_arns["snapshotter"]])
    pruner_arns         = jsonencode([local.role_arns["pruner"]])
    holder_arns         = jsonencode([local.role_arns["holder"]])
    event_restorer_arns = jsonencode([local.role_arns["restorer"]])
    reader_arns         = jsonencode(concat([for role in local.roles : local.role_arns[role]], var.break_glass_arns))
    data_reader_arns    = jsonencode(concat([for role in local.data_readers : local.role_arns[role]], var.break_glass_arns))
    anywhere_arns = jsonencode(concat(
      ["arn:${local.partition}:iam::${local.account}:role/${var.role_prefix}-replication"],
      var.break_glass_arns,
    ))
    guarded_role_arns = jsonencode(concat(
      ["arn:${local.partition}:iam::${local.account}:role/${var.role_prefix}-*"],
      var.break_glass_arns,
    ))
    vpc_endpoints = jsonencode(var.vpc_endpoint_ids)
    org_ids       = jsonencode(var.org_ids)
  }

  vault_values = merge(local.role_values, local.source_values, {
    bucket          = var.bucket
    prefix          = local.prefix
    floor_days      = tostring(var.shortest_days)
    ceiling_days    = tostring(var.longest_days + var.generation_days + 1)
    lock_mode       = var.lock_mode
    storage_classes = jsonencode(var.storage_classes)
    sse_algorithm   = var.kms_key_arn == null ? "AES256" : "aws:kms"
    kms_key         = var.kms_key_arn == null ? "none" : var.kms_key_arn
    kms_keys        = jsonencode(var.kms_key_arn == null ? [] : [var.kms_key_arn])
  })

  # The replica has the same walls, and one reader more.
  replica_values = merge(local.vault_values, {
    bucket              = var.replica_bucket == null ? "none" : var.replica_bucket
    reader_arns         = jsonencode(concat(jsondecode(local.role_values.reader_arns), local.replica_restorer_arns))
    data_reader_arns    = jsonencode(concat(jsondecode(local.role_values.data_reader_arns), local.replica_restorer_arns))
    event_restorer_arns = jsonencode(concat(jsondecode(local.role_values.event_restorer_arns), local.replica_restorer_arns))
  })

  filled = merge(
    {
      for role in local.roles :
      role => jsondecode(templatefile("${path.module}/../roles/${role}.json", local.vault_values))
    },
    {
      for name in ["bucket-policy", "source-grant", "scp"] :
      name => jsondecode(templatefile("${path.module}/../${name}.json", local.vault_values))
    },
    {
      "replica-bucket-policy" = jsondecode(templatefile("${path.module}/../bucket-policy.json", local.replica_values))
      "replica-restorer"      = jsondecode(templatefile("${path.module}/../roles/restorer.json", local.replica_values))
    },
  )

  documents = {
    for name, document in local.filled : name => jsonencode({
      Version = document.Version
      Statement = [
        for statement in document.Statement : statement
        if alltrue([
          for list in concat(
            [try(statement.Resource, "-"), try(statement.Principal.AWS, "-")],
            flatten([for keys in values(try(statement.Condition, {})) : [for list in values(keys) : jsonencode(list)]]),
          ) : length(flatten([list])) > 0 && list != "[]"
        ])
      ]
    })
  }

  key_document = jsondecode(templatefile("${path.module}/../kms-key-policy.json", local.role_values))
  kms_key_policy = jsonencode({
    Version = local.key_document.Version
    Statement = [
      for statement in local.key_document.Statement : statement
      if length(flatten([try(statement.Principal.AWS, "-")])) > 0
    ]
  })

  trusted = merge(
    var.trusted_arns,
    length(var.replica_trusted_arns) > 0 ? { replica-restorer = var.replica_trusted_arns } : {},
  )
  trust_policies = {
    for role, arns in local.trusted : role => templatefile("${path.module}/../trust.json", {
      trusted_arns = jsonencode(arns)
      external_id  = var.external_id
    })
  }
}
