"""The routes of the API, and what each returns."""

from .call import Call
from .table import Route, match

__all__ = ["Call", "Route", "match"]
