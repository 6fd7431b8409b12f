#!/usr/bin/env bash
# Splits packs of a vault into their files by their own trailers, where no page says what is in them: without deltavault, with
# bash, jq, sha256sum and coreutils, by src/format/spec.md. From a bucket, get the packs first: `aws s3api get-object`.
#
# Every file that is left was compared with the SHA-256 in the trailer. That it belongs to a table only the trailer says:
# nothing leads from here to a snapshot's id.

set -euo pipefail
export LC_ALL=C

if [[ $# -lt 2 ]]; then
  echo "usage: ${0##*/} TARGET_DIR PACK…" >&2
  echo "Files go to TARGET_DIR/TABLE/KEY. What is not a pack is passed over." >&2
  exit 2
fi
target=${1%/}
shift
[[ $target == /* ]] || target=./$target
for tool in jq sha256sum stat; do
  command -v "$tool" >/dev/null || { echo "error: $tool is not installed" >&2; exit 1; }
done
work=$(mktemp -d)
trap 'rm -rf -- "$work"' EXIT

packs=0 files=0 bad=0
bad() {
  printf 'bad: %s: %s\n' "$pack" "$1" >&2
  bad=$((bad + 1))
}

split() {
  local size length end table sha256 path at offset bytes wanted key
  size=$(stat -c %s -- "$pack")
  # Any bytes may be there; NUL is none that a footer has.
  [[ $(tail -c 32 -- "$pack" | tr '\0' '?'; echo .) =~ ^deltavault-pack\ ([0-9]{15})$'\n'\.$ ]] || return 0
  packs=$((packs + 1))
  length=$((10#${BASH_REMATCH[1]}))
  end=$((size - 32 - length))
  ((length <= 16777184 && end >= 0)) || { bad "its trailer has another length than it says"; return; }
  tail -c "$((length + 32))" -- "$pack" | head -c "$length" >"$work/trailer"
  # Only what has the shape of a trailer is used: one record a file, ended by NUL, its key last.
  if ! table=$(head -n 1 "$work/trailer" | jq -er 'select(type == "object" and .format == 1) | .table
      | select(type == "string" and test("^[a-z0-9_-]+-[0-9a-f]{32}$"))' 2>/dev/null) ||
    ! tail -n +2 "$work/trailer" | jq -j --argjson limit "$end" '
      def count: type == "number" and . >= 0 and . == floor;
      if type == "object" and (.offset | count) and (.size | count) and .offset + .size <= $limit
        and (.sha256 | type == "string" and test("^[0-9a-f]{64}$"))
        and (.file | type == "object" and length == 1 and ((.key // .uri) | type == "string" and (explode | index(0) | not)))
        and (.file.key == null or (.file.key | ("/" + . + "/" | test("//|/[.]/|/[.][.]/") | not)))
      then [(.offset, .size | tostring), .sha256, (.file.key // ("outside/" + .sha256)) + "/\u0000"] | join("|")
      else error("shape") end' >"$work/files" 2>/dev/null; then
    bad "its trailer is malformed"
    return
  fi
  tail -n +2 "$work/trailer" | jq -r --arg table "$table" \
    'select(.file.uri) | "note: \($table)/outside/\(.sha256) is \(.file.uri | @json)"' >&2
  sha256=$(sha256sum <"$pack")
  sha256=${sha256%% *}
  [[ ! ${pack##*/} =~ ^[0-9a-f]{64} || ${BASH_REMATCH[0]} == "$sha256" ]] ||
    bad "it does not have the SHA-256 that its name says; what is whole of it is taken"
  exec 3<"$pack"
  at=0
  while IFS='|' read -r -d '' offset bytes wanted key <&4; do
    # Read on and on, by one process a file.
    if ((offset != at)); then
      exec 3<"$pack"
      head -c "$offset" <&3 >/dev/null
    fi
    head -c "$bytes" <&3 >"$work/file"
    at=$((offset + bytes))
    [[ $(sha256sum <"$work/file") == "$wanted "* ]] || { bad "the bytes of '${key%/}' are damaged"; continue; }
    path=$target/$table/${key%/}
    # Two packs may have files of one name: a table may write other bytes under an old one.
    if [[ -e $path ]]; then
      ! cmp -s -- "$work/file" "$path" || continue
      path=$target/$table.${sha256:0:8}/${key%/}
      # Within one pack a key stands once: the third of its name was made up.
      if [[ -e $path ]]; then
        cmp -s -- "$work/file" "$path" || bad "'${key%/}' is in it more than once, with other bytes"
        continue
      fi
    fi
    mkdir -p -- "${path%/*}" && cp -- "$work/file" "$path" || { bad "'${key%/}' cannot be written"; continue; }
    files=$((files + 1))
  done 4<"$work/files"
}

for pack in "$@"; do
  [[ -f $pack ]] || { bad "it is not a file"; continue; }
  split
done
printf '%s files of %s packs\n' "$files" "$packs"
((bad == 0))
