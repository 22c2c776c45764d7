"""The namespaces of the client, such as `client.devices`."""

from .api_keys import ApiKeys
from .apps import Apps
from .bundles import Bundles
from .channels import Channels
from .devices import Devices
from .members import Members
from .organizations import Organizations
from .statistics import Statistics

__all__ = ["ApiKeys", "Apps", "Bundles", "Channels", "Devices", "Members", "Organizations", "Statistics"]
