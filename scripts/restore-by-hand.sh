#!/usr/bin/env bash
# Restores one snapshot of one table into a folder without deltavault, by what src/format/spec.md says and nothing else:
# from a vault folder (or a plain copy of a vault bucket) with bash, jq, zstd, sha256sum and coreutils; from a bucket with
# `aws` as well, which takes its credentials, region and endpoint from where it always does.
#
# Every file was compared with a SHA-256 that leads back to the snapshot's id before TARGET_DIR has its name, so nobody
# reads a table that is not whole.

set -euo pipefail
shopt -s nullglob
export LC_ALL=C AWS_PAGER=

die() {
  printf 'error: %s\n' "$1" >&2
  [[ $# -lt 2 ]] || printf 'hint: %s\n' "$2" >&2
  exit 1
}

if [[ $# -ne 4 ]]; then
  echo "usage: ${0##*/} VAULT TABLE SNAPSHOT_ID_PREFIX TARGET_DIR" >&2
  echo "VAULT is a folder, or s3://BUCKET/PREFIX." >&2
  echo "TABLE is a folder below VAULT/tables/, or what stands in its name before the last '-'." >&2
  exit 2
fi
vault=${1%/} table=$2 prefix=${3,,} target=${4%/}
[[ -n $vault && -n $target ]] || die "the root folder is neither a vault nor a target"
tools=(jq zstd sha256sum base64 stat touch xargs)
bucket= root=
if [[ $vault == s3://* ]]; then
  bucket=${vault#s3://}
  [[ $bucket != */* ]] || root=${bucket#*/}/
  bucket=${bucket%%/*}
  tools+=(aws)
elif [[ $vault != /* ]]; then
  vault=./$vault
fi
[[ $target == /* ]] || target=./$target
for tool in "${tools[@]}"; do
  command -v "$tool" >/dev/null || die "$tool is not installed"
done

# Temporary files lie outside of the target: no name in it is taken by them.
work=$(mktemp -d)
stage=
trap 'rm -rf -- "$work" ${stage:+"$stage"}' EXIT

sha256_of() {
  local sum
  sum=$(sha256sum <"$1")
  printf '%s' "${sum%% *}"
}

# --- the bucket

# Lists the object versions of the keys that begin with $1: each key's oldest first, as key, version and size. A bucket lists
# them newest first, and delete markers apart.
list_versions() {
  aws s3api list-object-versions --bucket "$bucket" --prefix "$root$1" --output json >"$work/listing" ||
    die "s3://$bucket/$root$1 cannot be listed"
  jq -r --arg root "$root" '.Versions // [] | reverse[]
    | [.Key[($root | length):], .VersionId, (.Size | tostring)]
    | select(all(test("^[!-~]+$"))) | @tsv' "$work/listing"
}

# Copies the object version $2 (or, where that is empty, the newest) of key $1 to the file $3.
get_version() {
  local which=()
  [[ -z $2 ]] || which=(--version-id "$2")
  aws s3api get-object --bucket "$bucket" --key "$root$1" "${which[@]}" "$3" >/dev/null 2>"$work/said"
}

# Does the same for many, eight at a time: key, version and file of each on standard input, ended by NUL. Where there is
# nothing, the file is empty.
get_versions() {
  BUCKET=$bucket ROOT=$root xargs -0 -r -n 3 -P 8 bash -c '
    which=()
    [[ -z $2 ]] || which=(--version-id "$2")
    aws s3api get-object --bucket "$BUCKET" --key "$ROOT$1" "${which[@]}" "$3" >/dev/null 2>&1 || : >"$3"
  ' get
}

# --- arguments

if [[ -n $bucket ]]; then
  vault_file=$work/vault.json
  version=$(list_versions vault.json | awk -F'\t' '$1 == "vault.json" { print $2; exit }')
  [[ -n $version ]] || die "$vault is not a vault: it has no vault.json"
  get_version vault.json "$version" "$vault_file" || die "vault.json cannot be read: $(<"$work/said")"
else
  vault_file=$vault/vault.json
  [[ -f $vault_file ]] || die "$vault is not a vault: it has no vault.json"
fi
jq -e 'type == "object" and .format == 1' "$vault_file" >/dev/null 2>&1 ||
  die "the vault has a format that this script does not know"
if [[ -e $target || -L $target ]]; then
  [[ -d $target && ! -L $target ]] || die "$target is not a folder"
  shopt -s dotglob
  children=("$target"/*)
  shopt -u dotglob
  [[ ${#children[@]} -eq 0 ]] || die "$target is not empty" "name a folder that does not exist yet"
fi
[[ $prefix =~ ^[0-9a-f]{8,64}$ ]] || die "'$3' is not a snapshot id: 8 to 64 hex digits"

if [[ $table =~ ^[a-z0-9_-]+-[0-9a-f]{32}$ ]]; then
  names=("$table")
elif [[ -n $bucket ]]; then
  # Versions, not objects: a table whose objects are all behind delete markers has a name as well.
  aws s3api list-object-versions --bucket "$bucket" --prefix "${root}tables/" --delimiter / --output json >"$work/listing" ||
    die "s3://$bucket/${root}tables/ cannot be listed"
  mapfile -t names < <(jq -r --arg root "${root}tables/" \
    '.CommonPrefixes // [] | .[].Prefix[($root | length):] | rtrimstr("/")' "$work/listing")
else
  names=("$vault"/tables/*/)
  names=("${names[@]%/}")
  names=("${names[@]##*/}")
fi
found=()
for name in "${names[@]}"; do
  [[ $name =~ ^[a-z0-9_-]+-[0-9a-f]{32}$ ]] || continue
  [[ $name != "$table" && ${name%-*} != "$table" ]] || found+=("$name")
done
[[ ${#found[@]} -gt 0 ]] || die "no table '$table' in $vault/tables/"
[[ ${#found[@]} -eq 1 ]] || die "several tables '$table'" "name one with its 32 hex digits: ${found[*]}"

# --- the ledger

ledger=$vault/tables/${found[0]}/ledger
if [[ -n $bucket ]]; then
  # The oldest object version of each slot: what was put on top, or hides it, is not the record.
  slots=tables/${found[0]}/ledger/
  ledger=$work/ledger
  mkdir "$ledger"
  list_versions "$slots" |
    awk -F'\t' -v slots="$slots" 'substr($1, length(slots) + 1) ~ /^[0-9]+\.json$/ && !seen[$1]++' >"$work/slots"
  while IFS=$'\t' read -r key version size; do
    # What is too large is not read, and has to be seen as that.
    file=$ledger/${key##*/}
    if ((size > 1048576)); then truncate -s 1048577 -- "$file"; else printf '%s\0' "$key" "$version" "$file"; fi
  done <"$work/slots" | get_versions
  while IFS=$'\t' read -r key version size; do
    ((size > 1048576 || $(stat -c %s -- "$ledger/${key##*/}") == size)) ||
      die "$key cannot be read" "the caller needs s3:GetObjectVersion"
  done <"$work/slots"
fi

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
      | if has("previous") then .previous else {seq: 0, sha256: "-"} end
      | select(type == "object" and (.seq | type) == "number" and (.sha256 | type) == "string")
      | select(.seq == (.seq | floor) and .seq >= 0 and .seq < $slot and ((.seq == 0) == (.sha256 == "-")))
      | "\(.seq) \(.sha256)"' "$file" 2>/dev/null) ||
    [[ ! $fields =~ ^(0|[1-9][0-9]{0,15})\ ([0-9a-f]{64}|-)$ ]]; then
    echo "warning: slot $slot is not a record and is skipped" >&2
    continue
  fi
  shas[slot]=$(sha256_of "$file")
  previous_seqs[slot]=${fields% *}
  previous_shas[slot]=${fields#* }
  p=${previous_seqs[slot]}
  if ((p == 0)); then
    ((highest[slot - 1] == 0)) && highest[slot]=$slot
  elif [[ ${shas[p]:-none} == "${previous_shas[slot]}" ]]; then
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
cp -- "$(printf '%s/%020d.json' "$ledger" "$slot")" "$work/record"
[[ $(sha256_of "$work/record") == "${shas[slot]}" ]] || die "record $slot changed while it was read"

# --- shapes: nothing is used before it is of the type that the format says

shapes='
  def digest: type == "string" and test("^[0-9a-f]{64}$");
  def count: type == "number" and . >= 0 and . == floor and . < 9007199254740992;
  def version: . == null or (type == "string" and test("^[!-{}~]{1,1024}$"));
  def reference: type == "object" and (.sha256 | digest) and (.size | count) and (.version | version)
    and (.key | type == "string"
      and test("^(blobs|copies|pages|manifests)/[0-9a-f]{2}/[0-9a-f]{32,64}([.][0-9a-f]{8})?$"));
  def texts: type == "array" and all(type == "string");
  def fields: [.key, .version // "", .sha256, (.size | tostring)] | join("|");
'
is() {
  jq -e "$shapes $1" "$2" >/dev/null 2>&1
}
is '(.format | count) and (.requires | texts) and (.tool | type == "string")' "$work/record" ||
  die "record $slot is malformed: its format, tool or what it requires"
is '.format == 1 and (.requires | all(startswith("write:") or startswith("delete:")))' "$work/record" ||
  die "record $slot needs a newer reader" "it was written by $(jq -r '.tool | @json' "$work/record")"
is '(.manifest | reference) and (.version | count) and (.table | type == "object" and (.uri | type == "string"))' \
  "$work/record" || die "record $slot is malformed: its manifest, version or table"

# --- objects

# Prints where bytes of SHA-256 $3 may be that were put as the object version $2 of key $1: in a folder their paths, in a bucket
# keys and versions. First the key itself, then what lies under the digest: a suffix, or what a repair put.
candidates() {
  local area=${1%%/*} name key
  [[ $area != copies ]] || area=blobs
  name=$area/${3:0:2}/$3
  if [[ -z $bucket ]]; then
    printf '%s\n' "$vault/$1" "$vault/$name" "$vault/$name".????????
    return
  fi
  [[ -z $2 ]] || printf '%s\t%s\n' "$1" "$2"
  for key in "$1" "$name"; do
    list_versions "$key" | awk -F'\t' -v key="$key" -v size="$4" \
      '$3 == size && ($1 == key || (index($1, key ".") == 1 && length($1) == length(key) + 9)) { print $1 "\t" $2 }'
  done
}

# Copies the object that was put as version $2 of key $1, with SHA-256 $3 and size $4, to the file $5. Fails when nothing has
# those bytes.
find_object() {
  local candidate
  while IFS= read -r candidate; do
    if [[ -n $bucket ]]; then
      get_version "${candidate%$'\t'*}" "${candidate#*$'\t'}" "$5" || continue
    else
      [[ -f $candidate ]] && cp -- "$candidate" "$5" || continue
    fi
    [[ $(sha256_of "$5") != "$3" ]] || return 0
  done < <(candidates "$1" "$2" "$3" "$4")
  return 1
}

fetch_object() {
  find_object "$@" || die "$1 is missing or damaged" "take it from a replica of the vault"
}

IFS='|' read -r key version sha256 size < <(jq -r "$shapes .manifest | fields" "$work/record")
fetch_object "$key" "$version" "$sha256" "$size" "$work/manifest"
is '.format == 1' "$work/manifest" || die "the manifest needs a newer reader"
is '[.data_pages, .log_pages | type == "array" and all(type == "object" and (.page | reference))] + [.totals.files | count]
  | all' "$work/manifest" || die "the manifest is malformed"

# Unpacks the log pages or data pages, in order, into one file of entries.
unpack_pages() {
  local key version sha256 size unpacked n=0
  : >"$work/$1"
  jq -r --arg list "$1" "$shapes .[\$list][].page | fields" "$work/manifest" >"$work/pages"
  rm -rf -- "$work/got"
  mkdir "$work/got"
  if [[ -n $bucket ]]; then
    while IFS='|' read -r key version sha256 size; do
      printf '%s\0' "$key" "$version" "$work/got/$((n++))"
    done <"$work/pages" | get_versions
  fi
  while IFS='|' read -r key version sha256 size; do
    if ! mv -- "$work/got/$((n++))" "$work/page" 2>/dev/null || [[ $(sha256_of "$work/page") != "$sha256" ]]; then
      fetch_object "$key" "$version" "$sha256" "$size" "$work/page"
    fi
    # Stopped at 64 MiB, whatever the page says of itself.
    zstd -dcq <"$work/page" 2>/dev/null | head -c 67108865 >"$work/unpacked" || die "page $key does not unpack"
    unpacked=$(stat -c %s "$work/unpacked")
    ((unpacked <= 67108864)) || die "page $key unpacks to more than 64 MiB"
    cat "$work/unpacked" >>"$work/$1"
  done <"$work/pages"
}
unpack_pages data_pages
unpack_pages log_pages

# --- entries

malformed=$(jq -r "$shapes"'
  def shape: type == "object" and (.kind | type == "string") and (.size | count)
    and (.file | type == "object" and length == 1 and all(type == "string"))
    and (.mode == null or (.mode | count and . <= 511))
    and (.last_modified == null or (.last_modified | type == "string" and test("^[0-9TZ:.+-]{1,40}$")))
    and (.placement | type == "object" and length == 1
      and (has("absent")
        or (has("inline") and (.inline | type == "string" and test("^[A-Za-z0-9+/]*=*$")))
        or (has("copy") and (.copy | type == "object" and (.reference | reference)))
        or (has("blob") and (.blob | type == "object" and (.reference | reference)
          and (.offset == null or (.offset | count))))))
    and ((.placement | has("absent")) or (.sha256 | digest));
  select(shape | not) | tostring | .[:200]' "$work/data_pages" "$work/log_pages" 2>&1 | head -n 1) ||
  malformed=${malformed:-a page}
[[ -z $malformed ]] || die "an entry is malformed: $malformed"

outside=$(jq -r 'select(.file.uri) | .file.uri' "$work/data_pages" "$work/log_pages" | head -n 3 || true)
[[ -z $outside ]] ||
  die "the table has files outside of its own folder: $outside" "restore it with deltavault, or place those by hand"
leaves=$(jq -r '.file.key | select(("/" + . + "/" | test("//|/[.]/|/[.][.]/")) or any(explode[]; . == 0))' \
  "$work/data_pages" "$work/log_pages" | head -n 1 || true)
[[ -z $leaves ]] || die "the key '$leaves' would leave its folder"

# A file of the log above the version: with it, readers would see another one.
above=$(jq -r --arg version "$(printf %020d "$(jq .version "$work/record")")" '
  select(.kind | IN("commit", "checkpoint", "compaction", "checksum", "other")) | .file.key
  | select([split("/")[-1] | scan("^[0-9]{20}(?=[.])|(?<=[.])[0-9]{20}(?=[.]compacted)")] | any(. > $version))' \
  "$work/log_pages" | head -n 1 || true)
[[ -z $above ]] || die "the snapshot holds $above, of a newer version than its own" "it was forged: restore another one"

absolute=$(jq -r 'select(.absolute) | .file.key' "$work/data_pages" | head -n 3 || true)
[[ -z $absolute || ${ABSOLUTE_PATHS:-} == accept ]] ||
  die "the log names files by absolute paths below $(jq -r .table.uri "$work/record"): $absolute" \
    "the table can be read there only; set ABSOLUTE_PATHS=accept when that is where the target's files will be"

# The files of checkpoints of which one was marked when it was taken, where the rest of the log leads to the version.
left_out=$(jq -s '
  def family: sub("\\.checkpoint\\.[0-9]{10}\\.(?<of>[0-9]{10})\\.parquet$"; ".checkpoint.of.\(.of)");
  map(select(.kind == "checkpoint")) as $files
  | ($files | map(select(.unreadable).file.key | family)) as $marked
  | ($files | map(.file.key | select(family as $it | $marked | index($it)))) as $out
  | if ($files | length) > ($out | length) or any(.[]; .file.key | test("/0{20}\\.json$")) then $out else [] end
  ' "$work/log_pages")
if (($(jq length <<<"$left_out") > 0)); then
  # It may name one of them; readers do without it.
  left_out=$(jq '. + ["_delta_log/_last_checkpoint"]' <<<"$left_out")
  printf 'note: left out, since no reader opens the table by it: %s\n' "$(jq -r '.[:-1] | join(", ")' <<<"$left_out")" >&2
fi

# One record a file, ended by NUL: where its bytes are, in the order in which packs hold them, what they must be, and last its
# key, which may have any character. The slash behind it keeps `read` from taking a character off its end.
jq -j --argjson out "$left_out" '
  def padded: tostring | "0" * (20 - length) + .;
  select(.file.key as $key | $out | index($key) | not)
  | (.placement | keys[0]) as $placement
  | .placement[$placement] as $where
  | (if $placement == "inline" then {} else $where.reference // {} end) as $object
  | [(if $placement == "blob" and $where.offset != null then "pack" else $placement end),
     $object.key // "", $object.version // "",
     (if $placement == "blob" and $where.offset != null then $where.offset | padded else "" end),
     (.size | tostring), .sha256 // "", $object.sha256 // "", ($object.size // "" | tostring), (.mode // "" | tostring),
     (.last_modified // ""), (if $placement == "inline" then $where else "" end), .file.key + "/\u0000"] | join("|")
  ' "$work/data_pages" "$work/log_pages" | sort -z >"$work/files"
read_file='IFS="|" read -r -d "" placement object version offset size sha256 object_sha256 object_size mode time inline key'
twice=$(sed -z 's/^\([^|]*|\)\{11\}//' "$work/files" | sort -z | uniq -z -d | tr '\0' '\n' | head -n 1 || true)
[[ -z $twice ]] || die "two entries have the key '${twice%/}'"

# --- files

mkdir -p -- "${target%/*}/"
stage=$(mktemp -d -- "${target%/*}/.restore-by-hand.XXXXXXXXXX") || die "no folder can be made beside $target"

# Makes descriptor 3 the pack at path $1.
open_pack() {
  at=0
  if [[ -f $1 ]]; then exec 3<"$1"; else exec 3</dev/null; fi
}
# Writes $2 bytes from offset $1 of the pack to the file $3. Files that follow each other are read on and on.
cut_file() {
  if (($1 > at)); then
    head -c $(($1 - at)) <&3 >/dev/null
  elif (($1 < at)); then
    open_pack "$pack"
    head -c "$1" <&3 >/dev/null
  fi
  head -c "$2" <&3 >"$3"
  at=$(($1 + $2))
}

# What the entries point to, unchecked: all of it is hashed at once below.
files=0 open=
: >"$work/gets"
: >"$work/expected"
: >"$work/times"
while eval "$read_file" <&4; do
  key=${key%/} path=$stage/${key%/}
  if [[ $placement == absent ]]; then
    printf 'note: %s was not held: only older versions need it\n' "$key" >&2
    continue
  fi
  [[ -d ${path%/*} ]] || mkdir -p -- "${path%/*}"
  case $placement in
    inline) base64 -d <<<"$inline" >"$path" ;;
    pack)
      if [[ $object@$version != "$open" ]]; then
        open=$object@$version pack=$vault/$object
        if [[ -n $bucket ]]; then
          pack=$work/pack
          get_version "$object" "$version" "$pack" || : >"$pack"
        fi
        open_pack "$pack"
      fi
      cut_file "$((10#$offset))" "$size" "$path"
      ;;
    blob | copy)
      if [[ -n $bucket ]]; then
        printf '%s\0' "$object" "$version" "$path" >>"$work/gets"
      elif [[ -f $vault/$object ]]; then
        cp -- "$vault/$object" "$path"
      else
        : >"$path"
      fi
      ;;
  esac
  printf '%s  ./%s\0' "$sha256" "$key" >>"$work/expected"
  [[ -z $mode ]] || printf './%s\0' "$key" >>"$work/mode.$(($mode))"
  [[ ! $time =~ ^[0-9]{4}-[0-9T:.-]+Z$ ]] || printf '%s|./%s/\0' "$time" "$key" >>"$work/times"
  files=$((files + 1))
done 4<"$work/files"
exec 3<&-
get_versions <"$work/gets"

# Compares all files with the entries; prints the keys of those that are wrong.
compare() {
  cut -z -c 67- "$work/expected" | (cd -- "$stage" && xargs -0 -r sha256sum -z --) >"$work/actual"
  ! cmp -s "$work/expected" "$work/actual" || return 0
  LC_ALL=C comm -z -23 <(sort -z "$work/expected") <(sort -z "$work/actual") | cut -z -c 69-
}
compare >"$work/wrong"

# Where the bytes are not where the entry says, they may be elsewhere: a whole pack under another name, the file under its own.
if [[ -s $work/wrong ]]; then
  lost=() open=
  sort -z -o "$work/wrong" "$work/wrong"
  while eval "$read_file" <&4; do
    key=${key%/} path=$stage/${key%/}
    printf '%s\0' "$key" | comm -z -12 - "$work/wrong" | cmp -s - /dev/null && continue
    if [[ $placement == pack ]]; then
      if [[ $object@$version != "$open" ]]; then
        open=$object@$version pack=$work/pack
        find_object "$object" "$version" "$object_sha256" "$object_size" "$pack" || : >"$pack"
        open_pack "$pack"
      fi
      cut_file "$((10#$offset))" "$size" "$path"
      [[ $(sha256_of "$path") == "$sha256" ]] ||
        find_object "blobs/${sha256:0:2}/$sha256" "" "$sha256" "$size" "$path" || lost+=("$key")
    elif [[ $placement == inline ]] || ! find_object "$object" "$version" "$sha256" "$size" "$path"; then
      lost+=("$key")
    fi
  done 4<"$work/files"
  if ((${#lost[@]} > 0)); then
    kept=$stage stage=
    printf "lost: the bytes of '%s' are missing or damaged\n" "${lost[@]}" >&2
    die "${#lost[@]} files are missing or damaged in the vault; the others are in $kept" \
      "take their objects from a replica of the vault"
  fi
  compare >"$work/wrong"
  [[ ! -s $work/wrong ]] || die "files changed while they were read"
fi

expected=$(jq '.totals.files' "$work/manifest")
expected=$((expected - $(jq -s --argjson out "$left_out" \
  'map(select(.file.key as $key | $out | index($key))) | length' "$work/log_pages")))
[[ $files -eq $expected ]] || die "$files files were written, but the manifest counts $expected"

# --- modes and times

cd_stage() { cd -- "$stage"; }
for list in "$work"/mode.*; do
  mode=$(printf '%04o' "${list##*.}")
  (cd_stage && xargs -0 chmod "$mode" --) <"$list"
done
# Files of one time in one call: from S3, where times have whole seconds, many have the same.
sort -z -o "$work/times" "$work/times"
(
  cd_stage
  last='' batch=()
  set_times() { ((${#batch[@]} == 0)) || touch -m -d "$last" -- "${batch[@]}"; }
  while IFS='|' read -r -d '' time key; do
    if [[ $time != "$last" || ${#batch[@]} -ge 500 ]]; then
      set_times
      last=$time batch=()
    fi
    batch+=("${key%/}")
  done <"$work/times"
  set_times
)

# The folder has the mode of one that was made here, or of the empty one that it replaces.
if [[ -d $target ]]; then chmod --reference="$target" -- "$stage"; else chmod "$(printf '%o' $((0777 & ~$(umask))))" -- "$stage"; fi
mv -T -- "$stage" "$target" 2>/dev/null || die "$target cannot be replaced" "name a folder that does not exist yet"
stage=
printf 'restored %s files of snapshot %s (version %s) to %s\n' \
  "$files" "${shas[slot]}" "$(jq .version "$work/record")" "$target"
