"""A day of sensor readings: bulk insert, an aggregate in SQL, and the result as an Arrow table.

python examples/sensors.py
"""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import mantisdb

if TYPE_CHECKING:
    import pyarrow as pa

SENSORS = 3
START = datetime(2024, 6, 1)


def readings() -> list[tuple[int, int, datetime, float]]:
    """One reading a minute from each sensor: (id, sensor, time, degrees)."""
    rows = []
    for minute in range(24 * 60):
        for sensor in range(SENSORS):
            degrees = 20 + sensor + 5 * math.sin(minute / 1440 * 2 * math.pi)
            time = START + timedelta(minutes=minute)
            rows.append((len(rows), sensor, time, round(degrees, 3)))
    return rows


def main() -> pa.Table:
    connection = mantisdb.connect(":memory:")
    connection.execute(
        "CREATE TABLE reading"
        " (id integer PRIMARY KEY, sensor integer, time timestamp, degrees double precision)"
    )
    connection.executemany("INSERT INTO reading VALUES (?, ?, ?, ?)", readings())
    connection.commit()

    table = connection.execute(
        "SELECT sensor, count(*) AS readings, min(degrees) AS low, max(degrees) AS high,"
        " min(time) AS since FROM reading GROUP BY sensor ORDER BY sensor"
    ).fetch_arrow_table()
    print(table.schema)
    for row in table.to_pylist():
        print(row)
    connection.close()
    return table


if __name__ == "__main__":
    main()
