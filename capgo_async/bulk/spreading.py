"""How reads are spread over apps, within an app, and over pages.

The pacer keeps the limits; memory sets the bounds here.
"""

from typing import Final

from ..key_ring import KeyRing, pacer_of

PAGE: Final = 200
"""Most devices in a page, when apps are listed (contract C7)."""
APPS_AT_ONCE: Final = 8
_CURSORS: Final = 8
_CURSORS_OF_MANY: Final = 4
"""Cursors of one of several apps: apps are seldom of one size, and the largest takes longest."""


def apps_at_once(client: KeyRing) -> int:
    """Return how many apps are read at once."""
    return min(APPS_AT_ONCE, pacer_of(client).concurrency)


def cursors_each(client: KeyRing, apps: int) -> int:
    """Return how many cursors list the devices of each app, if there are so many apps."""
    return cursors_among(pacer_of(client).concurrency, apps)


def cursors_among(concurrency: int, apps: int) -> int:
    """Return what `cursors_each` returns for a client of that concurrency: forecasts have no client."""
    share = concurrency // max(1, apps)
    return min(_CURSORS, concurrency, max(share, _CURSORS_OF_MANY))


def page_of(client: KeyRing) -> int:
    """Return how many devices a page has, so that none loses its channel.

    Where larger pages were seen to lose it, pages are no larger than one that kept it (contract C7). It is the server that
    loses it, whichever key asks. A link that is missed would be planned again.
    """
    known = (each.known() for each in client.clients)
    return min((PAGE, *(each.page for each in known if each.page is not None and each.page_loses is not None)))
