"""An inventory of one app, with pages as the real server writes them (contract C7)."""

import re
from bisect import bisect_right
from functools import lru_cache
from random import Random
from typing import Final
from urllib.parse import unquote_to_bytes
from uuid import UUID

_QUERY: Final = re.compile(rb"[?&](cursor|limit|updated_at)=([^&\s]*)")
_STORED: Final = b"2026-07-01T10:20:30.123456+00:00"
_ROW: Final = (
    b'{"updated_at":"2026-07-01T10:20:30.123Z","device_id":"%b","custom_id":"","is_prod":true,"is_emulator":false,'
    b'"install_source":null,"version_name":"1.4.2","version":31,"app_id":"com.example.app","platform":"android",'
    b'"plugin_version":"7.4.0","os_version":"15","version_build":"1.4.0","key_id":null,"country_code":null%b}'
)
_LINK: Final = b',"channel":"beta"'
_KEPT_PAGES: Final = 1500


class Inventory:
    """Devices with random ids, every third of them linked.

    The devices of the first page are the recently changed ones.
    """

    def __init__(self, devices: int) -> None:
        chance = Random(devices)
        self._ids = sorted(str(UUID(int=chance.getrandbits(128), version=4)).encode() for _ in range(devices))
        self._page = lru_cache(_KEPT_PAGES)(self._written)

    def page(self, head: bytes) -> bytes:
        """Return the response to a request with this head. Pages are cached."""
        asked = dict(_QUERY.findall(head))
        after = unquote_to_bytes(asked.get(b"cursor", b"")).rpartition(b"|")[2]
        return self._page(after, int(asked.get(b"limit", b"50")), only=b"updated_at" in asked)

    def _written(self, after: bytes, limit: int, *, only: bool) -> bytes:
        begin = bisect_right(self._ids, after)
        end = min(begin + limit, len(self._ids))
        rows = b",".join(_ROW % (self._ids[place], b"" if place % 3 else _LINK) for place in range(begin, end))
        if only or end == len(self._ids):
            return b'{"data":[%b],"hasMore":false}' % rows
        return b'{"data":[%b],"nextCursor":"%b|%b","hasMore":true}' % (rows, _STORED, self._ids[end - 1])
