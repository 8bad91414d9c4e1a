"""Settings: kinds, units, limits, unknown names."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from engine import errors
from engine.session.controls import _SCHEMA_PRAGMAS
from engine.settings import SETTINGS, Settings
from tests.unit.sql.sessions import memory_session

SQL_DOCUMENT = Path(__file__).parents[2] / "docs" / "sql.md"


@pytest.mark.parametrize(
    ("given", "milliseconds"),
    [("250", 250), ("250ms", 250), ("5s", 5000), ("1min", 60000), ("1.5 s", 1500), (0, 0)],
)
def test_times(given: str | int, milliseconds: float) -> None:
    settings = Settings()
    settings.set("lock_timeout", given)
    assert settings.get("lock_timeout") == milliseconds


def test_every_default_can_be_shown_and_set_again() -> None:
    settings = Settings()
    for name, setting in SETTINGS.items():
        shown = settings.show(name)
        if not setting.read_only:
            settings.set(name, shown)
            assert settings.get(name) == setting.default
            settings.set(name, "default")
        else:
            with pytest.raises(errors.ProgrammingError):
                settings.set(name, shown)


@pytest.mark.parametrize(
    ("name", "value"),
    [("lock_timeout", "-1"), ("lock_timeout", "soon"), ("optimizer", "maybe"),
     ("durability", "sometimes"), ("plan_cache_size", "-1"), ("plan_cache_size", "x")],
)  # fmt: skip
def test_bad_values(name: str, value: str) -> None:
    with pytest.raises(errors.DataError) as caught:
        Settings().set(name, value)
    assert caught.value.sqlstate == "22023"


def test_unknown_names_have_candidates() -> None:
    with pytest.raises(errors.ProgrammingError) as caught:
        Settings().get("durabilty")
    assert caught.value.sqlstate == "42704"
    assert caught.value.hint is not None and '"durability"' in caught.value.hint


def test_copies_are_independent() -> None:
    first = Settings({"durability": "os"})
    second = first.copy()
    second.set("durability", "full")
    assert first.get("durability") == "os"


def _settings_table() -> str:
    lines = ["| setting | values | default | |", "|---|---|---|---|"]
    for name, setting in SETTINGS.items():
        values = {
            "bool": "`on`, `off`",
            "time": "time",
            "int": f"{setting.minimum} to {setting.maximum}",
            "text": "text",
        }.get(setting.kind) or ", ".join(f"`{choice}`" for choice in setting.choices)
        note = " (shown, never set)" if setting.read_only else ""
        shown = Settings().show(name)
        lines.append(f"| `{name}` | {values} | `{shown}` | {setting.description}{note} |")
    return "\n".join(lines)


def test_the_document_has_every_setting() -> None:
    text = SQL_DOCUMENT.read_text(encoding="utf-8")
    table = text.partition("<!-- begin: settings -->\n")[2].partition("\n<!-- end: settings -->")[0]
    wanted = _settings_table()
    assert table == wanted, f"docs/sql.md, between the settings marks, should be:\n{wanted}"


def test_the_document_has_every_pragma() -> None:
    text = SQL_DOCUMENT.read_text(encoding="utf-8")
    section = text.partition("\n## PRAGMAs\n")[2].partition("\n## ")[0]
    found = re.findall(r"^\| `(PRAGMA (\w+)[^`]*)`", section, re.MULTILINE)
    assert [name for _, name in found] == list(_SCHEMA_PRAGMAS)
    session = memory_session()
    session.execute("CREATE TABLE t (a integer PRIMARY KEY, b text)")
    session.execute("CREATE INDEX i ON t (b)")
    for pragma, _ in found:
        columns = session.execute(pragma).columns or ()
        row = section.partition(f"`{pragma}`")[2].partition("\n")[0]
        assert all(re.search(rf"\b{column.name}\b", row) for column in columns), pragma
