"""Stop rules: pure, exact, and in the order of recording."""

from collections.abc import Sequence
from fractions import Fraction

import pytest
from hypothesis import given, strategies as st

from capgo_async.bulk.operations.results import Done, Failed, Settled
from capgo_async.bulk.running.runner import StopReason
from capgo_async.bulk.running.stopping import StopRules, Watch, read_share
from capgo_async.errors import Problem

OFF = StopRules(failures=None, consecutive=None, no_access=None, server_errors=None)
GOOD = Done()
BAD = Failed("invalid_request", status=400)
BROKEN = Failed("unknown_error", status=502)
AWAY = Failed("upstream_unavailable", status=503)
NO_DATABASE = Failed("ambiguous", status=503)
DENIED = Failed("cannot_access_app", status=400)
GONE = Failed("channel_not_found", status=404)
OF_THE_SERVER = StopReason("11 of the last 50 operations failed with a server error", Problem.SERVER_FAILING)
NO_CHANNEL = StopReason(
    "the channel of 3 operations in a row in a is gone, and was there when the job was planned", Problem.CHANNEL_GONE
)
NO_ACCESS = StopReason(
    "3 operations in a row had no access to a, which was accessible when the job was planned", Problem.ACCESS_LOST
)


def too_many(share: str) -> StopReason:
    return StopReason(f"{share} operations failed", Problem.TOO_MANY_FAILED)


def first_stop(rules: StopRules, results: Sequence[Done | Failed], app_ids: str = "a") -> tuple[int, StopReason] | None:
    """Return after how many outcomes the rules stop, and why; the apps take turns."""
    watch = Watch(rules)
    for place, result in enumerate(results):
        reason = watch.note(Settled(place, result, app_ids[place % len(app_ids)]))
        if reason is not None:
            return place + 1, reason
    return None


@pytest.mark.parametrize(
    ("rules", "results", "stops"),
    [
        (StopRules(), [GOOD] * 10_000, None),
        (StopRules(), ([GOOD] * 99 + [BAD]) * 100, None),
        (StopRules(), [BAD] * 50, (50, StopReason("50 operations in a row failed", Problem.FAILED_IN_A_ROW))),
        (StopRules(consecutive=None), [BAD] * 99, None),
        (StopRules(consecutive=None), [BAD] * 100, (100, too_many("100 of 100"))),
        (StopRules(), ([BAD] * 49 + [GOOD]) * 3, (100, too_many("98 of 100"))),
        # Exactly a tenth is not more than a tenth; one more is.
        (StopRules(), [*([GOOD] * 9 + [BAD]) * 20], None),
        (
            StopRules(),
            [*([GOOD] * 9 + [BAD]) * 20, BAD],
            (201, too_many("21 of 201")),
        ),
        (StopRules(), [DENIED] * 3, (3, NO_ACCESS)),
        # A database that is away says nothing about access.
        (StopRules(server_errors=None), [AWAY, NO_DATABASE] * 20, None),
        (StopRules(failures=None), [*[GOOD] * 39, *[AWAY] * 11], (50, OF_THE_SERVER)),
        (StopRules(failures=None), [*[GOOD] * 39, *[NO_DATABASE] * 11], (50, OF_THE_SERVER)),
        (StopRules(), [DENIED, DENIED, GOOD] * 5, None),
        (StopRules(), [GONE] * 3, (3, NO_CHANNEL)),
        (StopRules(), [GONE, GONE, DENIED, DENIED, GONE, BAD] * 3, None),
        (StopRules(), [GONE, GONE, DENIED, DENIED, DENIED], (5, NO_ACCESS)),
        (StopRules(no_access=None), [GONE] * 49, None),
        (StopRules(failures=None), [*[GOOD] * 40, *[BROKEN] * 10], None),
        (
            StopRules(failures=None),
            [*[GOOD] * 39, *[BROKEN] * 11],
            (50, OF_THE_SERVER),
        ),
        (StopRules(failures=None), [*[BROKEN] * 10, *[GOOD] * 40, *[BROKEN] * 10], None),
        (OFF, [BROKEN, DENIED, BAD] * 1000, None),
    ],
)
def test_rules(rules: StopRules, results: list[Done | Failed], stops: tuple[int, StopReason] | None) -> None:
    assert first_stop(rules, results) == stops


def test_lost_access_counts_in_each_app_by_itself() -> None:
    assert first_stop(StopRules(), [DENIED, GOOD] * 3, "ab") == (
        5,
        NO_ACCESS,
    )
    assert first_stop(OFF, [DENIED, GOOD] * 3, "ab") is None


@given(st.lists(st.booleans(), max_size=400), st.integers(1, 40), st.integers(1, 99))
def test_the_share_is_exact(outcomes: list[bool], minimum: int, percent: int) -> None:
    rules = StopRules(failures=Fraction(percent, 100), minimum=minimum, consecutive=None, no_access=None, server_errors=None)
    found = first_stop(rules, [BAD if failed else GOOD for failed in outcomes])
    over = [n for n in range(minimum, len(outcomes) + 1) if 100 * sum(outcomes[:n]) > percent * n]
    assert (found[0] if found else None) == (over[0] if over else None)


@pytest.mark.parametrize(("text", "share"), [("1%", Fraction(1, 100)), ("2.5 %", Fraction(1, 40)), ("100%", Fraction(1))])
def test_shares_are_read_exactly(text: str, share: Fraction) -> None:
    assert read_share(text) == share


@pytest.mark.parametrize("text", ["", "1", "101%", "-1%", "one%", "1e1%"])
def test_what_is_no_share_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a share"):
        read_share(text)
