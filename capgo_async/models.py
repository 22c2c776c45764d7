"""The structs that calls return (contract C)."""

from .api.models import *
from .api.models import __all__ as __all__
