"""The namespaces of the client: thin names over endpoints and paging."""

from .apps import Apps
from .bundles import Bundles
from .channels import Channels
from .devices import Devices

__all__ = ["Apps", "Bundles", "Channels", "Devices"]
