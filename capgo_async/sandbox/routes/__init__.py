"""The routes: which there are, and what each answers over a world."""

from .call import Call
from .table import Route, match

__all__ = ["Call", "Route", "match"]
