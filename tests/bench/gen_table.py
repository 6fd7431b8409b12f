#!/usr/bin/env python3
"""Writes a Delta table of any number of real Parquet files in seconds, and what happens to it at night.

    gen_table.py FOLDER new --files N --size BYTES
    gen_table.py FOLDER night --percent P        removes and adds P percent of the files in four commits
    gen_table.py FOLDER damage --percent P       prints the files to delete, one a line

The table is written by hand, one row a file and a checkpoint every ten commits, by code that has nothing in common with
the program that is measured. The same arguments make the same table.
"""

import argparse
import json
import pathlib
import random
import time
import uuid

import pyarrow as pa
import pyarrow.parquet as pq

EPOCH_MS = 1_760_000_000_000
COMMITS_A_NIGHT = 4
COMMITS_NEW = 15
CHECKPOINT_EVERY = 10
# What a file of one row weighs besides its padding.
OVERHEAD = 900

SCHEMA = json.dumps(
    {
        "type": "struct",
        "fields": [
            {"name": "id", "type": "long", "nullable": True, "metadata": {}},
            {"name": "pad", "type": "binary", "nullable": True, "metadata": {}},
        ],
    }
)
PROTOCOL = {"minReaderVersion": 1, "minWriterVersion": 2}
METADATA = {
    "format": {"provider": "parquet", "options": {}},
    "schemaString": SCHEMA,
    "partitionColumns": [],
    "configuration": {},
    "createdTime": EPOCH_MS,
}

TEXT_MAP = pa.map_(pa.string(), pa.string())
CHECKPOINT_COLUMNS = {
    "protocol": pa.struct([("minReaderVersion", pa.int32()), ("minWriterVersion", pa.int32())]),
    "metaData": pa.struct(
        [
            ("id", pa.string()),
            ("format", pa.struct([("provider", pa.string()), ("options", TEXT_MAP)])),
            ("schemaString", pa.string()),
            ("partitionColumns", pa.list_(pa.string())),
            ("configuration", TEXT_MAP),
            ("createdTime", pa.int64()),
        ]
    ),
    "add": pa.struct(
        [
            ("path", pa.string()),
            ("partitionValues", TEXT_MAP),
            ("size", pa.int64()),
            ("modificationTime", pa.int64()),
            ("dataChange", pa.bool_()),
            ("stats", pa.string()),
        ]
    ),
    "remove": pa.struct(
        [("path", pa.string()), ("deletionTimestamp", pa.int64()), ("dataChange", pa.bool_())]
    ),
}


class Table:
    """A table on disk; what is not in its log is kept in a file beside its folder."""

    def __init__(self, folder: pathlib.Path):
        self.folder = folder
        self.log = folder / "_delta_log"
        self.state_file = folder.with_name(folder.name + ".state.json")
        self.version = -1
        self.live: dict[str, dict] = {}
        self.gone: list[dict] = []
        self.size = 0
        self.id = ""

    def load(self) -> "Table":
        vars(self).update(json.loads(self.state_file.read_text()))
        return self

    def save(self) -> None:
        keys = ("version", "live", "gone", "size", "id")
        self.state_file.write_text(json.dumps({key: getattr(self, key) for key in keys}))

    def add(self, rng: random.Random) -> dict:
        row = rng.getrandbits(40)
        pad = rng.randbytes(max(16, self.size - OVERHEAD))
        name = f"part-{rng.randrange(1000):05}-{uuid.UUID(int=rng.getrandbits(128))}-c000.parquet"
        path = self.folder / name
        table = pa.table({"id": pa.array([row], pa.int64()), "pad": pa.array([pad], pa.binary())})
        pq.write_table(table, path, compression="none", use_dictionary=False, write_statistics=False)
        bounds = {"id": row}
        stats = {"numRecords": 1, "minValues": bounds, "maxValues": bounds, "nullCount": {"id": 0}}
        action = {
            "path": name,
            "partitionValues": {},
            "size": path.stat().st_size,
            "modificationTime": EPOCH_MS,
            "dataChange": True,
            "stats": json.dumps(stats),
        }
        self.live[name] = action
        return {"add": action}

    def remove(self, name: str) -> dict:
        del self.live[name]
        action = {"path": name, "deletionTimestamp": int(time.time() * 1000), "dataChange": True}
        self.gone.append(action)
        return {"remove": action}

    def commit(self, actions: list[dict]) -> None:
        self.version += 1
        info = {"timestamp": EPOCH_MS + self.version * 1000, "operation": "WRITE", "operationParameters": {}}
        lines = [json.dumps(action, separators=(",", ":")) for action in [{"commitInfo": info}, *actions]]
        with open(self.log / f"{self.version:020}.json", "x") as file:
            file.write("\n".join(lines) + "\n")
        if self.version % CHECKPOINT_EVERY == 0:
            self.checkpoint()

    def checkpoint(self) -> None:
        rows = [{"protocol": PROTOCOL}]
        rows += [{"metaData": METADATA | {"id": self.id, "format": {"provider": "parquet", "options": []}, "configuration": []}}]
        rows += [{"add": add | {"partitionValues": [], "dataChange": False}} for add in self.live.values()]
        rows += [{"remove": remove} for remove in self.gone]
        columns = {
            name: pa.array([row.get(name) for row in rows], kind) for name, kind in CHECKPOINT_COLUMNS.items()
        }
        path = self.log / f"{self.version:020}.checkpoint.parquet"
        pq.write_table(pa.table(columns), path)
        hint = {
            "version": self.version,
            "size": len(rows),
            "sizeInBytes": path.stat().st_size,
            "numOfAddFiles": len(self.live),
        }
        (self.log / "_last_checkpoint").write_text(json.dumps(hint))


def new(table: Table, files: int, size: int) -> None:
    table.log.mkdir(parents=True)
    table.size = size
    rng = random.Random(1)
    table.id = str(uuid.UUID(int=rng.getrandbits(128)))
    table.commit([{"protocol": PROTOCOL}, {"metaData": METADATA | {"id": table.id}}])
    each = max(1, files // COMMITS_NEW)
    for start in range(0, files, each):
        table.commit([table.add(rng) for _ in range(min(each, files - start))])
    table.save()


def night(table: Table, percent: float) -> None:
    rng = random.Random(7919 + table.version)
    changed = max(COMMITS_A_NIGHT, round(len(table.live) * percent / 100))
    for number in range(COMMITS_A_NIGHT):
        share = changed // COMMITS_A_NIGHT + (number < changed % COMMITS_A_NIGHT)
        gone = rng.sample(sorted(table.live), share)
        removes = [table.remove(name) for name in gone]
        table.commit(removes + [table.add(rng) for _ in range(share)])
    table.save()


def damage(table: Table, percent: float) -> None:
    rng = random.Random(5)
    names = sorted(table.live)
    print("\n".join(rng.sample(names, max(1, round(len(names) * percent / 100)))))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("what", choices=["new", "night", "damage"])
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--size", type=int, default=4096)
    parser.add_argument("--percent", type=float, default=1.0)
    args = parser.parse_args()
    table = Table(args.folder)
    if args.what == "new":
        new(table, args.files, args.size)
    elif args.what == "night":
        night(table.load(), args.percent)
    else:
        damage(table.load(), args.percent)


main()
