"""From syntax to meaning: names become columns, literals get types, functions their overloads.

`bind` is the door. It knows the catalog and the syntax nodes; it is given parsers for the stored
texts of views, defaults and checks, and knows no grammar.
"""

from engine.sql.binder.statement import bind

__all__ = ["bind"]
