"""Encrypted, multiplexed reverse tunnels over one HTTP connection."""

__version__ = "0.1.0"
