"""The API's document against its stored copy; and that what breaks programs is found, in documents that are changed."""

import copy
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.breaking import breaks
from tests.support.document import as_text, document, stored

Json = dict[str, Any]


def test_nothing_breaks_and_the_stored_copy_is_up_to_date() -> None:
    now, before = document(), stored()
    broken = breaks(before, now)
    assert not broken, "programs made for the stored document break; if that is meant, run ci/openapi: " + str(broken)
    assert as_text(now) == as_text(before), "run ci/openapi"


def ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def body(schema: Json) -> Json:
    return {"content": {"application/json": {"schema": schema}}}


NULL = {"type": "null"}
NEW_THING = {
    "type": "object",
    "additionalProperties": False,
    "required": ["name"],
    "properties": {
        "name": {"type": "string", "maxLength": 64, "minLength": 1},
        "port": {"anyOf": [{"type": "integer", "format": "int64", "minimum": 0, "maximum": 9}, NULL]},
        "kind": {"anyOf": [ref("Kind"), NULL]},
    },
}
THING = {
    "type": "object",
    "required": ["id", "kind", "inner"],
    "properties": {
        "id": {"type": "string"},
        "kind": ref("State"),
        "note": {"anyOf": [{"type": "string"}, NULL]},
        "inner": {"type": "array", "items": ref("Thing")},
        "tags": {"type": "object", "additionalProperties": {"type": "string"}},
    },
}
LIMIT = {"name": "limit", "in": "query", "required": False, "schema": {"type": "integer", "maximum": 1000}}
DOCUMENT: Json = {
    "paths": {
        "/things": {
            "get": {
                "operationId": "list_things",
                "tags": ["things"],
                "parameters": [LIMIT],
                "responses": {"200": body({"type": "array", "items": ref("Thing")}), "default": {"description": ""}},
            },
            "post": {
                "operationId": "add_thing",
                "tags": ["things"],
                "requestBody": {"required": True, **body(ref("NewThing"))},
                "responses": {"201": body(ref("Thing")), "409": {"description": ""}},
            },
        }
    },
    "components": {
        "schemas": {
            "Kind": {"type": "string", "enum": ["ssh", "rdp"]},
            "State": {"type": "string", "enum": ["open", "failed"]},
            "NewThing": NEW_THING,
            "Thing": THING,
        },
        "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
    },
}


def get(new: Json) -> Any:
    return new["paths"]["/things"]["get"]


def post(new: Json) -> Any:
    return new["paths"]["/things"]["post"]


def asked(new: Json) -> Any:
    return new["components"]["schemas"]["NewThing"]["properties"]


def told(new: Json) -> Any:
    return new["components"]["schemas"]["Thing"]["properties"]


def model(new: Json, name: str) -> Any:
    return new["components"]["schemas"][name]


Change = Callable[[Json], Any]

BREAKING: dict[str, tuple[Change, str]] = {
    "path": (lambda new: new["paths"].clear(), "GET /things: is gone"),
    "method": (lambda new: new["paths"]["/things"].pop("post"), "POST /things: is gone"),
    "operationId": (lambda new: get(new).update(operationId="x"), "operationId was list_things, is x"),
    "tag": (lambda new: get(new).update(tags=["x"]), "tags was"),
    "parameter gone": (lambda new: get(new)["parameters"].clear(), "query parameter limit is gone"),
    "parameter required": (
        lambda new: get(new)["parameters"][0].update(required=True),
        "query parameter limit has become required",
    ),
    "new required parameter": (
        lambda new: get(new)["parameters"].append({**LIMIT, "name": "x", "required": True}),
        "query parameter x is new and required",
    ),
    "parameter's limit": (
        lambda new: get(new)["parameters"][0]["schema"].update(maximum=10),
        "maximum was 1000, is 10",
    ),
    "body required": (
        lambda new: get(new).update(requestBody={"required": True, **body({})}),
        "a body has become required",
    ),
    "status": (
        lambda new: post(new)["responses"].update({"202": post(new)["responses"].pop("201")}),
        "answer 201 is gone",
    ),
    "media type": (
        lambda new: get(new)["responses"]["200"].update(content={"text/plain": {}}),
        "application/json is gone",
    ),
    "field of an answer": (lambda new: told(new).pop("note"), "Thing (answer): field note is gone"),
    "an answer's field optional": (
        lambda new: model(new, "Thing")["required"].remove("id"),
        "Thing (answer): field id may now be left out",
    ),
    "an answer's field null": (
        lambda new: told(new).update(id={"anyOf": [{"type": "string"}, NULL]}),
        "field id: may now be null",
    ),
    "an answer's type": (lambda new: told(new)["id"].update(type="integer"), "field id: type was string, is integer"),
    "an answer's format": (lambda new: told(new)["id"].update(format="date-time"), "field id: format was None"),
    "an answer's items": (
        lambda new: told(new)["inner"].update(items={"type": "string"}),
        "field inner: items: its model was Thing",
    ),
    "an answer's values": (
        lambda new: told(new)["tags"]["additionalProperties"].update(type="integer"),
        "field tags: values: type was string",
    ),
    "an answer's new value": (
        lambda new: model(new, "State")["enum"].append("waiting"),
        "State (answer): waiting is a new value",
    ),
    "an answer's old value": (lambda new: model(new, "State")["enum"].remove("open"), "open is no longer a value"),
    "field of a request": (lambda new: asked(new).pop("port"), "NewThing (request): field port is gone"),
    "new required field": (
        lambda new: (asked(new).update(x={}), model(new, "NewThing")["required"].append("x")),
        "field x is new and required",
    ),
    "required field": (
        lambda new: model(new, "NewThing")["required"].append("port"),
        "NewThing (request): field port has become required",
    ),
    "a request's null": (
        lambda new: asked(new).update(port=asked(new)["port"]["anyOf"][0]),
        "field port: may no longer be null",
    ),
    "a request's value": (lambda new: model(new, "Kind")["enum"].remove("rdp"), "rdp is no longer a value"),
    "a request's length": (lambda new: asked(new)["name"].update(maxLength=10), "maxLength was 64, is 10"),
    "a request's least": (lambda new: asked(new)["port"]["anyOf"][0].update(minimum=1), "minimum was 0, is 1"),
    "a request's pattern": (lambda new: asked(new)["name"].update(pattern="^a$"), "pattern was none, is ^a$"),
    "model's name": (
        lambda new: (
            new["components"]["schemas"].update(Other=NEW_THING),
            post(new).update(requestBody={"required": True, **body(ref("Other"))}),
        ),
        "its model was NewThing, is Other",
    ),
    "credentials": (lambda new: new["components"]["securitySchemes"].clear(), "securitySchemes: token is gone"),
}

COMPATIBLE: dict[str, Change] = {
    "nothing": lambda new: None,
    "path": lambda new: new["paths"].update({"/more": new["paths"]["/things"]}),
    "optional parameter": lambda new: get(new)["parameters"].append({**LIMIT, "name": "x"}),
    "parameter's limit": lambda new: get(new)["parameters"][0]["schema"].update(maximum=10**6),
    "field of an answer": lambda new: (told(new).update(x={}), model(new, "Thing")["required"].append("x")),
    "an answer's field always there": lambda new: model(new, "Thing")["required"].append("note"),
    "an answer's field never null": lambda new: told(new).update(note={"type": "string"}),
    "optional field of a request": lambda new: asked(new).update(x={"type": "string"}),
    "a request's field optional": lambda new: model(new, "NewThing")["required"].clear(),
    "a request's field null": lambda new: asked(new).update(name={"anyOf": [asked(new)["name"], NULL]}),
    "a request's value": lambda new: model(new, "Kind")["enum"].append("vnc"),
    "a request's length": lambda new: asked(new)["name"].update(maxLength=1000),
    "an error": lambda new: get(new)["responses"].update({"429": {"description": ""}}),
    "words": lambda new: (get(new).update(summary="x"), told(new)["id"].update(examples=["x"], description="x")),
}


def changed(change: Change) -> list[str]:
    new = copy.deepcopy(DOCUMENT)
    change(new)
    return breaks(DOCUMENT, new)


@pytest.mark.parametrize("name", BREAKING)
def test_breaking(name: str) -> None:
    change, words = BREAKING[name]
    found = changed(change)
    assert any(words in line for line in found), found


@pytest.mark.parametrize("name", COMPATIBLE)
def test_compatible(name: str) -> None:
    assert changed(COMPATIBLE[name]) == []
