"""Executes in Spark what `deltavault restore` prints, exactly as printed, and reads the rows.

Started by scripts/test-spark. Each check makes a table with Spark, snapshots it, breaks it, heals or restores it by
the binary, takes the statements out of its --json output, runs them and compares rows. Each says what it proved.
"""

import argparse
import glob
import json
import os
import shutil
import subprocess
import sys
import time

from pyspark.sql import SparkSession

DAY = 24 * 60 * 60
AGE = 40
REFUSED = "DELTA_UNSUPPORTED_TIME_TRAVEL_BEYOND_DELETED_FILE_RETENTION_DURATION"


class Checks:
    def __init__(self, args):
        self.args = args
        self.work = os.path.abspath(args.work)
        self.vault = f"{self.work}/vault"
        self.fences = tuple(map(int, args.delta.split(".")[:2])) >= (4, 1)
        jars = [jar for folder in args.jars for jar in sorted(glob.glob(f"{folder}/*.jar"))]
        build = (
            SparkSession.builder.master("local[2]")
            .config("spark.jars", ",".join(jars))
            .config("spark.sql.extensions", "io.delta.sql.DeltaSparkSessionExtension")
            .config("spark.sql.catalog.spark_catalog", "org.apache.spark.sql.delta.catalog.DeltaCatalog")
            .config("spark.databricks.delta.retentionDurationCheck.enabled", "false")
            .config("spark.databricks.delta.snapshotPartitions", "1")
            .config("spark.sql.shuffle.partitions", "1")
            .config("spark.sql.warehouse.dir", f"{self.work}/warehouse")
            .config("spark.ui.enabled", "false")
            .config("spark.ui.showConsoleProgress", "false")
            .config("spark.sql.sources.parallelPartitionDiscovery.parallelism", "2")
            .config("spark.driver.memory", "1g")
        )
        if args.s3:
            build = (
                build.config("spark.hadoop.fs.s3a.endpoint", os.environ["AWS_ENDPOINT_URL"])
                .config("spark.hadoop.fs.s3a.path.style.access", "true")
                .config("spark.hadoop.fs.s3a.access.key", os.environ["AWS_ACCESS_KEY_ID"])
                .config("spark.hadoop.fs.s3a.secret.key", os.environ["AWS_SECRET_ACCESS_KEY"])
                .config("spark.hadoop.fs.s3a.endpoint.region", os.environ.get("AWS_REGION", "us-east-1"))
            )
        self.spark = build.getOrCreate()
        self.spark.sparkContext.setLogLevel("OFF")
        self.deltavault("init", "--no-lock", "--yes")
        self.failed = 0

    def deltavault(self, *words, expect=(0,)):
        command = [self.args.deltavault, "--vault", self.vault, "--json", *words]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode not in expect:
            raise AssertionError(f"{command}: exit {done.returncode}\n{done.stdout}{done.stderr}")
        return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]

    def restore(self, *words, kind="restored", expect=(0,)):
        rows = self.deltavault("restore", *words, expect=expect)
        return next(row for row in rows if row["message_type"] == kind)

    def sql(self, text):
        return self.spark.sql(text).collect()

    def forget(self):
        """What another cluster would not know either."""
        self.spark._jvm.org.apache.spark.sql.delta.DeltaLog.clearCache()

    def rows(self, path):
        self.forget()
        return sorted(map(tuple, self.sql(f"SELECT * FROM delta.`{path}`")), key=str)

    def make(self, name, path=None, properties="'delta.enableDeletionVectors' = 'true'"):
        """Three appends of ten rows in three regions: versions 0 to 3."""
        path = path or f"{self.work}/lake/{name}"
        table = "delta.`" + path.replace("`", "``") + "`"
        self.sql(
            f"CREATE TABLE {table} (id BIGINT, region STRING) USING DELTA PARTITIONED BY (region) "
            f"TBLPROPERTIES ({properties})"
        )
        for start in (0, 10, 20):
            self.append(table, start)
        return path, table

    def append(self, table, start):
        self.sql(f"INSERT INTO {table} SELECT id, concat('r', id % 3) FROM range({start}, {start + 10}, 1, 1)")

    def age(self, path, versions, days=AGE):
        """As if those versions had been committed long ago: readers go by the times of the files."""
        for version in versions:
            then = time.time() - (days - version / 100) * DAY
            os.utime(f"{path}/_delta_log/{version:020}.json", (then, then))
        self.forget()

    def run(self, statements, purposes):
        """Runs the statements for those purposes in the order in which they were printed."""
        ran = [it for it in statements if it["engine"] == "spark-sql" and it["purpose"] in purposes]
        missing = set(purposes) - {it["purpose"] for it in ran}
        assert not missing, f"no statement for {missing} in {statements}"
        for statement in ran:
            self.forget()
            print("    " + statement["statement"])
            self.sql(statement["statement"])

    def refuses(self, statement):
        try:
            self.forget()
            self.sql(statement)
        except Exception as error:  # Spark's errors have no common class in Python.
            assert REFUSED in str(error), error
            return True
        return False

    # The checks.

    def heal_and_restore(self):
        """a vacuumed version older than the retention is healed, the window widened, and RESTORE brings it back"""
        path, table = self.make(
            "heal", properties="'delta.enableDeletionVectors' = 'true', 'delta.enableChangeDataFeed' = 'true'"
        )
        self.sql(f"DELETE FROM {table} WHERE id = 5")
        wanted = self.rows(path)
        self.age(path, range(5))
        self.deltavault("snapshot", path)
        self.sql(f"INSERT OVERWRITE {table} VALUES (1000, 'r9')")
        self.sql(f"VACUUM {table} RETAIN 0 HOURS")
        plan = self.restore(path, "--version", "4", kind="restore_plan", expect=(4,))
        overwrite = next(it for it in plan["loses"] if it["version"] == plan["cause"])
        assert overwrite["operation"] == "OVERWRITE" and overwrite["rows"] == -28, overwrite
        done = self.restore(path, "--version", "4", "--heal", "--yes")
        restore = next(it for it in done["statements"] if it["purpose"] == "restore")
        refused = self.refuses(restore["statement"]) if self.fences else False
        assert refused == self.fences, "Delta 4.1 and later refuse the RESTORE alone"
        self.run(done["statements"], ["retention", "restore"])
        assert self.rows(path) == wanted, "rows differ"
        return "the RESTORE alone was refused" if refused else "the RESTORE alone was not tried: no fence here"

    def take_back_after_an_overwrite(self):
        """without a choice the overwrite is SUSPECT, and the statements that are printed take it back"""
        path, table = self.make("overwritten")
        wanted = self.rows(path)
        self.age(path, range(4))
        self.deltavault("snapshot", path)
        self.sql(f"INSERT OVERWRITE {table} VALUES (1000, 'r9')")
        self.deltavault("snapshot", path)
        plan = self.restore(path, kind="restore_plan")
        marks = {it["version"]: (it["suspect"], it["newest_good_held"]) for it in plan["versions"]}
        assert marks[4] == (True, False) and marks[3] == (False, True), marks
        self.run(plan["choices"][0]["statements"], ["retention", "restore"])
        assert self.rows(path) == wanted, "rows differ"
        return "v4 SUSPECT, v3 NEWEST GOOD HELD"

    def put_back_a_partition(self):
        """a deleted partition comes back by INSERT … WHERE, and later commits stay"""
        path, table = self.make("partition")
        before = self.rows(path)
        self.deltavault("snapshot", path)
        self.sql(f"DELETE FROM {table} WHERE region = 'r1'")
        self.append(table, 30)
        self.age(path, range(6))
        wanted = sorted(before + [(id, f"r{id % 3}") for id in range(30, 40)], key=str)
        plan = self.restore(path, "--version", "3", kind="restore_plan", expect=(4,))
        recipe = next(
            it["statements"]
            for it in plan["choices"]
            if any(statement["purpose"] == "insert" for statement in it.get("statements", []))
        )
        assert "WHERE region = 'r1'" in recipe[-1]["statement"], recipe
        self.run(recipe, ["retention", "insert"])
        assert self.rows(path) == wanted, "rows differ"

    def put_back_rows(self):
        """deleted rows come back by what the DELETE left, and later commits stay"""
        path, table = self.make("rows")
        before = self.rows(path)
        self.deltavault("snapshot", path)
        self.sql(f"DELETE FROM {table} WHERE id IN (3, 4, 25)")
        self.append(table, 30)
        self.age(path, range(6))
        plan = self.restore(path, "--version", "3", kind="restore_plan", expect=(4,))
        recipe = next(
            it["statements"]
            for it in plan["choices"]
            if any(statement["purpose"] == "insert" for statement in it.get("statements", []))
        )
        assert "EXCEPT ALL" in recipe[-1]["statement"], recipe
        self.run(recipe, ["retention", "insert"])
        wanted = sorted(before + [(id, f"r{id % 3}") for id in range(30, 40)], key=str)
        assert self.rows(path) == wanted, "rows differ"

    def create_after_a_drop(self):
        """a dropped table gets its catalog entry back, from a location with quotes, spaces, % and unicode"""
        path, _ = self.make("odd", f"{self.work}/lake/it's 100%20 ü漢/sales.db/orders")
        wanted = self.rows(path)
        self.deltavault("snapshot", path)
        shutil.rmtree(path)
        self.forget()
        done = self.restore(path, "--latest", "--yes")
        self.run(done["statements"], ["create-schema", "create-table"])
        assert sorted(map(tuple, self.sql("SELECT * FROM sales.orders")), key=str) == wanted, "rows differ"
        copy = f"{self.work}/copy of `it`'s \\ 100%"
        done = self.restore(path, "--latest", "--to", copy, "--yes")
        self.run(done["statements"], ["create-schema", "create-table"])
        copied = sorted(map(tuple, self.sql("SELECT * FROM sales.orders_v3")), key=str)
        assert copied == wanted, "rows of the copy differ"

    def odd_name(self):
        """RESTORE and ALTER of a table whose path has back ticks, quotes and spaces"""
        path, table = self.make("odd2", f"{self.work}/lake/a `b` it's/t")
        wanted = sorted(map(tuple, self.sql(f"SELECT * FROM {table}")), key=str)
        self.age(path, range(4))
        self.deltavault("snapshot", path)
        self.sql(f"DELETE FROM {table}")
        self.sql(f"VACUUM {table} RETAIN 0 HOURS")
        done = self.restore(path, "--latest", "--heal", "--yes")
        self.run(done["statements"], ["retention", "restore"])
        assert sorted(map(tuple, self.sql(f"SELECT * FROM {table}")), key=str) == wanted, "rows differ"

    def python_restore(self):
        """the line of Python runs as printed, and Spark reads what it restored"""
        path, table = self.make("python", properties="'delta.enableDeletionVectors' = 'false'")
        wanted = self.rows(path)
        self.age(path, range(4))
        self.deltavault("snapshot", path)
        self.sql(f"DELETE FROM {table} WHERE id < 15")
        self.sql(f"VACUUM {table} RETAIN 0 HOURS")
        done = self.restore(path, "--latest", "--heal", "--yes")
        line = next(it["statement"] for it in done["statements"] if it["engine"] == "python-deltalake")
        print("    " + line)
        subprocess.run([sys.executable, "-c", line], check=True)
        assert self.rows(path) == wanted, "rows differ"

    def streams(self):
        """the batches of a stream stand in the plan, and the stream does with them what it says"""
        source, source_table = self.make("stream-source")
        sink = f"{self.work}/lake/stream-sink"
        checkpoint = f"{self.work}/checkpoint"

        def once():
            read = self.spark.readStream.format("delta").load(source)
            write = read.writeStream.format("delta").option("checkpointLocation", checkpoint)
            query = write.trigger(availableNow=True).start(sink)
            query.awaitTermination()
            return str(query.id)

        id = once()
        kept = len(self.rows(sink))
        self.deltavault("snapshot", sink)
        self.append(source_table, 30)
        once()
        plan = self.restore(sink, "--latest", kind="restore_plan", expect=(4,))
        (stream,) = plan["streams"]
        assert (stream["app_id"], stream["held"], stream["change"]) == (id, 0, "went-on"), stream
        assert stream["live"] == 1, stream
        shutil.rmtree(sink)
        self.forget()
        plan = self.restore(sink, "--latest", kind="restore_plan", expect=(4,))
        (stream,) = plan["streams"]
        assert (stream["app_id"], stream["held"], stream["change"]) == (id, 0, "unknown"), stream
        self.restore(sink, "--latest", "--yes")
        self.append(source_table, 40)
        once()
        found = len(self.rows(sink))
        # 10 of 50 rows: the batch that came after the snapshot is not written again.
        assert found == kept + 10, (kept, found)
        return f"with its newer checkpoint the stream skipped batch 1: {found} of {kept + 20} rows"

    def undo(self, path, expect=(0,)):
        return self.deltavault("undo", path, "--yes", expect=expect)

    def files(self, path):
        """The bytes of a table's files, without Hadoop's own checksums and what restores keep beside it."""
        found = {}
        for folder, _, names in os.walk(path):
            for name in names:
                place = os.path.join(folder, name)
                if not name.startswith(".") and "/_deltavault/" not in place:
                    with open(place, "rb") as file:
                        found[os.path.relpath(place, path)] = file.read()
        return found

    def rewind(self):
        """a bad overwrite is rewound, Spark goes on with the old version, and an undo takes nothing away after that"""
        path, table = self.make(
            "rewound", properties="'delta.enableDeletionVectors' = 'true', 'delta.checkpointInterval' = '3'"
        )
        self.sql(f"DELETE FROM {table} WHERE id = 5")
        wanted = self.rows(path)
        self.deltavault("snapshot", path)
        self.sql(f"INSERT OVERWRITE {table} VALUES (1000, 'r9')")
        self.sql(f"DELETE FROM {table} WHERE id = 1000")
        self.append(table, 40)
        done = self.restore(path, "--version", "4", "--rewind", "--yes")
        assert done["mode"] == "rewind" and done["removed"] >= 3, done
        assert self.rows(path) == wanted, "rows differ"
        self.append(table, 50)
        after = self.rows(path)
        assert len(after) == len(wanted) + 10, after
        self.undo(path, expect=(4,))
        assert self.rows(path) == after, "a refused undo changed the table"
        newest = max(row["version"] for row in self.sql(f"DESCRIBE HISTORY {table}"))
        assert newest == 5, newest

    def rewind_and_undo(self):
        """a rewind that is undone leaves the files as they were, and Spark goes on with the newest version"""
        path, table = self.make(
            "undone", properties="'delta.checkpointInterval' = '2', 'delta.checkpointPolicy' = 'v2'"
        )
        self.deltavault("snapshot", path)
        self.sql(f"UPDATE {table} SET region = 'r7' WHERE id < 4")
        self.sql(f"OPTIMIZE {table}")
        self.append(table, 40)
        wanted, before = self.rows(path), self.files(path)
        self.restore(path, "--latest", "--rewind", "--yes")
        assert self.rows(path) != wanted, "nothing was rewound"
        self.undo(path)
        assert self.files(path) == before, "files differ"
        assert self.rows(path) == wanted, "rows differ"
        self.append(table, 50)
        assert len(self.rows(path)) == len(wanted) + 10, "an append after the undo"

    def replace(self):
        """a table that a job made again makes room for the old one, and an undo brings it back"""
        path, table = self.make("replaced")
        first = self.rows(path)
        self.deltavault("snapshot", path)
        shutil.rmtree(path)
        self.forget()
        self.sql(f"CREATE TABLE {table} (name STRING) USING DELTA")
        self.sql(f"INSERT INTO {table} VALUES ('one'), ('two')")
        second = self.rows(path)
        self.restore(path, "--latest", "--replace", "--yes")
        assert self.rows(path) == first, "rows differ"
        self.undo(path)
        assert self.rows(path) == second, "rows of the other table differ"
        self.sql(f"INSERT INTO {table} VALUES ('three')")
        assert len(self.rows(path)) == 3, "an append after the undo"

    def half_written_log(self):
        """while a dropped table comes back its log is no table, until its last file makes it whole"""
        for properties, start in (("'delta.checkpointInterval' = '100'", 0), ("'delta.checkpointInterval' = '3'", 3)):
            path, _ = self.make(f"half-{start}", properties=properties)
            wanted = self.rows(path)
            names = sorted(os.listdir(f"{path}/_delta_log"))
            commits = [name for name in names if name.endswith(".json") and name[:20].isdigit()]
            checkpoints = [name for name in names if "checkpoint" in name and name[0] == "0"]
            assert bool(checkpoints) == bool(start), names
            # The order of a restore: commits newest first, then what the log starts with.
            order = [name for name in reversed(commits) if int(name[:20]) >= max(start, 1)]
            order += checkpoints or [commits[0]]
            copy = f"{path}-copy"
            shutil.copytree(path, copy, ignore=shutil.ignore_patterns("_delta_log"))
            os.mkdir(f"{copy}/_delta_log")
            for name in order[:-1]:
                shutil.copy(f"{path}/_delta_log/{name}", f"{copy}/_delta_log/{name}")
                try:
                    seen = self.rows(copy)
                except Exception:  # Spark's errors have no common class in Python.
                    continue
                raise AssertionError(f"with {name} Spark reads {len(seen)} rows")
            shutil.copy(f"{path}/_delta_log/{order[-1]}", f"{copy}/_delta_log/{order[-1]}")
            assert self.rows(copy) == wanted, "rows differ"

    def stream_after_a_rewind(self):
        """a stream that has read beyond the version that comes back does not go on in silence"""
        source, source_table = self.make("stream-rewound")
        sink, checkpoint = f"{self.work}/lake/stream-behind", f"{self.work}/checkpoint-behind"

        def once():
            self.forget()
            read = self.spark.readStream.format("delta").load(source)
            write = read.writeStream.format("delta").option("checkpointLocation", checkpoint)
            write.trigger(availableNow=True).start(sink).awaitTermination()

        self.deltavault("snapshot", source)
        self.append(source_table, 30)
        once()
        kept = len(self.rows(sink))
        self.restore(source, "--latest", "--rewind", "--yes")
        try:
            once()
            said = "it starts without a word"
        except Exception as error:  # Spark's errors have no common class in Python.
            said = f"it stops: {str(error).splitlines()[0][:200]}"
        self.append(source_table, 60)
        try:
            once()
            later = f"with a new commit it has {len(self.rows(sink))} rows, {kept} before"
        except Exception as error:  # Spark's errors have no common class in Python.
            later = f"with a new commit it stops: {str(error).splitlines()[0][:200]}"
        return f"{said}; {later}"

    def make_bucket(self, bucket):
        key, secret = os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"]
        server = os.environ["AWS_ENDPOINT_URL"].replace("://", f"://{key}:{secret}@")
        make = [os.environ["DELTAVAULT_TEST_MC"], "mb", "--quiet", f"test/{bucket}"]
        subprocess.run(make, env=os.environ | {"MC_HOST_test": server}, check=True)

    def on_s3(self):
        """the statements for a table on S3 run with s3a://, whatever was typed"""
        bucket = "spark-lake"
        self.make_bucket(bucket)
        path, table = self.make("s3", f"s3a://{bucket}/sales.db/orders on s3")
        wanted = self.rows(path)
        typed = path.replace("s3a://", "s3://")
        self.deltavault("snapshot", typed)
        self.sql(f"INSERT OVERWRITE {table} VALUES (1000, 'r9')")
        self.sql(f"VACUUM {table} RETAIN 0 HOURS")
        done = self.restore(typed, "--latest", "--heal", "--yes")
        self.run(done["statements"], ["restore"])
        assert self.rows(path) == wanted, "rows differ"

    def all(self):
        checks = [
            self.heal_and_restore,
            self.take_back_after_an_overwrite,
            self.put_back_a_partition,
            self.put_back_rows,
            self.create_after_a_drop,
            self.odd_name,
            self.python_restore,
            self.streams,
            self.rewind,
            self.rewind_and_undo,
            self.replace,
            self.half_written_log,
            self.stream_after_a_rewind,
        ]
        if self.args.s3:
            checks.append(self.on_s3)
        only = os.environ.get("DELTAVAULT_SPARK_ONLY")
        passed = 0
        for check in checks:
            if only and check.__name__ not in only.split(","):
                continue
            print(f"{check.__name__}: {check.__doc__}", flush=True)
            start = time.time()
            try:
                said = check()
            except Exception as error:
                self.failed += 1
                print(f"  FAILED {type(error).__name__}: {str(error)[:2000]}", flush=True)
            else:
                passed += 1
                print(f"  ok, {time.time() - start:.0f} s{': ' + said if said else ''}", flush=True)
        print(f"{passed} passed, {self.failed} failed")
        return self.failed == 0


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--deltavault", required=True)
    parser.add_argument("--work", required=True)
    parser.add_argument("--delta", required=True)
    parser.add_argument("--s3", action="store_true")
    parser.add_argument("jars", nargs="+")
    sys.exit(0 if Checks(parser.parse_args()).all() else 1)


if __name__ == "__main__":
    main()
