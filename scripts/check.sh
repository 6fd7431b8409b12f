#!/usr/bin/env bash
# What has to hold at every commit. Needs what scripts/test sets up.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

step() {
  echo "== $*" >&2
  "$@"
}

step cargo fmt --check
step cargo clippy --locked --all-targets -- -D warnings
step cargo test --locked
step env RUSTDOCFLAGS=-Dwarnings cargo doc --locked --no-deps
if cargo deny --version >/dev/null 2>&1; then
  step cargo deny --locked check
else
  echo "== cargo deny is not installed: licences and advisories are not checked" >&2
fi
