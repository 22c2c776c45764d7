"""Whether charts and pages can be drawn. The packages come with the extra `charts`."""

import importlib.util
from collections.abc import Mapping
from typing import Final

from ...errors import ConfigurationError

_PACKAGES: Final[Mapping[str, str]] = {"altair": "altair", "jinja2": "jinja2", "vl_convert": "vl-convert-python"}
"""Modules that draw, and the packages that they are in."""


def missing_packages() -> list[str]:
    """Return the packages that draw and are not installed."""
    return [package for module, package in _PACKAGES.items() if importlib.util.find_spec(module) is None]


def check_charts() -> None:
    """Raise `ConfigurationError` if a package that draws is not installed."""
    if missing := missing_packages():
        message = f"charts need {' and '.join(missing)}, not installed here: pip install 'capgo-async[charts]'"
        raise ConfigurationError(message)
