"""The public Python API of MantisDB: PEP 249 (DB-API 2.0).

    import mantisdb

    connection = mantisdb.connect("flights.mantis")
    for row in connection.execute("SELECT * FROM flights WHERE dest = ?", ("LAX",)):
        print(row)

See docs/python-api.md.
"""

from __future__ import annotations

from engine.errors import (
    DatabaseError,
    DataError,
    Error,
    IntegrityError,
    InterfaceError,
    InternalError,
    NotSupportedError,
    OperationalError,
    ProgrammingError,
    Warning,  # noqa: A004  (PEP 249 fixes the name)
)
from engine.types import Interval
from mantisdb.connection import Connection, connect
from mantisdb.cursor import Cursor
from mantisdb.retry import run_transaction
from mantisdb.types import (
    BINARY,
    DATETIME,
    NUMBER,
    ROWID,
    STRING,
    Binary,
    Date,
    DateFromTicks,
    Time,
    TimeFromTicks,
    Timestamp,
    TimestampFromTicks,
)

apilevel = "2.0"
threadsafety = 2
paramstyle = "qmark"

__all__ = [
    "BINARY",
    "DATETIME",
    "NUMBER",
    "ROWID",
    "STRING",
    "Binary",
    "Connection",
    "Cursor",
    "DataError",
    "DatabaseError",
    "Date",
    "DateFromTicks",
    "Error",
    "IntegrityError",
    "InterfaceError",
    "InternalError",
    "Interval",
    "NotSupportedError",
    "OperationalError",
    "ProgrammingError",
    "Time",
    "TimeFromTicks",
    "Timestamp",
    "TimestampFromTicks",
    "Warning",
    "apilevel",
    "connect",
    "paramstyle",
    "run_transaction",
    "threadsafety",
]
