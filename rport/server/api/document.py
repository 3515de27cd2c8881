"""The API's own description, finished so that generators and their compilers take it: what FastAPI leaves undone."""

import json
import re
from collections.abc import Iterator
from functools import cached_property
from typing import Any

from fastapi import FastAPI
from starlette.routing import compile_path

from rport.server.api.credentials import COOKIE
from rport.server.api.problems import MEDIA_TYPE

# Ways to say who one is, by the name that operations demand them with: components.securitySchemes.
SECURITY: dict[str, dict[str, str]] = {
    "token": {"type": "http", "scheme": "bearer", "description": "a user's token, rpt_..."},
    "password": {
        "type": "http",
        "scheme": "basic",
        "description": "a user and his password; with a second factor, its code in X-Rport-OTP",
    },
    "session": {"type": "apiKey", "in": "cookie", "name": COOKIE, "description": "what POST /login gives to a browser"},
}

_PROBLEM = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
_FORMATS = {"integer": "int64", "number": "double"}  # else Go's are of 32 bits, and a counter of bytes is no answer
_NO_SLASH = r"^[^/\\]*$"  # of texts in a path, which the guard refuses otherwise
_SCHEMA_MAPS = {"properties", "$defs", "schemas"}  # names there are the API's, no keywords


class Described(FastAPI):
    """An application whose document is finished when it is first asked for."""

    def openapi(self) -> dict[str, Any]:
        fresh = self.openapi_schema is None
        document = super().openapi()
        if fresh:
            finish(document)
        return document

    @cached_property
    def text(self) -> bytes:
        """As JSON, made once: strangers may ask for it."""
        return json.dumps(self.openapi(), ensure_ascii=False).encode()

    @cached_property
    def _templates(self) -> list[tuple[re.Pattern[str], set[str]]]:
        return [(compile_path(path)[0], {*item}) for path, item in self.openapi()["paths"].items()]

    def methods(self, path: str) -> list[str]:
        """Those of all operations there; a route by itself knows only its own."""
        found = {method.upper() for form, methods in self._templates if form.match(path) for method in methods}
        return sorted(found)


def finish(document: dict[str, Any]) -> None:
    """Change it in place."""
    for operation in operations(document):
        _summarize(operation)
        for parameter in operation.get("parameters", []):
            parameter["schema"] = _without_null(parameter["schema"])
            if parameter["in"] == "path":
                parameter["schema"].setdefault("pattern", _NO_SLASH)
        for status, response in operation["responses"].items():
            if status == "default" or status >= "400":
                response["content"] = _PROBLEM  # FastAPI names the media type of the route's good answer
        operation["security"] = [{name: []} for name in SECURITY] if "x-role" in operation else []
    _add_formats(document)
    document.setdefault("components", {})["securitySchemes"] = SECURITY


def operations(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for item in document["paths"].values():
        yield from item.values()


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """Of a parameter that may be left out: an address has no null, and "null" would be a text."""
    choices: list[dict[str, Any]] = [choice for choice in schema.get("anyOf", []) if choice != {"type": "null"}]
    if len(choices) != 1:
        return schema
    return {key: value for key, value in schema.items() if key not in ("anyOf", "default")} | choices[0]


def _summarize(operation: dict[str, Any]) -> None:
    """The docstring's first paragraph is the summary, not the function's name."""
    first, _, rest = operation.pop("description", "").partition("\n\n")
    if first:
        operation["summary"] = " ".join(first.split()).removesuffix(".")
    if rest.strip():
        operation["description"] = rest.strip()


def _add_formats(node: Any, names: bool = False) -> None:
    if isinstance(node, list):
        for child in node:
            _add_formats(child)
    elif isinstance(node, dict):
        kind = node.get("type")
        if not names and isinstance(kind, str) and kind in _FORMATS:
            node.setdefault("format", _FORMATS[kind])
        for key, child in node.items():
            if key not in ("example", "examples", "default"):
                _add_formats(child, names=not names and key in _SCHEMA_MAPS)
