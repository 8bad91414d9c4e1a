"""Options every suite shares: --seed, --nightly, --update-golden."""

from __future__ import annotations

import os
import random

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("mantisdb")
    group.addoption("--seed", type=int, default=None, help="seed of the randomised tests")
    group.addoption("--nightly", action="store_true", help="run the long versions too")
    group.addoption("--update-golden", action="store_true", help="rewrite golden transcripts")


def pytest_configure(config: pytest.Config) -> None:
    # Hundreds of tests start the command line: compile its modules once, not each time.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    if config.getoption("--seed") is None:
        shared = os.environ.get("MANTIS_TEST_SEED")
        config.option.seed = int(shared) if shared else random.SystemRandom().randrange(2**31)
        os.environ["MANTIS_TEST_SEED"] = str(config.option.seed)  # workers of pytest-xdist agree


def pytest_report_header(config: pytest.Config) -> str:
    return f"mantisdb: --seed {config.getoption('--seed')}"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--nightly"):
        return
    skip = pytest.mark.skip(reason="nightly: run with --nightly")
    for item in items:
        if "nightly" in item.keywords:
            item.add_marker(skip)


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """The run's seed: printed in the header, replayed with --seed."""
    value: int = request.config.getoption("--seed")
    return value
