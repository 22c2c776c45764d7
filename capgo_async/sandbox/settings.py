"""Settings of a sandbox, and which behaviour came with which server version (contract H1, J1, 0.2)."""

import math
import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Final, get_args

import msgspec
from msgspec import Meta
from msgspec.structs import replace

from .exchange import Generation
from .faults import Rule
from .limiting import Thresholds

_DAY: Final = 86_400.0
_OVERRIDE_DAYS: Final[Mapping[Generation, float]] = {"2026-07": 30, "2026-11": math.inf, "docs": 90, "seed": 30}


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of one sandbox.

    `speed` divides the windows of all limiters. `shuffle_ties` orders channels and bundles with the same `created_at` at random
    for each request, as a database may. `log_size` bounds the access log.

    Real servers mix the generations, so the flags can be set alone; `None` is as in the generation (contract J1).

    - `page_bug`: that of contract C6.
    - `bundle_target`: `PUT /bundle` takes a `target`, which is `auto` by default.
    - `custom_id_filter`: that of `GET /device`.
    - `same_set_window`: in seconds.
    - `override_days`: age at which an override is removed; `math.inf` for never.
    - `rights_503`, `keys_503`: a check of permissions, or the look-up of a key, without a database is 503, not a refusal.
    """

    generation: Generation = "2026-07"
    version: str | None = None
    page_bug: bool | None = None
    bundle_target: bool = False
    custom_id_filter: bool | None = None
    same_set_window: Annotated[int, Meta(ge=1)] | None = None
    override_days: Annotated[float, Meta(ge=0)] | None = None
    rights_503: bool | None = None
    keys_503: bool | None = None
    row_cap: int = 1000
    limits: Thresholds = Thresholds()
    speed: float = 1.0
    faults: tuple[Rule, ...] = ()
    shuffle_ties: bool = False
    log_size: int | None = None

    def __post_init__(self) -> None:
        if self.speed <= 0 or self.row_cap < 1 or self.log_size == 0:
            message = f"speed {self.speed}, row_cap {self.row_cap} and log_size {self.log_size} must all be above 0"
            raise ValueError(message)
        if self.generation not in (known := get_args(Generation)):
            message = f"no generation of servers is called {self.generation!r}: choose one of {', '.join(known)}"
            raise ValueError(message)

    @property
    def is_modern(self) -> bool:
        """Return whether this is a server that exists, after the seed era."""
        return self.generation in {"2026-07", "2026-11"}

    @property
    def is_newest(self) -> bool:
        """Return whether the server has the changes that followed 12.201.7."""
        return self.generation == "2026-11"

    @property
    def keeps_packages(self) -> bool:
        """Return whether `updatePackage` of a channel is stored and shown."""
        return self.generation in {"2026-11", "docs"}

    @property
    def worker_source(self) -> str:
        """Return the value of `X-Worker-Source`; that of the newest servers is not known (contract 0.1)."""
        return self.version or ("capgo_api-sandbox-12.262.1" if self.is_newest else "capgo_api-sandbox-12.201.7")

    @property
    def has_page_bug(self) -> bool:
        return self.generation in {"2026-07", "seed"} if self.page_bug is None else self.page_bug

    @property
    def filters_custom_ids(self) -> bool:
        return self.is_newest if self.custom_id_filter is None else self.custom_id_filter

    @property
    def same_set_seconds(self) -> int:
        """Return the window of the same-set limiter (contract B2)."""
        return self.same_set_window or (5 if self.is_newest else 60)

    @property
    def override_lifetime(self) -> float:
        """Return the age in seconds at which the nightly job removes an override (contract C7)."""
        return (_OVERRIDE_DAYS[self.generation] if self.override_days is None else self.override_days) * _DAY

    @property
    def admits_lost_rights(self) -> bool:
        """Return whether a check of permissions without a database is told as that (contract A7)."""
        return self.is_newest if self.rights_503 is None else self.rights_503

    @property
    def admits_lost_keys(self) -> bool:
        """Return whether the look-up of a key without a database is told as that (contract A7)."""
        return self.is_newest if self.keys_503 is None else self.keys_503


FLAGS: Final = (
    "bundle_target",
    "custom_id_filter",
    "same_set_window",
    "override_days",
    "rights_503",
    "keys_503",
    "page_bug",
)
"""Settings by which servers of one generation differ."""


def flagged(settings: Settings, flags: Iterable[str]) -> Settings:
    """Return the settings with flags such as `bundle_target=true` in them; raises `ValueError`."""
    given: dict[str, str] = {}
    for flag in flags:
        name, equals, value = flag.partition("=")
        if name not in FLAGS or not equals:
            message = f"flag {flag!r}: expected NAME=VALUE, where NAME is one of {', '.join(FLAGS)}"
            raise ValueError(message)
        given[name] = value
    try:
        read = msgspec.convert(given, Settings, strict=False)
    except msgspec.ValidationError as error:
        message = f"flags {', '.join(flags)}: {error}"
        raise ValueError(message) from error
    return replace(settings, **{name: getattr(read, name) for name in given})


_VERSION: Final = re.compile(r"(\d+)\.(\d+)\.(\d+)$", re.ASCII)

Version = tuple[int, int, int]

METADATA_SAYS_OK: Final[Version] = (12, 100, 5)
CHANNELS_MAY_LACK_A_BUNDLE: Final[Version] = (12, 142, 0)
ROLLOUTS: Final[Version] = (12, 188, 1)
LINKED_BUNDLES_ARE_SAFE: Final[Version] = (12, 188, 1)
"""First version in which settings keep a channel's bundle, and bundles in use cannot be deleted."""
CHANNELS_ARE_REALLY_DELETED: Final[Version] = (12, 199, 4)


def since(settings: Settings, version: Version) -> bool:
    """Return whether the server has that version or a later one.

    The seed era counts as the oldest, a server without a version as the newest.
    """
    if settings.generation == "seed":
        return False
    found = _VERSION.search(settings.worker_source)
    return found is None or tuple(int(part) for part in found.groups()) >= version
