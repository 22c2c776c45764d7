"""One call of the API: its request, the limits that count it, and whether repeating it is harmless."""

import msgspec

from ..errors import ApiError
from ..limits.models import Scope
from ..limits.timing import ANY
from .retry import Repeat
from .wire import Request


class Call(msgspec.Struct, frozen=True, gc=False):
    """A request with its name, the limits that count it, and whether it may be repeated.

    `settled_by` lists errors that mean success if an earlier attempt of the same call may have been processed (contract G1).
    `takes_tokens` is whether the server accepts session tokens in place of API keys (contract A2).
    `timed_as` is set if calls with the same method and path take longer or shorter. `app` is its app, or
    empty.
    """

    name: str
    request: Request
    scopes: tuple[Scope, ...] = ()
    repeat: Repeat = Repeat.HARMLESS
    keyed: bool = True
    settled_by: tuple[type[ApiError], ...] = ()
    takes_tokens: bool = False
    timed_as: str = ""
    app: str = ""

    @property
    def kind(self) -> str:
        """Return the kind of requests that take as long as this one, such as `POST /device`, or `ANY`."""
        request = self.request
        # A path that ends with an id, a name or a key is that of a single thing.
        common = request.shown_path is None and request.path.rpartition("/")[2].isalpha()
        return self.timed_as or (f"{request.method} {request.path}" if common else ANY)
