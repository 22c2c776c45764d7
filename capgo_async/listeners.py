"""Those that listen to events."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, Literal

from .events import Event

Listener = Callable[[Any], object]
"""Called with each event. It must not raise, and must not wait."""
Channel = Literal["began", "ended", "other"]
"""`AttemptBegan`, `AttemptEnded`, or all other events."""
_ALL: Final[tuple[Channel, ...]] = ("began", "ended", "other")


class Listeners:
    """Hands each event to all that listen.

    Attempts have channels of their own, because there are so many of them. `began`, `ended` and `tell` are `None` while nobody
    listens there. Check that before an event is made, so that it then costs nothing.
    """

    __slots__ = ("_listeners", "began", "ended", "tell")

    def __init__(self) -> None:
        self.began: Listener | None = None
        self.ended: Listener | None = None
        self.tell: Listener | None = None
        self._listeners: tuple[tuple[Listener, tuple[Channel, ...]], ...] = ()

    @property
    def all(self) -> tuple[Listener, ...]:
        """Return all that listen, in the order in which they are told."""
        return tuple(listener for listener, _ in self._listeners)

    def add(self, listener: Listener, *channels: Channel) -> None:
        """Let `listener` hear all later events, or those of the given channels."""
        self._set((*self._listeners, (listener, channels or _ALL)))

    def remove(self, listener: Listener) -> None:
        """Let `listener` hear nothing more."""
        self._set(tuple(each for each in self._listeners if each[0] != listener))

    def announce(self, event: Event) -> None:
        """Tell of something other than an attempt, if anybody listens."""
        if self.tell is not None:
            self.tell(event)

    @contextmanager
    def heard_by(self, listener: Listener, *channels: Channel) -> Iterator[None]:
        """Let `listener` hear the events of this block."""
        self.add(listener, *channels)
        try:
            yield
        finally:
            self.remove(listener)

    def _set(self, listeners: tuple[tuple[Listener, tuple[Channel, ...]], ...]) -> None:
        self._listeners = listeners
        self.began, self.ended, self.tell = (
            _together([listener for listener, channels in listeners if channel in channels]) for channel in _ALL
        )


def _together(listeners: list[Listener]) -> Listener | None:
    """Return what calls all listeners, or `None` without any."""
    if len(listeners) <= 1:
        return listeners[0] if listeners else None

    def tell_all(event: Event) -> None:
        for listener in listeners:
            listener(event)

    return tell_all
