"""Those that listen to events."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from .events import Event

Listener = Callable[[Event], object]
"""Called with each event. It must not raise, and must not wait."""


class Listeners:
    """Hands each event to all that listen.

    `tell` is `None` while nobody listens. Check that before an event is made, so that it then costs nothing.
    """

    __slots__ = ("_listeners", "tell")

    def __init__(self) -> None:
        self.tell: Listener | None = None
        self._listeners: tuple[Listener, ...] = ()

    @property
    def all(self) -> tuple[Listener, ...]:
        """Return all that listen, in the order in which they are told."""
        return self._listeners

    def add(self, listener: Listener) -> None:
        """Let `listener` hear all later events."""
        self._set((*self._listeners, listener))

    def remove(self, listener: Listener) -> None:
        """Let `listener` hear nothing more."""
        self._set(tuple(each for each in self._listeners if each is not listener))

    def announce(self, event: Event) -> None:
        """Tell of something rare, if anybody listens."""
        if self.tell is not None:
            self.tell(event)

    @contextmanager
    def heard_by(self, *listeners: Listener) -> Iterator[None]:
        """Let `listeners` hear the events of this block."""
        for listener in listeners:
            self.add(listener)
        try:
            yield
        finally:
            for listener in listeners:
                self.remove(listener)

    def _set(self, listeners: tuple[Listener, ...]) -> None:
        self._listeners = listeners
        if not listeners:
            self.tell = None
        elif len(listeners) == 1:
            (self.tell,) = listeners
        else:
            self.tell = self._tell_all

    def _tell_all(self, event: Event) -> None:
        for listener in self._listeners:
            listener(event)
