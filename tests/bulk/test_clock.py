"""Times as people read them: in the zone of the machine, which is named."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from capgo_async.bulk.clock import local_time


@pytest.fixture
def three_hours_east(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "EAST-3")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("three_hours_east")
@pytest.mark.parametrize(
    ("at", "shown"),
    [
        (datetime(2026, 11, 30, 5, 0, tzinfo=UTC), "2026-11-30 08:00 EAST"),
        (datetime(2026, 11, 30, 22, 30, 7, tzinfo=UTC), "2026-12-01 01:30:07 EAST"),
    ],
)
def test_a_time_is_shown_in_the_zone_of_the_machine(at: datetime, shown: str) -> None:
    assert local_time(at) == shown


def test_a_machine_in_utc_says_so() -> None:
    assert local_time(datetime.fromisoformat("2026-11-30T05:00:00+02:00")) == "2026-11-30 03:00 UTC"
