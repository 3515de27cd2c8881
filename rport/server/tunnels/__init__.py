"""Tunnels: which ports there are for them, what sessions listen on, and those that were opened through the API."""
