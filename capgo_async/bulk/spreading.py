"""How listings are spread over apps, cursors and pages.

The pacer keeps the server's limits. These bounds keep memory small.
"""

from typing import Final

from ..key_ring import KeyRing, pacer_of

PAGE: Final = 200
"""Largest number of devices per page when apps are listed (contract C7)."""
APPS_AT_ONCE: Final = 8
_CURSORS: Final = 8
_CURSORS_OF_MANY: Final = 4
"""Fewest cursors per app when several are listed. Apps differ in size, and the largest takes longest."""


def apps_at_once(client: KeyRing) -> int:
    """Return the number of apps to list concurrently."""
    return min(APPS_AT_ONCE, pacer_of(client).concurrency)


def cursors_each(client: KeyRing, apps: int) -> int:
    """Return the number of cursors for each app when the devices of `apps` apps are listed."""
    return cursors_among(pacer_of(client).concurrency, apps)


def cursors_among(concurrency: int, apps: int) -> int:
    """Return `cursors_each` for a given concurrency. Forecasts have no client."""
    share = concurrency // max(1, apps)
    return min(_CURSORS, concurrency, max(share, _CURSORS_OF_MANY))


def page_of(client: KeyRing) -> int:
    """Return the page size for devices, reduced where larger pages were seen to lose channels.

    The server loses them whichever key asks. A link that is missed that way is planned again.
    """
    known = (each.known() for each in client.clients)
    return min((PAGE, *(each.page for each in known if each.page is not None and each.page_loses is not None)))
