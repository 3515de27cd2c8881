"""What the API's stored document says of an answer; for doubles of it, which else have what programs hope for."""

import functools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from starlette.routing import compile_path

STORED = Path(__file__).parents[2] / "docs/openapi.json"


def stored() -> dict[str, Any]:
    document: dict[str, Any] = json.loads(STORED.read_text())
    return document


_kept = functools.cache(stored)


class Documented:
    """The operations, found by what is asked for."""

    def __init__(self) -> None:
        document = _kept()
        self._schemas = document["components"]["schemas"]
        self._paths = [(compile_path(path)[0], item) for path, item in document["paths"].items()]

    def unknown(self, method: str, path: str, status: int, content: Any) -> list[str]:
        """The names in an answer that went well which the document does not have. Paths that it lacks are no API's."""
        for form, item in self._paths:
            if form.match(path) and method.lower() in item and status < 300 and isinstance(content, dict):
                answer = item[method.lower()]["responses"][str(status)]["content"]["application/json"]
                return [f"{method} {path}: {name}" for name in self._names(content, answer["schema"], "")]
        return []

    def _names(self, value: Any, schema: dict[str, Any], at: str) -> Iterator[str]:
        schema = self._resolved(schema)
        if isinstance(value, list):
            for item in value:
                yield from self._names(item, schema.get("items", {}), f"{at}[]")
        elif isinstance(value, dict) and "properties" in schema:
            for name, member in value.items():
                if name in schema["properties"]:
                    yield from self._names(member, schema["properties"][name], f"{at}.{name}")
                else:
                    yield f"{at}.{name}"

    def _resolved(self, schema: dict[str, Any]) -> dict[str, Any]:
        """Without references, and without the null of what may be null."""
        choices = [choice for choice in schema.get("anyOf", []) if choice != {"type": "null"}]
        schema = choices[0] if choices else schema
        return self._schemas[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
