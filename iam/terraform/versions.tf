terraform {
  required_version = ">= 1.6"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.75"

      # The replica's region. Without a replica, pass the same provider twice.
      configuration_aliases = [aws.replica]
    }
  }
}
