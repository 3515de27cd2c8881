"""A document's schemas and their examples, held against each other by JSON Schema's own rules."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker

Json = dict[str, Any]
NO_SCHEMAS = ("examples", "default", "enum")  # keywords that hold values
FORMATS = FormatChecker(formats=())


@FORMATS.checks("date-time", raises=ValueError)
def _is_moment(value: object) -> bool:
    return not isinstance(value, str) or datetime.fromisoformat(value).tzinfo is not None


def wrong(document: Json, schema: Json, value: object) -> list[str]:
    """What a value breaks; references are the document's."""
    whole = {**schema, "components": document["components"]}
    return [error.message for error in Draft202012Validator(whole, format_checker=FORMATS).iter_errors(value)]


def with_examples(node: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Json]]:
    """Each schema, wherever it is, that has some."""
    if isinstance(node, list):
        node = dict(enumerate(node))
    if isinstance(node, dict):
        if isinstance(node.get("examples"), list):
            yield "/".join(path), node.get("schema", node) | {"examples": node["examples"]}
        for key, child in node.items():
            if key not in NO_SCHEMAS:
                yield from with_examples(child, (*path, str(key)))


def references(node: Any) -> set[str]:
    """Names of the models that it mentions."""
    if isinstance(node, list):
        return set().union(*map(references, node))
    if not isinstance(node, dict):
        return set()
    found = references([child for key, child in node.items() if key not in NO_SCHEMAS])
    return found | ({node["$ref"].rpartition("/")[2]} if "$ref" in node else set())


def reached(document: Json, start: Any) -> set[str]:
    """Names of the models that `start` needs, those of others included."""
    found: set[str] = set()
    new = references(start)
    while new:
        found |= new
        new = set().union(*(references(document["components"]["schemas"][name]) for name in new)) - found
    return found


def example(document: Json, schema: Json) -> Any:
    """Made of the first example of each field. Raises KeyError, with the field's schema, where one has none."""
    schemas = document["components"]["schemas"]
    if "examples" in schema:
        return schema["examples"][0]
    if "$ref" in schema:
        return example(document, schemas[schema["$ref"].rpartition("/")[2]])
    if "anyOf" in schema:
        return example(document, schema["anyOf"][0])
    if "enum" in schema or "const" in schema:
        return schema.get("enum", [schema.get("const")])[0]
    if schema.get("type") == "array":
        return [example(document, schema["items"])]
    if "properties" in schema:
        return {name: example(document, field) for name, field in schema["properties"].items()}
    raise KeyError(schema)
