"""What a syntax error probably meant: the error a person sees."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from engine.errors import ProgrammingError
from engine.sql.grammar.stream import SyntaxFailure, TokenStream


def explain_failure(
    failure: SyntaxFailure, stream: TokenStream, parse: Callable[[TokenStream], Any]
) -> ProgrammingError:
    """The failure with what was expected there."""
    detail = "expected " + ", ".join(failure.expected) if failure.expected else None
    return ProgrammingError(
        failure.message, sqlstate="42601", span=failure.span, detail=detail
    )
