#!/usr/bin/env python3
"""Measures deltavault and its peers on one S3 server, in one run, over the same works.

A work is one command of one tool on a table that gen_table.py wrote:

    first      the first copy of the whole table into an empty vault
    nothing    the same command again, when nothing has changed
    night      the command again after 1 % of the files were replaced in four commits
    heal       1 % of the live files deleted from the source, put back from the vault

Requests and bytes are counted by the server itself. restic and rustic cannot read from S3: they get a local copy of the
table for free. Run by scripts/bench, which brings the tools.
"""

import argparse
import dataclasses
import json
import os
import pathlib
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
SERVER = HERE.parent.parent / "scripts" / "s3-server"
PERCENT = 1.0
# The server's counters lag; they are read until two readings so far apart agree.
COUNTERS_LAG_S = 11
BUCKET = "bench-source"
SOURCE = f"s3://{BUCKET}/table"


@dataclasses.dataclass(frozen=True)
class Scenario:
    files: int
    size: int
    works: tuple[str, ...]


SCENARIOS = {
    "small": Scenario(20_000, 4 << 10, ("first", "nothing")),
    "large": Scenario(200, 8 << 20, ("first", "nothing")),
    "few": Scenario(1_000, 4 << 10, ("first", "nothing")),
    "wide": Scenario(100_000, 4 << 10, ("first", "nothing", "night", "heal")),
}


@dataclasses.dataclass
class Row:
    scenario: str
    work: str
    tool: str
    seconds: float
    cpu: float
    memory_mib: int
    requests: int
    by_api: dict[str, int]
    received_mib: float
    sent_mib: float
    failed: str = ""


class Bench:
    """One server and one table, fresh."""

    def __init__(self, folder: pathlib.Path, log: pathlib.Path):
        self.folder = folder
        self.table = folder / "table"
        self.log = log
        self.home = folder / "home"
        self.home.mkdir(parents=True)
        self.env = os.environ | {"HOME": str(self.home), "XDG_CACHE_HOME": str(self.home / "cache")}

    def __enter__(self) -> "Bench":
        subprocess.run([SERVER, "start", self.folder / "server"], check=True)
        printed = subprocess.run([SERVER, "env", self.folder / "server"], check=True, text=True, capture_output=True)
        for name, value in re.findall(r"export (\w+)=(\S+)", printed.stdout):
            self.env[name] = value
        self.endpoint = self.env["AWS_ENDPOINT_URL"]
        key, secret = self.env["AWS_ACCESS_KEY_ID"], self.env["AWS_SECRET_ACCESS_KEY"]
        self.env |= {
            "AWS_DEFAULT_REGION": "us-east-1",
            "S3_ENDPOINT_URL": self.endpoint,
            "RCLONE_CONFIG": "/dev/null",
            "RCLONE_CONFIG_M_TYPE": "s3",
            "RCLONE_CONFIG_M_PROVIDER": "Minio",
            "RCLONE_CONFIG_M_ENDPOINT": self.endpoint,
            "RCLONE_CONFIG_M_ACCESS_KEY_ID": key,
            "RCLONE_CONFIG_M_SECRET_ACCESS_KEY": secret,
            "RESTIC_PASSWORD": "x",
            "RESTIC_CACHE_DIR": str(self.home / "cache" / "restic"),
        }
        self.run("s5cmd", "mb", f"s3://{BUCKET}")
        return self

    def __exit__(self, *_: object) -> None:
        subprocess.run([SERVER, "stop", self.folder / "server"], check=False)

    def run(self, *command: object) -> str:
        words = [str(word) for word in command]
        done = subprocess.run(words, env=self.env, cwd=self.folder, text=True, capture_output=True)
        if done.returncode:
            sys.exit(f"{' '.join(words)} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
        return done.stdout

    def generate(self, what: str, **options: object) -> str:
        given = [word for name, value in options.items() for word in (f"--{name}", value)]
        return self.run(sys.executable, HERE / "gen_table.py", self.table, what, *given)

    def upload(self) -> None:
        self.run("s5cmd", "--log", "error", "--numworkers", 32, "sync", "--delete", f"{self.table}/*", f"{SOURCE}/")

    def delete(self, names: list[str]) -> None:
        script = self.folder / "delete.txt"
        script.write_text("".join(f"rm {SOURCE}/{name}\n" for name in names))
        self.run("s5cmd", "--log", "error", "run", script)

    def names(self) -> set[str]:
        listed = self.run("s5cmd", "ls", f"{SOURCE}/*")
        return {line.split()[-1] for line in listed.splitlines()}

    def counters(self) -> tuple[dict[str, int], dict[str, float]]:
        before = self.read_counters()
        while True:
            time.sleep(COUNTERS_LAG_S)
            after = self.read_counters()
            if after == before:
                return after
            before = after

    def read_counters(self) -> tuple[dict[str, int], dict[str, float]]:
        text = urllib.request.urlopen(f"{self.endpoint}/minio/v2/metrics/cluster", timeout=60).read().decode()
        calls = re.finditer(r'minio_s3_requests_total\{api="(\w+)"[^}]*\} (\S+)', text)
        requests = {call[1]: int(float(call[2])) for call in calls}
        traffic = {
            way: sum(float(m[1]) for m in re.finditer(rf"minio_s3_traffic_{way}_bytes\{{[^}}]*\}} (\S+)", text))
            for way in ("received", "sent")
        }
        return requests, traffic

    def measure(self, scenario: str, work: str, tool: str, command: list[object]) -> Row:
        requests, traffic = self.counters()
        words = [str(word) for word in command]
        with open(self.log, "ab") as log:
            log.write(f"\n$ {' '.join(words)}\n".encode())
            log.flush()
            start = time.monotonic()
            process = subprocess.Popen(words, env=self.env, cwd=self.folder, stdout=log, stderr=log)
            _, status, usage = os.wait4(process.pid, 0)
            seconds = time.monotonic() - start
        requests_now, traffic_now = self.counters()
        by_api = {api: count - requests.get(api, 0) for api, count in requests_now.items()}
        by_api = {api: count for api, count in by_api.items() if count}
        return Row(
            scenario=scenario,
            work=work,
            tool=tool,
            seconds=round(seconds, 2),
            cpu=round(usage.ru_utime + usage.ru_stime, 2),
            memory_mib=usage.ru_maxrss // 1024,
            requests=sum(by_api.values()),
            by_api=by_api,
            received_mib=round((traffic_now["received"] - traffic["received"]) / 2**20, 1),
            sent_mib=round((traffic_now["sent"] - traffic["sent"]) / 2**20, 1),
            failed="" if status == 0 else f"exit {os.waitstatus_to_exitcode(status)}",
        )


class Tool:
    """How a tool does the works. Its vault is a bucket named after it."""

    name = ""
    reads_s3 = True

    def __init__(self, bench: Bench):
        self.bench = bench
        self.vault = f"bench-{self.name}"

    def prepare(self) -> None:
        self.bench.run("s5cmd", "mb", f"s3://{self.vault}")

    def copy(self) -> list[object]:
        raise NotImplementedError

    def heal(self) -> list[object] | None:
        return None


class Deltavault(Tool):
    name = "deltavault"

    def prepare(self) -> None:
        self.bench.run(*self.command(), "init", "--no-lock")

    def command(self) -> list[object]:
        return [os.environ.get("DELTAVAULT_BIN", "deltavault"), "--vault", f"s3://{self.vault}/vault"]

    def copy(self) -> list[object]:
        return [*self.command(), "snapshot", SOURCE]

    def heal(self) -> list[object]:
        return [*self.command(), "restore", SOURCE, "--latest", "--yes"]


class Rclone(Tool):
    name = "rclone"
    options = ["--transfers", 32, "--checkers", 32, "--checksum", "--fast-list", "--s3-no-check-bucket"]

    def copy(self) -> list[object]:
        return ["rclone", "sync", f"m:{BUCKET}/table", f"m:{self.vault}/table", *self.options]

    def heal(self) -> list[object]:
        return ["rclone", "copy", f"m:{self.vault}/table", f"m:{BUCKET}/table", *self.options]


class S5cmd(Tool):
    name = "s5cmd"
    options = ["--log", "error", "--numworkers", 64]

    def copy(self) -> list[object]:
        return ["s5cmd", *self.options, "sync", "--delete", f"{SOURCE}/*", f"s3://{self.vault}/table/"]

    def heal(self) -> list[object]:
        return ["s5cmd", *self.options, "sync", f"s3://{self.vault}/table/*", f"{SOURCE}/"]


class Aws(Tool):
    name = "aws"

    def copy(self) -> list[object]:
        return ["aws", "s3", "sync", "--only-show-errors", "--delete", SOURCE, f"s3://{self.vault}/table"]

    def heal(self) -> list[object]:
        return ["aws", "s3", "sync", "--only-show-errors", f"s3://{self.vault}/table", SOURCE]


class Restic(Tool):
    name = "restic"
    reads_s3 = False

    def repository(self) -> list[object]:
        return ["restic", "-r", f"s3:{self.bench.endpoint}/{self.vault}"]

    def prepare(self) -> None:
        self.bench.run(*self.repository(), "init")

    def copy(self) -> list[object]:
        return [*self.repository(), "backup", "--quiet", "-o", "s3.connections=16", "table"]


class Rustic(Tool):
    name = "rustic"
    reads_s3 = False

    def prepare(self) -> None:
        super().prepare()
        env = self.bench.env
        options = {
            "bucket": self.vault,
            "endpoint": self.bench.endpoint,
            "region": "us-east-1",
            "access_key_id": env["AWS_ACCESS_KEY_ID"],
            "secret_access_key": env["AWS_SECRET_ACCESS_KEY"],
            "root": "/",
        }
        lines = ["[repository]", 'repository = "opendal:s3"', 'password = "x"', "[repository.options]"]
        lines += [f'{name} = "{value}"' for name, value in options.items()]
        (self.bench.folder / "rustic.toml").write_text("\n".join(lines))
        self.bench.run(*self.command(), "init")

    def command(self) -> list[object]:
        return ["rustic", "-P", self.bench.folder / "rustic", "--no-progress"]

    def copy(self) -> list[object]:
        return [*self.command(), "backup", "table"]

    def heal(self) -> list[object]:
        return [*self.command(), "restore", "latest:table", self.bench.table]


TOOLS = {tool.name: tool for tool in (Deltavault, Rclone, S5cmd, Aws, Restic, Rustic)}


def heal(bench: Bench, name: str, tool: Tool) -> Row | None:
    command = tool.heal()
    if command is None:
        return None
    gone = bench.generate("damage", percent=PERCENT).split()
    aside = bench.folder / "aside"
    aside.mkdir(exist_ok=True)
    if tool.reads_s3:
        bench.delete(gone)
    else:
        for file in gone:
            shutil.move(bench.table / file, aside / file)
    row = bench.measure(name, "heal", tool.name, command)
    there = bench.names() if tool.reads_s3 else {file for file in gone if (bench.table / file).exists()}
    missing = [file for file in gone if file not in there]
    if missing:
        row.failed = f"{len(missing)} of {len(gone)} did not come back"
    for file in missing if not tool.reads_s3 else []:
        shutil.move(aside / file, bench.table / file)
    if tool.reads_s3:
        bench.upload()
    return row


def run_scenario(name: str, tools: list[str], work_folder: pathlib.Path, log: pathlib.Path) -> list[Row]:
    scenario = SCENARIOS[name]
    rows: list[Row] = []

    def done(row: Row | None) -> None:
        if row:
            rows.append(row)
            print(json.dumps(dataclasses.asdict(row)), flush=True)

    with tempfile.TemporaryDirectory(dir=work_folder) as folder, Bench(pathlib.Path(folder), log) as bench:
        bench.generate("new", files=scenario.files, size=scenario.size)
        bench.upload()
        chosen = [TOOLS[tool](bench) for tool in tools]
        for tool in chosen:
            tool.prepare()
        for work in ("first", "nothing", "night"):
            if work not in scenario.works:
                continue
            if work == "night":
                bench.generate("night", percent=PERCENT)
                bench.upload()
            for tool in chosen:
                done(bench.measure(name, work, tool.name, tool.copy()))
        if "heal" in scenario.works:
            for tool in chosen:
                done(heal(bench, name, tool))
    return rows


def report(rows: list[Row]) -> None:
    """The figures as a table, each beside how many times longer than deltavault it took."""
    print(f"\n{platform.processor() or platform.machine()}, {os.cpu_count()} cores, {time.strftime('%Y-%m-%d')}; server and tools share them")
    print("\n| table | work | tool | seconds | × deltavault | CPU s | memory MiB | requests | MiB in | MiB out |")
    print("| --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    ours = {(row.scenario, row.work): row.seconds for row in rows if row.tool == "deltavault"}
    for row in sorted(rows, key=lambda row: (list(SCENARIOS).index(row.scenario),)):
        scenario = SCENARIOS[row.scenario]
        kib = scenario.size >> 10
        size = f"{kib >> 10} MiB" if kib >= 1024 else f"{kib} KiB"
        own = ours.get((row.scenario, row.work))
        ratio = f"{row.seconds / own:.1f}" if own else ""
        print(
            f"| {scenario.files:,} × {size} | {row.work} | {row.tool}{' (' + row.failed + ')' if row.failed else ''} | {row.seconds:.2f} | {ratio} "
            f"| {row.cpu:.2f} | {row.memory_mib} | {row.requests:,} | {row.received_mib:g} | {row.sent_mib:g} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=pathlib.Path, required=True, help="a folder with room for the largest table, five times")
    parser.add_argument("--tools", default=",".join(TOOLS))
    parser.add_argument("--scenarios", default=",".join(SCENARIOS))
    args = parser.parse_args()
    tools = [tool for tool in args.tools.split(",") if tool]
    args.work.mkdir(parents=True, exist_ok=True)
    log = args.work / "tools.log"
    log.unlink(missing_ok=True)
    rows = [row for name in args.scenarios.split(",") for row in run_scenario(name, tools, args.work, log)]
    report(rows)
    if any(row.failed for row in rows):
        sys.exit(f"some works failed; what the tools said is in {log}")


main()
