"""The HTTP API, documented by its own OpenAPI description."""

from rport.server.api.app import create_app

__all__ = ["create_app"]
