terraform {
  # Variables are checked against each other since this version.
  required_version = ">= 1.9"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.75, < 6.0"

      # The replica's region. Without a replica, pass the same provider twice.
      configuration_aliases = [aws.replica]
    }
  }
}
