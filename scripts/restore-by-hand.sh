#!/usr/bin/env bash
# Restores one snapshot of one table from a vault folder (or a plain copy of a vault bucket) without deltavault:
# with bash, jq, zstd, sha256sum and coreutils, by what src/format/spec.md says and nothing else.
#
# Every byte that is written was compared with a SHA-256 that leads back to the snapshot's id. Data comes first
# and the log last, so that no reader sees a table before it is whole.

set -euo pipefail
shopt -s nullglob
export LC_ALL=C

die() {
  printf 'error: %s\n' "$1" >&2
  [[ $# -lt 2 ]] || printf 'hint: %s\n' "$2" >&2
  exit 1
}

if [[ $# -ne 4 ]]; then
  echo "usage: ${0##*/} VAULT_DIR TABLE SNAPSHOT_ID_PREFIX TARGET_DIR" >&2
  echo "TABLE is a folder below VAULT_DIR/tables/, or what stands in its name before the last '-'." >&2
  exit 2
fi
vault=${1%/} table=$2 prefix=${3,,} target=${4%/}
[[ -n $vault && -n $target ]] || die "the root folder is neither a vault nor a target"
[[ $vault == /* ]] || vault=./$vault
[[ $target == /* ]] || target=./$target
for tool in jq zstd sha256sum dd base64 stat; do
  command -v "$tool" >/dev/null || die "$tool is not installed"
done

# --- arguments

[[ -f $vault/vault.json ]] || die "$vault is not a vault: it has no vault.json"
[[ $(jq '.format' "$vault/vault.json") == 1 ]] || die "the vault has a format that this script does not know"
if [[ -e $target || -L $target ]]; then
  [[ -d $target && ! -L $target ]] || die "$target is not a folder"
  shopt -s dotglob
  children=("$target"/*)
  shopt -u dotglob
  [[ ${#children[@]} -eq 0 ]] || die "$target is not empty" "name a folder that does not exist yet"
fi
[[ $prefix =~ ^[0-9a-f]{8,64}$ ]] || die "'$3' is not a snapshot id: 8 to 64 hex digits"

folders=()
for folder in "$vault"/tables/*/; do
  folder=${folder%/}
  name=${folder##*/}
  [[ $name =~ ^[a-z0-9_-]+-[0-9a-f]{32}$ ]] || continue
  [[ $name != "$table" && ${name%-*} != "$table" ]] || folders+=("$folder")
done
[[ ${#folders[@]} -gt 0 ]] || die "no table '$table' in $vault/tables/"
[[ ${#folders[@]} -eq 1 ]] || die "several tables '$table'" "name one with its 32 hex digits: ${folders[*]##*/}"
ledger=${folders[0]}/ledger

# --- the ledger

sha256_of() {
  local sum
  sum=$(sha256sum <"$1")
  printf '%s' "${sum%% *}"
}

# What lies in the slots from 1 on, and which of them hold a record that stands.
shas=() previous_seqs=() previous_shas=() highest=(0)
top=0
while :; do
  slot=$((top + 1))
  file=$(printf '%s/%020d.json' "$ledger" "$slot")
  [[ -f $file ]] || break
  top=$slot
  highest[slot]=${highest[slot - 1]}
  if (($(stat -c %s -- "$file") > 1048576)); then
    echo "warning: slot $slot has more than 1 MiB and is skipped" >&2
    continue
  fi
  if ! fields=$(jq -er --argjson slot "$slot" '
      select(type == "object" and .seq == $slot and (.format | type) == "number")
      | .previous as $p
      | if $p == null then "0 -" else "\($p.seq) \($p.sha256)" end' "$file" 2>/dev/null) ||
    [[ ! $fields =~ ^[0-9]+\ ([0-9a-f]{64}|-)$ ]]; then
    echo "warning: slot $slot is not a record and is skipped" >&2
    continue
  fi
  shas[slot]=$(sha256_of "$file")
  previous_seqs[slot]=${fields% *}
  previous_shas[slot]=${fields#* }
  p=${previous_seqs[slot]}
  if ((p == 0)); then
    ((highest[slot - 1] == 0)) && highest[slot]=$slot
  elif ((p < slot)) && [[ ${shas[p]:-none} == "${previous_shas[slot]}" ]]; then
    ((p == slot - 1 || p == highest[slot - 1])) && highest[slot]=$slot
  fi
done
((highest[top] > 0)) || die "no record in $ledger"

# From the head down, each record is the one that its successor names.
chain=() broken=
slot=${highest[top]}
while ((slot > 0)); do
  chain+=("$slot")
  p=${previous_seqs[slot]}
  if ((p == 0)); then
    next=${highest[slot - 1]}
    ((next == 0)) || broken="record $slot leaves out record $next"
  elif [[ ${shas[p]:-none} != "${previous_shas[slot]}" ]]; then
    broken="record $slot names a record $p that is not there"
    next=${highest[slot - 1]}
  elif ((p < slot - 1 && highest[slot - 1] > p)); then
    broken="record $slot leaves out record ${highest[slot - 1]}"
    next=${highest[slot - 1]}
  else
    next=$p
  fi
  slot=$next
done
if [[ -n $broken && ${BROKEN_CHAIN:-} != accept ]]; then
  die "the ledger is damaged: $broken" "when you know the whole snapshot id from elsewhere, set BROKEN_CHAIN=accept"
fi
[[ -z $broken ]] || echo "warning: the ledger is damaged: $broken" >&2

matches=()
for slot in "${chain[@]}"; do
  [[ ${shas[slot]} != "$prefix"* ]] || matches+=("$slot")
done
[[ ${#matches[@]} -gt 0 ]] || die "no snapshot $prefix in $ledger" "the sha256sum of each record is a snapshot id"
[[ ${#matches[@]} -eq 1 ]] || die "several snapshots begin with $prefix" "give more digits"
slot=${matches[0]}

work=$(mktemp -d)
trap 'rm -rf -- "$work"' EXIT
cp -- "$(printf '%s/%020d.json' "$ledger" "$slot")" "$work/record"
[[ $(sha256_of "$work/record") == "${shas[slot]}" ]] || die "record $slot changed while it was read"
jq -e '.format == 1 and (.requires | all(startswith("write:") or startswith("delete:")))' "$work/record" >/dev/null ||
  die "record $slot needs a newer reader" "it was written by $(jq -r .tool "$work/record")"

# --- objects

# Refuses a key that is not a path below a folder.
check_key() {
  case "/$1/" in
    *//* | */./* | */../*) die "the key '$1' would leave its folder" ;;
  esac
}

# Prints the path of an object whose bytes have SHA-256 $2: the key $1, the same content under an occupied
# name's suffix, or what a repair put under blobs/. Fails when there is none.
find_object() {
  local candidate
  check_key "$1"
  for candidate in "$vault/$1" "$vault/${1%.????????}".???????? \
    "$vault/blobs/${2:0:2}/$2" "$vault/blobs/${2:0:2}/$2".*; do
    if [[ -f $candidate && $(sha256_of "$candidate") == "$2" ]]; then
      printf '%s' "$candidate"
      return
    fi
  done
  return 1
}

# Copies the object with key $1 and SHA-256 $2 to $3.
fetch_object() {
  local path
  path=$(find_object "$1" "$2") || die "$1 is missing or damaged" "take it from a replica of the vault"
  cp -- "$path" "$3"
  [[ $(sha256_of "$3") == "$2" ]] || die "$path changed while it was read"
}

mapfile -t reference < <(jq -r '.manifest | .key, .sha256' "$work/record")
fetch_object "${reference[0]}" "${reference[1]}" "$work/manifest"
jq -e '.format == 1' "$work/manifest" >/dev/null || die "the manifest needs a newer reader"

# Unpacks the log pages or data pages, in order, into one file of entries.
unpack_pages() {
  local key sha256
  : >"$work/$1"
  while IFS=$'\t' read -r key sha256; do
    fetch_object "$key" "$sha256" "$work/page"
    zstd -dcq <"$work/page" >>"$work/$1" || die "page $key does not unpack"
  done < <(jq -r --arg list "$1" '.[$list][].page | [.key, .sha256] | @tsv' "$work/manifest")
}
unpack_pages data_pages
unpack_pages log_pages

outside=$(jq -r 'select(.file.uri) | .file.uri' "$work/data_pages" "$work/log_pages" | head -n 3 || true)
[[ -z $outside ]] ||
  die "the table has files outside of its own folder: $outside" "restore it with deltavault, or place those by hand"

absolute=$(jq -r 'select(.absolute) | .file.key' "$work/data_pages" | head -n 3 || true)
[[ -z $absolute || ${ABSOLUTE_PATHS:-} == accept ]] ||
  die "the log names files by absolute paths below $(jq -r .table.uri "$work/record"): $absolute" \
    "the table can be read there only; set ABSOLUTE_PATHS=accept when that is where the target's files will be"

# --- files

files=0
# Writes the entries of the file $1 that have one of the kinds in the JSON array $2.
write_entries() {
  local key size sha256 placement object object_sha256 offset inline path
  while IFS= read -r -d '' key && IFS= read -r -d '' size && IFS= read -r -d '' sha256 &&
    IFS= read -r -d '' placement && IFS= read -r -d '' object && IFS= read -r -d '' object_sha256 &&
    IFS= read -r -d '' offset && IFS= read -r -d '' inline; do
    if [[ $placement == absent ]]; then
      printf 'note: %s was not held: only older versions need it\n' "$key" >&2
      continue
    fi
    check_key "$key"
    path=$target/$key
    [[ ! -e $path ]] || die "two entries have the key '$key'"
    mkdir -p -- "${path%/*}"
    case $placement in
      inline) printf '%s' "$inline" | base64 -d >"$work/file" ;;
      blob | copy)
        if [[ -n $offset ]]; then
          # The file's own SHA-256 decides, so the pack need not be hashed for each file in it.
          check_key "$object"
          dd "if=$vault/$object" "of=$work/file" bs=1M iflag=skip_bytes,count_bytes,fullblock \
            "skip=$offset" "count=$size" status=none 2>/dev/null || : >"$work/file"
          [[ $(sha256_of "$work/file") == "$sha256" ]] || restore_packed
        else
          fetch_object "$object" "$sha256" "$work/file"
        fi
        ;;
      *) die "the entry '$key' has a placement that this script does not know" ;;
    esac
    [[ $(sha256_of "$work/file") == "$sha256" ]] || die "the bytes of '$key' are damaged" "take them from a replica"
    cp -- "$work/file" "$path.part"
    mv -n -- "$path.part" "$path"
    files=$((files + 1))
  done < <(jq -j --argjson kinds "$2" --argjson out "$left_out" '
    select(.kind as $kind | $kinds | index($kind))
    | select(.file.key as $key | $out | index($key) | not)
    | (.placement | keys[0]) as $placement
    | .placement[$placement] as $where
    | [.file.key, .size, .sha256 // "", $placement,
       (if $placement == "inline" then "", "", "", $where
        else $where.reference.key // "", $where.reference.sha256 // "", $where.offset // "", "" end)]
    | map(tostring + "\u0000") | add' "$work/$1")
}

# A pack that is not where it was, or whose bytes there are wrong: the whole pack under another name, else the
# one file under its own.
restore_packed() {
  local pack
  if pack=$(find_object "$object" "$object_sha256"); then
    dd "if=$pack" "of=$work/file" bs=1M iflag=skip_bytes,count_bytes,fullblock \
      "skip=$offset" "count=$size" status=none
  elif pack=$(find_object "blobs/${sha256:0:2}/$sha256" "$sha256"); then
    cp -- "$pack" "$work/file"
  else
    die "the bytes of '$key' are missing or damaged in $object" "take that object from a replica of the vault"
  fi
}

# --- checkpoints that no reader opens

# The files of checkpoints of which one was marked when it was taken, where the rest of the log leads to the version.
left_out=$(jq -s '
  def family: sub("\\.checkpoint\\.[0-9]{10}\\.(?<of>[0-9]{10})\\.parquet$"; ".checkpoint.of.\(.of)");
  map(select(.kind == "checkpoint")) as $files
  | ($files | map(select(.unreadable).file.key | family)) as $marked
  | ($files | map(.file.key | select(family as $it | $marked | index($it)))) as $out
  | if ($files | length) > ($out | length) or any(.[]; .file.key | test("/0{20}\\.json$")) then $out else [] end
  ' "$work/log_pages")
useless=$(jq length <<<"$left_out")
if ((useless > 0)); then
  # It may name one of them; readers do without it.
  left_out=$(jq '. + ["_delta_log/_last_checkpoint"]' <<<"$left_out")
  printf 'note: left out, since no reader opens the table by it: %s\n' "$(jq -r '.[:-1] | join(", ")' <<<"$left_out")" >&2
fi

mkdir -p -- "$target"
write_entries data_pages '["data", "deletion-vector", "change-data"]'
write_entries log_pages '["sidecar"]'
write_entries log_pages '["checkpoint"]'
write_entries log_pages '["compaction", "checksum", "other"]'
write_entries log_pages '["commit"]'
write_entries log_pages '["last-checkpoint"]'

expected=$(jq '.totals.files' "$work/manifest")
expected=$((expected - $(jq -s --argjson out "$left_out" \
  'map(select(.file.key as $key | $out | index($key))) | length' "$work/log_pages")))
[[ $files -eq $expected ]] || die "$files files were written, but the manifest counts $expected"
printf 'restored %s files of snapshot %s (version %s) to %s\n' \
  "$files" "${shas[slot]}" "$(jq .version "$work/record")" "$target"
