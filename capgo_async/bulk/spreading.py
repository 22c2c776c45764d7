"""How looks are spread over apps, over one app and over pages: the pacer keeps the limits, memory sets the bounds."""

from typing import Final

from ..ring import KeyRing, pacer_of

PAGE: Final = 200
"""Devices a page at most, when apps are listed (contract C7)."""
APPS_AT_ONCE: Final = 8
_CURSORS: Final = 8
_CURSORS_OF_MANY: Final = 4
"""Cursors of an app beside others: apps are seldom of one size, and the largest is looked at longest."""


def apps_at_once(client: KeyRing) -> int:
    """Return how many apps are looked at at once."""
    return min(APPS_AT_ONCE, pacer_of(client).concurrency)


def cursors_each(client: KeyRing, apps: int) -> int:
    """Return with how many cursors the devices of each of so many apps are listed."""
    return cursors_among(pacer_of(client).concurrency, apps)


def cursors_among(concurrency: int, apps: int) -> int:
    """Return what `cursors_each` does for a client of that concurrency: forecasts have no client."""
    share = concurrency // max(1, apps)
    return min(_CURSORS, concurrency, max(share, _CURSORS_OF_MANY))


def page_of(client: KeyRing) -> int:
    """Return how many devices a page has: no more than keep their channel there, where larger pages were seen to lose it.

    It is the server that loses them, whichever key asks: an existing link that is missed is planned again.
    """
    known = (each.known() for each in client.clients)
    return min((PAGE, *(each.page for each in known if each.page is not None and each.page_loses is not None)))
