"""What of a changed OpenAPI document breaks programs that were written, or generated, for the one before.

Requests may become wider and answers narrower, never the other way round; names are for ever. An answer's enumeration
may do neither: a new value is unknown to generated decoders, and source code names the old ones.
"""

from collections.abc import Iterator
from typing import Any

Json = dict[str, Any]

LOWER_BREAKS = ("maxLength", "maxItems", "maximum", "exclusiveMaximum", "maxProperties")
HIGHER_BREAKS = ("minLength", "minItems", "minimum", "exclusiveMinimum", "minProperties")


def breaks(old: Json, new: Json) -> list[str]:
    """A line for each, beginning with its place."""
    return list(_Comparison(old, new).documents())


class _Comparison:
    def __init__(self, old: Json, new: Json) -> None:
        self.old, self.new = old, new
        self._seen: set[tuple[str, str, bool]] = set()  # pairs of models, and whether they are asked with

    def documents(self) -> Iterator[str]:
        for path, item in self.old["paths"].items():
            for method, operation in item.items():
                place = f"{method.upper()} {path}"
                now = self.new["paths"].get(path, {}).get(method)
                if now is None:
                    yield f"{place}: is gone"
                else:
                    yield from self.operation(place, operation, now)
        for name in _schemes(self.old).keys() - _schemes(self.new).keys():
            yield f"securitySchemes: {name} is gone"

    def operation(self, place: str, old: Json, new: Json) -> Iterator[str]:
        for name in ("operationId", "tags"):
            if old.get(name) != new.get(name):
                yield f"{place}: {name} was {old.get(name)}, is {new.get(name)}"
        yield from self.parameters(place, old, new)
        yield from self.body(place, old.get("requestBody"), new.get("requestBody"))
        yield from self.responses(place, old["responses"], new["responses"])

    def parameters(self, place: str, old: Json, new: Json) -> Iterator[str]:
        before, after = _parameters(old), _parameters(new)
        for (where, name), parameter in before.items():
            now = after.get((where, name))
            if now is None:
                yield f"{place}: {where} parameter {name} is gone"
                continue
            if now.get("required") and not parameter.get("required"):
                yield f"{place}: {where} parameter {name} has become required"
            yield from self.schema(f"{place}: {where} parameter {name}", parameter["schema"], now["schema"], True)
        for (where, name), parameter in after.items():
            if (where, name) not in before and parameter.get("required"):
                yield f"{place}: {where} parameter {name} is new and required"

    def body(self, place: str, old: Json | None, new: Json | None) -> Iterator[str]:
        if new and new.get("required") and not (old and old.get("required")):
            yield f"{place}: a body has become required"
        if old:
            yield from self.contents(f"{place}: body", old, new or {}, True)

    def responses(self, place: str, old: Json, new: Json) -> Iterator[str]:
        good = [{status for status in responses if status < "4"} for responses in (old, new)]
        for status in sorted(good[0] ^ good[1]):
            yield f"{place}: answer {status} is {'gone' if status in good[0] else 'new'}"
        for status in sorted(old.keys() & new.keys()):
            yield from self.contents(f"{place}: answer {status}", old[status], new[status], False)

    def contents(self, place: str, old: Json, new: Json, asked: bool) -> Iterator[str]:
        for kind, content in old.get("content", {}).items():
            now = new.get("content", {}).get(kind)
            if now is None:
                yield f"{place}: {kind} is gone"
            else:
                yield from self.schema(place, content.get("schema", {}), now.get("schema", {}), asked)

    # --- schemas -----------------------------------------------------------------------------------------------------

    def schema(self, place: str, old: Any, new: Any, asked: bool) -> Iterator[str]:
        """`asked`: what clients send, else what they get."""
        (old, old_name, old_null), (new, new_name, new_null) = _plain(self.old, old), _plain(self.new, new)
        if old_null != new_null and new_null != asked:
            yield f"{place}: {'may no longer' if asked else 'may now'} be null"
        if old_name != new_name:
            yield f"{place}: its model was {old_name or 'without name'}, is {new_name or 'without name'}"
        if old_name and new_name:
            if (old_name, new_name, asked) in self._seen:
                return
            self._seen.add((old_name, new_name, asked))
            place = f"{old_name} ({'request' if asked else 'answer'})"
        if isinstance(old, bool) or isinstance(new, bool):
            if old != new and (new is False or not asked):
                yield f"{place}: takes other things than before"
            return
        yield from self.kinds(place, old, new, asked)
        yield from self.values(place, old, new, asked)
        if asked:
            yield from _limits(place, old, new)
        yield from self.fields(place, old, new, asked)
        for name, words in (("items", "items"), ("additionalProperties", "values")):
            if name in old or name in new:
                yield from self.schema(f"{place}: {words}", old.get(name, True), new.get(name, True), asked)

    def kinds(self, place: str, old: Json, new: Json, asked: bool) -> Iterator[str]:
        for name in ("type", "format"):
            if old.get(name) != new.get(name) and not (asked and name not in new):
                yield f"{place}: {name} was {old.get(name)}, is {new.get(name)}"
        choices, now = old.get("anyOf", []), new.get("anyOf", [])
        if len(now) < len(choices) if asked else len(now) != len(choices):
            yield f"{place}: it was one of {len(choices)} kinds, is one of {len(now)}"
        for number, (choice, other) in enumerate(zip(choices, now, strict=False), 1):
            yield from self.schema(f"{place}: kind {number}", choice, other, asked)

    def values(self, place: str, old: Json, new: Json, asked: bool) -> Iterator[str]:
        before, after = _values(old), _values(new)
        if before is None or after is None:
            if before is not after and not (asked and after is None):
                yield f"{place}: {'a list of values is new' if after is not None else 'its list of values is gone'}"
            return
        if gone := before - after:
            yield f"{place}: {', '.join(sorted(gone))} is no longer a value"
        if not asked and (added := after - before):
            yield f"{place}: {', '.join(sorted(added))} is a new value"

    def fields(self, place: str, old: Json, new: Json, asked: bool) -> Iterator[str]:
        before, after = old.get("properties", {}), new.get("properties", {})
        needed, needed_now = set(old.get("required", [])), set(new.get("required", []))
        for name, field in before.items():
            if name not in after:
                yield f"{place}: field {name} is gone"
                continue
            if asked and name in needed_now - needed:
                yield f"{place}: field {name} has become required"
            if not asked and name in needed - needed_now:
                yield f"{place}: field {name} may now be left out"
            yield from self.schema(f"{place}: field {name}", field, after[name], asked)
        for name in sorted(after.keys() - before.keys()):
            if asked and name in needed_now:
                yield f"{place}: field {name} is new and required"


def _limits(place: str, old: Json, new: Json) -> Iterator[str]:
    for names, sign in ((LOWER_BREAKS, 1), (HIGHER_BREAKS, -1)):
        for name in names:
            if name in new and (name not in old or sign * new[name] < sign * old[name]):
                yield f"{place}: {name} was {old.get(name, 'none')}, is {new[name]}"
    if "pattern" in new and new["pattern"] != old.get("pattern"):
        yield f"{place}: pattern was {old.get('pattern', 'none')}, is {new['pattern']}"


def _plain(document: Json, schema: Any) -> tuple[Any, str, bool]:
    """What a schema is without the ways of writing it: itself, its model's name, and whether it may be null."""
    nullable = False
    name = ""
    while isinstance(schema, dict):
        others = [choice for choice in schema.get("anyOf", []) if choice != {"type": "null"}]
        if len(others) < len(schema.get("anyOf", [])):
            nullable = True
        if "$ref" in schema:
            name = schema["$ref"].rpartition("/")[2]
            schema = document["components"]["schemas"][name]
        elif len(others) == 1:
            schema = {key: value for key, value in schema.items() if key != "anyOf"} | others[0]
        else:
            return (schema | {"anyOf": others} if others else schema), name, nullable
    return schema, name, nullable


def _parameters(operation: Json) -> dict[tuple[str, str], Json]:
    return {(parameter["in"], parameter["name"]): parameter for parameter in operation.get("parameters", [])}


def _values(schema: Json) -> set[str] | None:
    if "const" in schema:
        return {str(schema["const"])}
    return {str(value) for value in schema["enum"]} if "enum" in schema else None


def _schemes(document: Json) -> Json:
    schemes: Json = document.get("components", {}).get("securitySchemes", {})
    return schemes
