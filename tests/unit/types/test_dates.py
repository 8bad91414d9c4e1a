"""Dates, times, intervals: text forms as PostgreSQL reads and writes them, and arithmetic."""

from __future__ import annotations

import pytest

from engine.errors import DataError
from engine.types import dates


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("2020-02-29", "2020-02-29"),
        ("0001-01-01", "0001-01-01"),
        ("9999-12-31", "9999-12-31"),
        ("20200131", "2020-01-31"),
        ("2020-1-5", "2020-01-05"),
        ("2020-01-31 23:59:59", "2020-01-31"),
    ],
)
def test_dates(text: str, shown: str) -> None:
    assert dates.format_date(dates.parse_date(text)) == shown


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("2020-02-30", "22008"),
        ("2020-13-01", "22008"),
        ("hello", "22007"),
        ("2020-01", "22007"),
        ("2020-01-01x", "22007"),
        ("2020-W01-1", "22007"),
        ("", "22007"),
    ],
)
def test_bad_dates(text: str, code: str) -> None:
    with pytest.raises(DataError) as caught:
        dates.parse_date(text)
    assert caught.value.sqlstate == code


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("2020-01-31", "2020-01-31 00:00:00"),
        ("2020-01-31T04:05:06.789", "2020-01-31 04:05:06.789"),
        ("2020-01-31 04:05", "2020-01-31 04:05:00"),
        ("2020-01-31 4:05 pm", "2020-01-31 16:05:00"),
        ("1969-12-31 23:59:59.999999", "1969-12-31 23:59:59.999999"),
        ("2020-01-31 04:05:06+02", "2020-01-31 04:05:06"),
        ("2020-01-31 24:00:00", "2020-02-01 00:00:00"),
    ],
)
def test_timestamps(text: str, shown: str) -> None:
    assert dates.format_timestamp(dates.parse_timestamp(text)) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("2020-01-31 04:05:06+02", "2020-01-31 02:05:06+00"),
        ("2020-01-31 04:05:06-05:30", "2020-01-31 09:35:06+00"),
        ("2020-01-31T04:05:06Z", "2020-01-31 04:05:06+00"),
        ("2020-01-31 04:05:06", "2020-01-31 04:05:06+00"),
    ],
)
def test_timestamps_with_zone(text: str, shown: str) -> None:
    assert dates.format_timestamptz(dates.parse_timestamptz(text)) == shown


@pytest.mark.parametrize("text", ["25:00", "12:60", "12:00:61", "13:00 pm", "24:00:01"])
def test_clock_out_of_range(text: str) -> None:
    with pytest.raises(DataError) as caught:
        dates.parse_time(text)
    assert caught.value.sqlstate == "22008"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("1 day", "1 day"),
        ("2 hours 30 minutes", "02:30:00"),
        ("1 year 2 mons 3 days 04:05:06", "1 year 2 mons 3 days 04:05:06"),
        ("1-2", "1 year 2 mons"),
        ("-1 day", "-1 days"),
        ("1 day ago", "-1 days"),
        ("1 mon -1 day 01:00", "1 mon -1 days +01:00:00"),
        ("1.5 days", "1 day 12:00:00"),
        ("1.5 months", "1 mon 15 days"),
        ("P1Y2M3DT4H5M6.5S", "1 year 2 mons 3 days 04:05:06.5"),
        ("PT36H", "36:00:00"),
        ("90", "00:01:30"),
        ("0", "00:00:00"),
        ("-00:00:01", "-00:00:01"),
        ("2 weeks", "14 days"),
        ("@ 1 minute", "00:01:00"),
    ],
)
def test_intervals(text: str, shown: str) -> None:
    assert dates.format_interval(dates.parse_interval(text)) == shown


@pytest.mark.parametrize("text", ["", "day", "1 parsec", "P1X", "1 day x", "PT1D"])
def test_bad_intervals(text: str) -> None:
    with pytest.raises(DataError) as caught:
        dates.parse_interval(text)
    assert caught.value.sqlstate == "22007"


@pytest.mark.parametrize(
    ("start", "interval", "end"),
    [
        ("2020-01-31", "1 month", "2020-02-29 00:00:00"),
        ("2019-01-31", "1 month", "2019-02-28 00:00:00"),
        ("2020-02-29", "1 year", "2021-02-28 00:00:00"),
        ("2020-03-31", "-1 month", "2020-02-29 00:00:00"),
        ("2020-12-31", "1 day 01:00", "2021-01-01 01:00:00"),
    ],
)
def test_adding_an_interval(start: str, interval: str, end: str) -> None:
    stamp = dates.add_interval(dates.parse_timestamp(start), dates.parse_interval(interval))
    assert dates.format_timestamp(stamp) == end


def test_leaving_the_range_is_refused() -> None:
    with pytest.raises(DataError) as caught:
        dates.add_interval(dates.parse_timestamp("9999-12-31"), (0, 1, 0))
    assert caught.value.sqlstate == "22008"


def test_intervals_compare_with_months_of_30_days() -> None:
    order = dates.interval_order
    assert order(dates.parse_interval("1 month")) == order(dates.parse_interval("30 days"))
    assert order(dates.parse_interval("1 day")) == order(dates.parse_interval("24:00:00"))
    assert order(dates.parse_interval("1 month")) < order(dates.parse_interval("31 days"))
