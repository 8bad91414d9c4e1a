"""`python -m mantis_cli` is the `mantis` command."""

from mantis_cli.main import run

run()
