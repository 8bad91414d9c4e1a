"""Typed settings behind SET, SHOW and PRAGMA.

A setting has a name, a kind, a default and, for some, limits. `Settings` holds the values of one
session (or a database's defaults: a session copies them). Times are written as in PostgreSQL: a
number of milliseconds, or text with a unit ('250ms', '5s', '1min'); 0 means no limit.

What this module does not do: act on a value. Sessions and transactions read `settings.values`.
"""

from __future__ import annotations

import difflib
import re
from typing import Any

import msgspec

from engine import errors

ISOLATION_LEVELS = ("read uncommitted", "read committed", "repeatable read", "serializable")
DURABILITY_POLICIES = ("full", "group", "interval", "os", "off")

_UNITS_MS = {"us": 0.001, "ms": 1.0, "s": 1000.0, "min": 60_000.0, "h": 3_600_000.0}
_INTERVAL = re.compile(r"interval\(\s*([0-9]+(?:\.[0-9]+)?)\s*(?:ms)?\s*\)\Z")
_INTERVAL_LIMIT_MS = 86_400_000
_TIME = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*(us|ms|s|min|h)?\s*\Z")


class Setting(msgspec.Struct, frozen=True):
    """kind: 'choice', 'bool', 'int' or 'time' (milliseconds). read_only ones only SHOW."""

    name: str
    kind: str
    default: Any
    description: str
    choices: tuple[str, ...] = ()
    minimum: int = 0
    maximum: int = 2**31 - 1
    read_only: bool = False


SETTINGS: dict[str, Setting] = {
    setting.name: setting
    for setting in (
        Setting(
            "durability",
            "choice",
            "group",
            "when a commit is durable",
            choices=DURABILITY_POLICIES,
        ),
        Setting(
            "default_transaction_isolation",
            "choice",
            "repeatable read",
            "isolation level of new transactions",
            choices=ISOLATION_LEVELS,
        ),
        Setting(
            "default_transaction_read_only",
            "bool",
            False,
            "new transactions refuse writes",
        ),
        Setting("lock_timeout", "time", 0, "longest wait for a row or table lock, 0 = no limit"),
        Setting("statement_timeout", "time", 0, "longest run of a statement, 0 = no limit"),
        Setting("plan_cache_size", "int", 1024, "plans kept by a session", maximum=1_000_000),
        Setting("optimizer", "bool", True, "apply the optimizer's rules"),
        Setting(
            "transaction_isolation",
            "choice",
            "repeatable read",
            "isolation level of the current transaction",
            choices=ISOLATION_LEVELS,
            read_only=True,
        ),
        Setting("server_version", "text", "0.1.0", "version of MantisDB", read_only=True),
        Setting("server_encoding", "text", "UTF8", "encoding of text", read_only=True),
        Setting("timezone", "text", "UTC", "time zone of timestamptz values", read_only=True),
    )
}


class Settings:
    """The values of one session: `values[name]`. Raises ProgrammingError (42704) for an unknown
    name, DataError (22023) for a bad value."""

    __slots__ = ("fixed_read_only", "values")

    def __init__(self, overrides: dict[str, Any] | None = None) -> None:
        self.fixed_read_only = False
        self.values: dict[str, Any] = {name: s.default for name, s in SETTINGS.items()}
        for name, value in (overrides or {}).items():
            self.set(name, value)

    def copy(self) -> Settings:
        """An independent set of the same values."""
        clone = Settings()
        clone.values = dict(self.values)
        clone.fixed_read_only = self.fixed_read_only
        return clone

    def fix_read_only(self) -> None:
        """Every transaction is read-only from now on; no setting changes that."""
        self.values["default_transaction_read_only"] = True
        self.fixed_read_only = True

    def get(self, name: str) -> Any:
        return self.values[require_setting(name).name]

    def set(self, name: str, value: str | int | float | bool) -> None:
        """Parse and store a value; `default` restores the default."""
        setting = require_setting(name)
        if setting.read_only:
            raise errors.ProgrammingError(
                f'setting "{setting.name}" cannot be changed', sqlstate="55P02"
            )
        if isinstance(value, str) and value.lower() == "default":
            parsed = setting.default
        else:
            parsed = parse_value(setting, value)
        if self.fixed_read_only and setting.name == "default_transaction_read_only" and not parsed:
            raise errors.ReadOnly("the database is open read-only")
        self.values[setting.name] = parsed

    def show(self, name: str) -> str:
        """A value as text, the way SET accepts it."""
        setting = require_setting(name)
        value = self.values[setting.name]
        if setting.kind == "bool":
            return "on" if value else "off"
        if setting.kind == "time":
            return f"{value:g}ms" if value else "0"
        return str(value)


def require_setting(name: str) -> Setting:
    """The setting of that name; unknown names raise 42704 with the nearest ones as hint."""
    setting = SETTINGS.get(name.lower())
    if setting is None:
        near = difflib.get_close_matches(name.lower(), SETTINGS, n=3, cutoff=0.5)
        hint = "Perhaps you meant " + " or ".join(f'"{n}"' for n in near) + "." if near else None
        raise errors.ProgrammingError(
            f'unrecognized configuration parameter "{name}"', sqlstate="42704", hint=hint
        )
    return setting


def parse_value(setting: Setting, value: str | int | float | bool) -> Any:
    """A value of the setting's kind from what SET gave. Raises DataError 22023."""
    text = str(value).strip().lower()
    if setting.name == "durability":
        interval = _INTERVAL.match(text)
        if interval is not None and 0 < float(interval.group(1)) < _INTERVAL_LIMIT_MS:
            return f"interval({interval.group(1)})"
    if setting.kind == "choice":
        text = text.replace("-", " ").replace("_", " ")
        if text in setting.choices:
            return text
        raise _bad(setting, value, "Choose one of: " + ", ".join(_choices(setting)) + ".")
    if setting.kind == "bool":
        if text in ("on", "true", "yes", "1"):
            return True
        if text in ("off", "false", "no", "0"):
            return False
        raise _bad(setting, value, "Use on or off.")
    if setting.kind == "time":
        match = _TIME.match(text)
        if match is None:
            raise _bad(setting, value, "Write milliseconds, or a number with us, ms, s, min or h.")
        return float(match.group(1)) * _UNITS_MS[match.group(2) or "ms"]
    try:
        number = int(text)
    except ValueError:
        raise _bad(setting, value, "Write a whole number.") from None
    if not setting.minimum <= number <= setting.maximum:
        raise _bad(setting, value, f"Between {setting.minimum} and {setting.maximum}.")
    return number


def _choices(setting: Setting) -> tuple[str, ...]:
    if setting.name == "durability":
        return (*setting.choices, "interval(MILLISECONDS)")
    return setting.choices


def _bad(setting: Setting, value: object, hint: str) -> errors.DataError:
    return errors.DataError(
        f'invalid value for parameter "{setting.name}": {value!r}', sqlstate="22023", hint=hint
    )
