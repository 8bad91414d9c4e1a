"""Rounds, percentiles, and what the machine is: shared by every workload.

A workload is measured in alternating rounds in one process: mantis, peer, mantis, peer, …; the
figure is the median of a side's rounds, the ratio is median against median. Throughput loops are
not instrumented; latencies come from a shorter loop of the same operations, recorded in an HDR
histogram (microsecond values kept as nanoseconds, three significant digits).

It measures and never judges.
"""

from __future__ import annotations

import importlib
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import msgspec

HIGHEST_NS = 60_000_000_000
PROBE_SYNCS = 100


class MissingExtra(Exception):
    """A library of an optional extra is not installed. extra: its name in pyproject.toml."""

    def __init__(self, library: str, extra: str) -> None:
        super().__init__(f"this needs {library}: pip install 'mantisdb[{extra}]'")


class Side(msgspec.Struct):
    """One contestant's figures. rounds: operations per second of each round; latencies in µs."""

    rounds: list[float]
    p50_us: float | None = None
    p99_us: float | None = None

    @property
    def median(self) -> float:
        return statistics.median(self.rounds)


class Figure(msgspec.Struct):
    """One workload's outcome. unit: of the medians, higher is better. peer: None when the workload
    has no peer. target: the ratio wanted, or None. detail: further numbers."""

    name: str
    unit: str
    mantis: Side
    peer: Side | None = None
    peer_name: str | None = None
    target: float | None = None
    detail: dict[str, Any] = msgspec.field(default_factory=dict)

    @property
    def ratio(self) -> float | None:
        return None if self.peer is None else self.mantis.median / self.peer.median

    def facts(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "name": self.name,
            "unit": self.unit,
            "mantis": _side_facts(self.mantis),
            "peer": None if self.peer is None else _side_facts(self.peer),
            "peer_name": self.peer_name,
            "ratio": self.ratio,
            "target": self.target,
            "detail": self.detail,
        }


def _side_facts(side: Side) -> dict[str, Any]:
    return {
        "median": side.median,
        "rounds": side.rounds,
        "p50_us": side.p50_us,
        "p99_us": side.p99_us,
    }


class Latencies:
    """An HDR histogram of operation times. Raises MissingExtra without the library."""

    def __init__(self) -> None:
        try:
            histogram = importlib.import_module("hdrh.histogram")
        except ImportError:
            raise MissingExtra("hdrhistogram", "bench") from None
        self._histogram = histogram.HdrHistogram(1, HIGHEST_NS, 3)

    def record(self, times_ns: list[int]) -> None:
        for value in times_ns:
            self._histogram.record_value(max(1, value))

    def percentile_us(self, percentile: float) -> float:
        return round(float(self._histogram.get_value_at_percentile(percentile)) / 1000, 2)


def timed_calls(run: Callable[[int], Any], count: int) -> list[int]:
    """Nanoseconds of each of `count` calls run(0), run(1), …"""
    clock = time.perf_counter_ns
    times = []
    for number in range(count):
        start = clock()
        run(number)
        times.append(clock() - start)
    return times


def throughput(run: Callable[[int], Any], count: int) -> float:
    """Calls per second over `count` uninstrumented calls."""
    start = time.perf_counter()
    for number in range(count):
        run(number)
    return count / (time.perf_counter() - start)


# ── the machine ──────────────────────────────────────────────────────────────────────────────
def machine_facts(directory: str) -> dict[str, Any]:
    """What the figures were measured on. directory: where the databases lie."""
    return {
        "system": " ".join(os.uname()[i] for i in (0, 2, 4)),
        "cpu": _cpu_name(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
        "load_average": [round(value, 2) for value in os.getloadavg()],
        "python": platform.python_version(),
        "file_system": _file_system(directory),
        "fdatasync_us": probe_sync(directory),
    }


def versions() -> dict[str, str]:
    """Versions of what is compared."""
    sqlite3 = importlib.import_module("sqlite3")
    return {
        "mantisdb": importlib.import_module("engine.settings").SETTINGS["server_version"].default,
        "sqlite3": sqlite3.sqlite_version,
        "python": sys.version.split()[0],
    }


def probe_sync(directory: str) -> dict[str, float]:
    """Percentiles of a bare 4 KiB append and fdatasync in the directory, in µs."""
    path = os.path.join(directory, f"probe-{os.getpid()}")
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    times = []
    try:
        os.posix_fallocate(handle, 0, 4096 * PROBE_SYNCS)
        os.fsync(handle)
        for number in range(PROBE_SYNCS):
            start = time.perf_counter_ns()
            os.pwrite(handle, bytes(4096), number * 4096)
            os.fdatasync(handle)
            times.append((time.perf_counter_ns() - start) / 1000)
    finally:
        os.close(handle)
        os.unlink(path)
    times.sort()
    return {
        "p50": round(times[len(times) // 2], 1),
        "p99": round(times[int(len(times) * 0.99) - 1], 1),
    }


def _cpu_name() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _file_system(directory: str) -> str:
    """The type of the file system that holds the directory."""
    best, kind = "", "unknown"
    real = os.path.realpath(directory)
    try:
        with open("/proc/mounts", encoding="utf-8") as file:
            for line in file:
                _, mount, name = line.split()[:3]
                inside = real == mount or real.startswith(mount.rstrip("/") + "/")
                if inside and len(mount) >= len(best):
                    best, kind = mount, name
    except OSError:
        pass
    return kind
