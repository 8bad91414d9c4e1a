"""The log tools read what a real database wrote, and find what was broken in it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from engine.database import Database
from engine.vfs_simulated import SimulatedDisk
from engine.wal.segment import segment_path
from tools.recover.recover import recover, survey
from tools.recover.report import CLEAN, PENDING, RECOVERED, REFUSED
from tools.walinspect.dump import Dump, record_line, row_line, time_text
from tools.walinspect.filters import LogFilter
from tools.walinspect.source import open_source
from tools.walinspect.statistics import collect, facts
from tools.walinspect.verify import verify

PATH = "/data/t.mantis"


def open_database(disk: SimulatedDisk) -> Database:
    ticks = iter(range(1_700_000_000, 1_800_000_000))
    return Database.open(
        PATH, create=True, vfs=disk, clock=lambda: float(next(ticks)), background=False, io="pread"
    )


@pytest.fixture
def disk() -> SimulatedDisk:
    """A disk whose process died after eight statements."""
    disk = SimulatedDisk(1)
    session = open_database(disk).session()
    for statement in (
        "create table t (id integer primary key, name text, price numeric(10,2), d date)",
        "create index by_name on t (name)",
        "insert into t values (1, 'one', 1.50, date '2026-01-02'), (2, 'two', null, null)",
        "update t set name = 'zwei' where id = 2",
        "insert into t values (3, 'it''s', 2.25, null)",
        "delete from t where id = 1",
    ):
        session.execute(statement)
    disk.restart()
    image = disk.crash_image(4)  # everything was acknowledged, so everything is there
    assert image.list_dir("/data") == disk.list_dir("/data")
    return image


def rows(disk: SimulatedDisk, **conditions: Any) -> list[tuple[Any, ...]]:
    wanted = LogFilter(**conditions)
    return [
        (row.kind, row.table, row.key, row.values)
        for row in Dump(open_source(disk, PATH), wanted).rows()
    ]


def tree_id(disk: SimulatedDisk, name: str) -> int:
    source = open_source(disk, PATH)
    list(Dump(source, LogFilter()).records())  # learns the names
    (found,) = source.names.tree_ids(name)
    return found


def test_rows_have_names_and_values(disk: SimulatedDisk) -> None:
    table = frozenset([tree_id(disk, "t")])
    assert rows(disk, tree_ids=table) == [
        ("put", "t", "1", ["1", "one", "1.50", "2026-01-02"]),
        ("put", "t", "2", ["2", "two", None, None]),
        ("put", "t", "2", ["2", "zwei", None, None]),
        ("put", "t", "3", ["3", "it's", "2.25", None]),
        ("delete", "t", "1", None),
    ]
    assert rows(disk, tree_ids=table, kinds=frozenset(["delete"])) == [("delete", "t", "1", None)]
    assert [row[3] for row in rows(disk, tree_ids=table, key="2")] == [
        ["2", "two", None, None],
        ["2", "zwei", None, None],
    ]
    index = frozenset([tree_id(disk, "by_name")])
    assert [row[0] for row in rows(disk, tree_ids=index)].count("delete") == 2


def test_lines_are_text_for_grep(disk: SimulatedDisk) -> None:
    source = open_source(disk, PATH)
    table = frozenset([tree_id(disk, "t")])
    lines = [row_line(row) for row in Dump(source, LogFilter(tree_ids=table)).rows()]
    assert lines[0].endswith("put     t  key 1  (1, 'one', 1.50, '2026-01-02')")
    assert lines[3].endswith("key 3  (3, 'it''s', 2.25, NULL)")
    records = [record_line(entry) for entry in Dump(source, LogFilter()).records()]
    assert "  COMMIT  " in records[-1] and "  2 rows: " in records[-1]
    assert time_text(1_700_000_000_000_000) == "2023-11-14T22:13:20.000000Z"


def test_records_are_chosen_by_lsn_time_kind_and_transaction(disk: SimulatedDisk) -> None:
    source = open_source(disk, PATH)
    everything = list(Dump(source, LogFilter()).records())
    lsns = [entry.lsn for entry in everything]
    assert lsns == list(range(lsns[0], lsns[-1] + 1))

    def chosen(**conditions: Any) -> list[int]:
        return [entry.lsn for entry in Dump(source, LogFilter(**conditions)).records()]

    assert chosen(first_lsn=3, last_lsn=4) == [3, 4]
    commits = [entry for entry in everything if entry.type == "COMMIT"]
    assert chosen(kinds=frozenset(["commit"])) == [entry.lsn for entry in commits]
    third = commits[2]
    assert chosen(commit_ts=third.commit_ts) == [third.lsn]
    assert third.wall_us is not None
    assert chosen(since_us=third.wall_us, kinds=frozenset(["commit"])) == [
        entry.lsn for entry in commits[2:]
    ]
    assert chosen(until_us=third.wall_us, kinds=frozenset(["commit"])) == [
        entry.lsn for entry in commits[:3]
    ]
    assert chosen(key="no such key") == []


def test_statistics_add_up(disk: SimulatedDisk) -> None:
    source = open_source(disk, PATH)
    found = collect(source)
    records = list(Dump(source, LogFilter()).records())
    assert sum(kind.count for kind in found.kinds.values()) == len(records)
    assert sum(kind.size for kind in found.kinds.values()) == sum(r.size for r in records)
    assert found.rows == sum(record.rows for record in records)
    assert found.transactions == sum(record.type == "COMMIT" for record in records)
    assert (found.trees["t"].puts, found.trees["t"].deletes) == (4, 1)
    assert (found.trees["t"].key_count, found.trees["t"].rewrites) == (3, 2)
    assert found.sync_count >= found.transactions - 1
    assert json.loads(json.dumps(facts(found)))["trees"]["t"]["puts"] == 4


def test_verify_names_damage_and_forgives_a_torn_tail(disk: SimulatedDisk) -> None:
    source = open_source(disk, PATH)
    report = verify(source)
    assert not report.is_damaged and report.findings == [] and report.transactions == 6
    entries = list(Dump(source, LogFilter()).records())
    file = disk.open(segment_path(PATH, 1))

    last = entries[-1]
    raw = file.read(last.offset + 50, 1)
    file.write(last.offset + 50, bytes([raw[0] ^ 1]))
    report = verify(open_source(disk, PATH))
    assert not report.is_damaged
    assert [finding.severity for finding in report.findings] == ["note"]
    assert "torn bytes" in report.findings[0].message

    file.write(last.offset + 50, raw)
    third = entries[2]
    file.write(third.offset + 44, bytes([file.read(third.offset + 44, 1)[0] ^ 8]))
    report = verify(open_source(disk, PATH))
    assert report.is_damaged and report.transactions == 5
    (finding,) = report.findings
    assert (finding.first_lsn, finding.offset) == (third.lsn, third.offset)


def test_a_log_is_readable_without_its_database(disk: SimulatedDisk) -> None:
    disk.remove(PATH)
    source = open_source(disk, segment_path(PATH, 1))
    assert source.meta is None and "no such file" in source.problem
    wanted = LogFilter(kinds=frozenset(["delete"]))
    assert {"t", "by_name"} == {row.table for row in Dump(source, wanted).rows()}


def test_recover_reports_what_it_did(disk: SimulatedDisk) -> None:
    report = survey(disk, PATH)
    assert report.outcome == PENDING and report.transactions == 6
    assert (report.trees["t"].puts, report.trees["t"].deletes) == (4, 1)
    before = disk.operation_count
    assert survey(disk, PATH).facts() == report.facts() and disk.operation_count == before
    report = recover(disk, PATH, lambda: open_database(disk))
    assert report.outcome == RECOVERED and report.transactions == 6
    assert disk.list_dir("/data") == ["t.mantis"]
    report = recover(disk, PATH, lambda: open_database(disk))
    assert report.outcome == CLEAN and report.transactions == 0
    database = open_database(disk)
    assert list(database.session().execute("select id, name from t order by id").rows) == [
        (2, "zwei"),
        (3, "it's"),
    ]
    database.close()


def test_recover_keeps_torn_bytes_and_says_where(disk: SimulatedDisk) -> None:
    last = list(Dump(open_source(disk, PATH), LogFilter()).records())[-1]
    file = disk.open(segment_path(PATH, 1))
    file.write(last.offset + last.size, b"WM half a record")
    report = recover(disk, PATH, lambda: open_database(disk))
    assert report.outcome == RECOVERED and report.end is not None and report.end.torn_size == 16
    assert report.torn_path == f"{PATH}-wal-torn-{last.lsn + 1}"
    assert disk.open(report.torn_path).read(0, 99) == b"WM half a record"
    assert any("torn tail: 16 bytes" in line for line in report.lines())


def test_recover_refuses_damage_and_changes_nothing(disk: SimulatedDisk) -> None:
    third = list(Dump(open_source(disk, PATH), LogFilter()).records())[2]
    disk.open(segment_path(PATH, 1)).write(third.offset, b"\0\0")
    before = disk.operation_count
    report = recover(disk, PATH, lambda: open_database(disk))
    assert report.outcome == REFUSED and report.is_damaged and disk.operation_count == before
    assert report.error is not None and f"LSN {third.lsn}" in report.error
    assert report.end is not None and report.end.first_lsn == third.lsn
