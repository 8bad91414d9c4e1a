"""Options that meet each other: the environment against flags, limits of numbers, -1, parameters."""

from __future__ import annotations

from pathlib import Path

import pytest

from mantis_cli.signals import Signals
from tests.cli.conftest import call


def test_a_flag_wins_over_the_environment(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MANTIS_FORMAT", "json")
    assert call("query", shop, "select 1 as x").out == '[{"x":1}]\n'
    assert call("query", shop, "--csv", "select 1 as x").out == "x\n1\n"
    assert call("query", shop, "--format", "tsv", "--csv", "select 1 as x").code == 2
    monkeypatch.setenv("MANTIS_NULL", "none")
    assert call("query", shop, "--csv", "-t", "select null").out == "none\n"
    assert call("query", shop, "--csv", "-t", "--null", "-", "select null").out == "-\n"


@pytest.mark.parametrize("value", ["nan", "inf", "-1", "1e300", "x"])
@pytest.mark.parametrize("option", ["--timeout", "--wait"])
def test_seconds_are_finite(shop: Path, option: str, value: str) -> None:
    assert call("query", shop, option, value, "select 1").code == 2


def test_small_and_large_timeouts(shop: Path) -> None:
    assert call("query", shop, "--timeout", "31536000", "select 1").code == 0
    values = ",".join(f"({n})" for n in range(200))
    call("query", shop, f"create table n (v integer); insert into n values {values}")
    slow = "select count(*) from n a, n b, n c, n d where a.v + b.v + c.v + d.v = -1"
    run = call("query", shop, "--timeout", "0.0001", slow)
    assert (run.code, run.err.startswith("error[57014]")) == (4, True)


@pytest.mark.parametrize("ending", ["commit", "/* x */ End", "ROLLBACK", "rollback work"])
def test_a_script_cannot_end_the_one_transaction(shop: Path, ending: str) -> None:
    run = call("query", shop, "-1", "-c", f"delete from note; {ending}; delete from item")
    assert (run.code, "error[2D000]" in run.err) == (1, True)
    assert call("query", shop, "--csv", "-t", "select count(*) from note").out == "1\n"


def test_savepoints_work_in_the_one_transaction(shop: Path) -> None:
    script = "delete from note; savepoint s; delete from item; rollback to savepoint s"
    assert call("query", shop, "-1", "-c", script).code == 0
    count = "select (select count(*) from note), (select count(*) from item)"
    assert call("query", shop, "--csv", "-t", count).out == "0,3\n"


def test_a_missing_parameter_is_named(shop: Path) -> None:
    run = call("query", shop, "-p", "a", "1", "select :a, :b, :c")
    assert (run.code, ":b, :c: mantis query -p b VALUE" in run.err) == (1, True)
    assert "-p NAME VALUE" in call("query", shop, "select ?").err


def test_schema_finds_names_as_sql_does(shop: Path) -> None:
    made = call("schema", shop, "item")
    assert made.out.startswith("CREATE TABLE item")
    assert call("schema", shop, "ITEM").out == made.out
    assert call("schema", shop, '"item"').out == made.out
    assert call("schema", shop, "ITEMS").code == 1


def test_ctrl_c_after_a_cancelled_statement_is_a_first_one() -> None:
    signals = Signals()
    cancelled: list[int] = []
    for number in range(2):  # well within two seconds: the second must not end the process
        with signals.cancellable(lambda number=number: cancelled.append(number)):  # type: ignore[misc]
            signals._on_interrupt(2, None)
        signals.clear()
    assert cancelled == [0, 1]


def test_bytes_that_are_no_text_are_refused(shop: Path) -> None:
    for sql in ("select '\udcff'", "insert into note values (9, '\udcff', null)"):
        run = call("query", shop, sql)
        assert (run.code, run.out, "error[22021]" in run.err) == (1, "", True)
    assert call("check", shop).code == 0
