"""One call of the API: its request, the limits that count it, and whether repeating it is harmless."""

import msgspec

from ..errors import ApiError
from ..limits.models import Scope
from .retry import Repeat
from .wire import Request


class Call(msgspec.Struct, frozen=True, gc=False):
    """A request with its name, the limits that count it, and whether it may be repeated.

    `settled_by` lists errors that mean success if an earlier attempt of the same call may have been processed (contract G1).
    `takes_tokens` is whether the server accepts session tokens in place of API keys (contract A2).
    """

    name: str
    request: Request
    scopes: tuple[Scope, ...] = ()
    repeat: Repeat = Repeat.HARMLESS
    keyed: bool = True
    settled_by: tuple[type[ApiError], ...] = ()
    takes_tokens: bool = False
