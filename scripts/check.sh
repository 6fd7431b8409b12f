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
# What is shipped lacks the feature that the tests bring.
step cargo clippy --locked -- -D warnings
# Two more than there are processors: some tests wait for a server most of the time.
export RUST_TEST_THREADS=${RUST_TEST_THREADS:-$(($(nproc) + 2))}
step cargo test --locked
step env RUSTDOCFLAGS=-Dwarnings cargo doc --locked --no-deps
if [[ -z ${DELTAVAULT_TEST_DENY-1} ]]; then
  echo "== DELTAVAULT_TEST_DENY is empty: licences, sources and advisories of dependencies are not checked" >&2
  exit
fi
cargo deny --version >/dev/null 2>&1 || {
  echo "cargo deny is missing: scripts/test brings it, and DELTAVAULT_TEST_DENY= goes without" >&2
  exit 1
}
step cargo deny --locked check bans licenses sources
# Advisories come from outside and change by the day: they are printed and fail nothing, so that a commit that has passed
# passes again.
if timeout 60 cargo deny fetch db >/dev/null 2>&1; then
  step cargo deny --locked check --disable-fetch advisories || echo "== advisories: see above" >&2
else
  echo "== the database of advisories cannot be fetched: they are not checked" >&2
fi
