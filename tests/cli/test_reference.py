"""docs/cli.md is what the commands say."""

from __future__ import annotations

from pathlib import Path

from mantis_cli.command_table import COMMANDS
from mantis_cli.main import command
from mantis_cli.output.formats import FORMATS
from mantis_cli.reference import FORMAT_NOTES, render

DOCUMENT = Path(__file__).parents[2] / "docs" / "cli.md"


def test_the_document_is_current() -> None:
    assert DOCUMENT.read_text(encoding="utf-8") == render(), (
        "run: python -m mantis_cli.reference > docs/cli.md"
    )


def test_every_command_exists_and_says_what_the_list_says() -> None:
    import click

    context = click.Context(command, info_name="mantis")
    for name in COMMANDS:
        sub = command.get_command(context, name)
        assert sub is not None and sub.help, name


def test_every_format_is_described() -> None:
    assert set(FORMAT_NOTES) == set(FORMATS)
