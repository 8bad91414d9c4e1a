"""Settings: kinds, units, limits, unknown names."""

from __future__ import annotations

import pytest

from engine import errors
from engine.settings import SETTINGS, Settings


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
