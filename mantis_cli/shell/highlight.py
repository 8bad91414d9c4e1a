"""Highlighting by the engine's own lexer: what it calls a keyword is coloured as one.

`styled(text)` is plain data (style class, text) and covers the text exactly; `SqlHighlighter` is
the thin prompt-toolkit side.
"""

from __future__ import annotations

from collections.abc import Callable

from prompt_toolkit.document import Document
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.lexers import Lexer

from engine.sql.lexer import scan

STYLES = {
    "keyword": "bold ansiblue",
    "name": "",
    "quoted": "",
    "number": "ansicyan",
    "string": "ansigreen",
    "parameter": "ansimagenta",
    "operator": "",
    "space": "",
    "comment": "italic ansibrightblack",
    "error": "ansired underline",
    "command": "ansimagenta",
}


def styled(text: str) -> list[tuple[str, str]]:
    """(style class, text) pieces that join to the text."""
    if text.lstrip()[:1] in (".", "\\"):
        return [("class:command", text)]
    pieces = []
    for token in scan(text):
        open_text = token.problem is not None and not token.problem.startswith("unterminated")
        pieces.append((f"class:{'error' if open_text else token.kind}", token.text))
    return pieces


class SqlHighlighter(Lexer):
    """Colours the whole buffer at once (strings and comments span lines)."""

    def lex_document(self, document: Document) -> Callable[[int], StyleAndTextTuples]:
        lines: list[StyleAndTextTuples] = [[]]
        for style, text in styled(document.text):
            for place, part in enumerate(text.split("\n")):
                if place:
                    lines.append([])
                lines[-1].append((style, part))
        return lambda line_no: lines[line_no] if line_no < len(lines) else []
