"""Those that listen to events."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, Literal, NamedTuple

from .events import Event

Listener = Callable[[Any], object]
"""Called with each event. It must not raise, and must not wait."""
Channel = Literal["calls", "began", "ended", "other"]
"""`CallBegan` and `CallEnded`, `AttemptBegan`, `AttemptEnded`, or all other events."""
_ALL: Final[tuple[Channel, ...]] = ("calls", "began", "ended", "other")


class _Entry(NamedTuple):
    listener: Listener
    channels: tuple[Channel, ...]
    when: Callable[[], bool] | None


class Listeners:
    """Hands each event to all that listen.

    Calls and attempts have channels of their own, because there are so many of them. `calls`, `began`, `ended` and `tell` are
    `None` while nobody listens there. Check that before an event is made, so that it then costs nothing.
    """

    __slots__ = ("_entries", "_heard", "_sometimes", "began", "calls", "ended", "tell")

    def __init__(self) -> None:
        self.calls: Listener | None = None
        self.began: Listener | None = None
        self.ended: Listener | None = None
        self.tell: Listener | None = None
        self._entries: tuple[_Entry, ...] = ()
        self._sometimes: tuple[Callable[[], bool], ...] = ()
        self._heard: list[bool] = []

    @property
    def all(self) -> tuple[Listener, ...]:
        """Return all that listen, in the order in which they are told."""
        return tuple(entry.listener for entry in self._entries)

    def add(self, listener: Listener, *channels: Channel, when: Callable[[], bool] | None = None) -> None:
        """Let `listener` hear all later events, or those of the given channels.

        With `when`, it hears them only while that returns true, see `look`.
        """
        self._set((*self._entries, _Entry(listener, channels or _ALL, when)))

    def remove(self, listener: Listener) -> None:
        """Let `listener` hear nothing more."""
        self._set(tuple(entry for entry in self._entries if entry.listener != listener))

    def look(self) -> None:
        """Ask those that listen at times whether they do now. Every call does so once."""
        if self._sometimes and [when() for when in self._sometimes] != self._heard:
            self._set(self._entries)

    def announce(self, event: Event) -> None:
        """Tell of something other than a call or an attempt, if anybody listens."""
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

    def _set(self, entries: tuple[_Entry, ...]) -> None:
        self._entries = entries
        self._sometimes = tuple(entry.when for entry in entries if entry.when is not None)
        self._heard = [when() for when in self._sometimes]
        listening = [entry for entry in entries if entry.when is None or entry.when()]
        self.calls, self.began, self.ended, self.tell = (
            _together([entry.listener for entry in listening if channel in entry.channels]) for channel in _ALL
        )


def _together(listeners: list[Listener]) -> Listener | None:
    """Return what calls all listeners, or `None` without any."""
    if len(listeners) <= 1:
        return listeners[0] if listeners else None

    def tell_all(event: Event) -> None:
        for listener in listeners:
            listener(event)

    return tell_all
