"""Requests made of the API's document alone: each operation with what its examples say."""

from collections.abc import Iterator
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode


class Operation(NamedTuple):
    """One of the document's."""

    method: str
    path: str
    about: dict[str, Any]
    schemas: dict[str, Any]

    @property
    def id(self) -> str:
        return str(self.about["operationId"])

    @property
    def role(self) -> str | None:
        """None: it is public."""
        return self.about.get("x-role")

    @property
    def places(self) -> list[str]:
        """The names in its path."""
        return [item["name"] for item in self._parameters("path")]

    def target(self, **values: str) -> str:
        """Path and query; a name in the path without a value is "none"."""
        path = self.path
        for name in self.places:
            path = path.replace("{" + name + "}", quote(values.get(name, "none"), safe=""))
        query = {item["name"]: self._value(item["schema"]) for item in self._parameters("query") if item["required"]}
        return f"{path}?{urlencode(query)}" if query else path

    def body(self) -> Any:
        """None where there is none to send."""
        if "requestBody" not in self.about:
            return None
        return self._value(self.about["requestBody"]["content"]["application/json"]["schema"])

    def _parameters(self, place: str) -> list[dict[str, Any]]:
        return [item for item in self.about.get("parameters", []) if item["in"] == place]

    def _value(self, schema: dict[str, Any]) -> Any:
        if "$ref" in schema:
            schema = self.schemas[schema["$ref"].rpartition("/")[2]]
        if schema.get("examples"):
            return schema["examples"][0]
        if "enum" in schema:
            return schema["enum"][0]
        if "properties" in schema:
            return {name: self._value(schema["properties"][name]) for name in schema.get("required", [])}
        return {"string": "1", "integer": 1, "number": 1.0, "boolean": True, "array": []}.get(schema.get("type", ""))


def operations(document: dict[str, Any]) -> Iterator[Operation]:
    for path, item in document["paths"].items():
        for method, about in item.items():
            yield Operation(method.upper(), path, about, document["components"]["schemas"])
