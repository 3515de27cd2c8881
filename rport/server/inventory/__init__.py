"""The machines: which there are and which were, and who each of them is."""

from rport.server.inventory.client import Client, ClientExists, ClientNotFound
from rport.server.inventory.inventory import Inventory

__all__ = ["Client", "ClientExists", "ClientNotFound", "Inventory"]
