"""The API's description, as generators, compilers and the fuzz need it."""

import re
from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Any, Literal

import pytest
from fastapi import Query
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from rport.server.api.document import Described
from rport.server.api.problems import may_fail
from rport.server.principal import ROLES
from tests.support import document as own
from tests.support.schemas import example, reached, with_examples, wrong


class Made(BaseModel):
    type: str
    format: int
    ratio: float | None
    when: datetime
    many: list[dict[str, int]]


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    app = Described(title="t", version="1")

    @app.get("/things/{thing}", responses=may_fail(404))
    async def get_thing(thing: str, kind: Annotated[Literal["a", "b"] | None, Query()] = None, few: int = 5) -> Made:
        """One thing.

        And more
        of it.
        """
        raise NotImplementedError

    @app.get("/stream", response_class=StreamingResponse, responses=may_fail())
    async def stream() -> StreamingResponse:
        raise NotImplementedError

    @app.delete("/things/{thing}", status_code=204, responses=may_fail())
    async def remove_thing(thing: str) -> None:
        """Away"""

    assert app.methods("/things/5") == ["DELETE", "GET"]
    assert app.methods("/things/5/6") == []
    return app.openapi()


def test_the_docstring_says_it(document: dict[str, Any]) -> None:
    get = document["paths"]["/things/{thing}"]["get"]
    assert (get["summary"], get["description"]) == ("One thing", "And more\nof it.")
    delete = document["paths"]["/things/{thing}"]["delete"]
    assert (delete["summary"], delete.get("description")) == ("Away", None)


def test_errors_are_problems_whatever_the_route_answers(document: dict[str, Any]) -> None:
    for path, status in (("/things/{thing}", "404"), ("/stream", "401"), ("/stream", "default")):
        response = document["paths"][path]["get"]["responses"][status]
        assert list(response["content"]) == ["application/problem+json"]


def test_numbers_are_wide(document: dict[str, Any]) -> None:
    fields = document["components"]["schemas"]["Made"]["properties"]
    assert fields["format"] == {"type": "integer", "format": "int64", "title": "Format"}
    assert fields["type"] == {"type": "string", "title": "Type"}  # a field that is called so
    assert fields["ratio"]["anyOf"] == [{"type": "number", "format": "double"}, {"type": "null"}]
    assert fields["when"]["format"] == "date-time"
    assert fields["many"]["items"]["additionalProperties"]["format"] == "int64"


def test_a_parameter_is_not_null(document: dict[str, Any]) -> None:
    parameters = {item["name"]: item for item in document["paths"]["/things/{thing}"]["get"]["parameters"]}
    assert parameters["kind"]["schema"] == {"enum": ["a", "b"], "type": "string", "title": "Kind"}
    assert not parameters["kind"]["required"]
    assert parameters["few"]["schema"] == {"type": "integer", "default": 5, "title": "Few", "format": "int64"}


def test_a_text_in_a_path_has_no_slash(document: dict[str, Any]) -> None:
    (thing,) = document["paths"]["/things/{thing}"]["delete"]["parameters"]
    assert re.fullmatch(thing["schema"]["pattern"], "web-1")
    assert not any(re.fullmatch(thing["schema"]["pattern"], text) for text in ("a/b", "a\\b"))


# --- the API's own ---------------------------------------------------------------------------------------------------


def api_operations() -> Iterator[tuple[str, dict[str, Any]]]:
    for path, item in own.document()["paths"].items():
        for method, operation in item.items():
            yield f"{method.upper()} {path}", operation


@pytest.mark.parametrize(("name", "operation"), list(api_operations()))
def test_operations_follow_the_rules(name: str, operation: dict[str, Any]) -> None:
    words = operation["operationId"]
    assert words == words.lower()
    assert words.replace("_", "").isalnum()
    assert len(operation["tags"]) == 1  # the module or class that generators put it in
    assert operation["summary"]
    assert "default" in operation["responses"]
    assert all(
        parameter.get("description") or parameter["in"] == "path" for parameter in operation.get("parameters", [])
    )


@pytest.mark.parametrize(("name", "operation"), list(api_operations()))
def test_what_has_a_next_page_is_asked_for_it(name: str, operation: dict[str, Any]) -> None:
    content = operation["responses"].get("200", {}).get("content", {}).get("application/json", {})
    model = MODELS.get(content.get("schema", {}).get("$ref", "").rpartition("/")[2], {})
    asked = {parameter["name"] for parameter in operation.get("parameters", [])}
    assert ({"limit", "cursor"} <= asked) == ("next" in model.get("properties", {}))


def test_operation_ids_are_unique() -> None:
    ids = [operation["operationId"] for _, operation in api_operations()]
    assert len(ids) == len(set(ids))


DOCUMENT = own.document()
MODELS = DOCUMENT["components"]["schemas"]
ALWAYS = {"400", "401", "403", "default"}


@pytest.mark.parametrize(("name", "operation"), list(api_operations()))
def test_an_operation_says_who_may_ask_and_how_it_fails(name: str, operation: dict[str, Any]) -> None:
    ways = [{scheme: []} for scheme in DOCUMENT["components"]["securitySchemes"]]
    assert operation["security"] == (ways if operation.get("x-role") in ROLES else [])
    assert ("x-role" in operation) == (operation["operationId"] != "log_in")
    responses = operation["responses"]
    failing = {status for status in responses if status == "default" or status >= "400"}
    assert failing >= ALWAYS | ({"404"} if "{" in name else set())
    assert failing < set(responses)
    for status in failing:
        assert responses[status]["content"] == {
            "application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}
        }


@pytest.mark.parametrize(("where", "schema"), [*with_examples(DOCUMENT)])
def test_examples_are_what_their_schemas_say(where: str, schema: dict[str, Any]) -> None:
    for value in schema["examples"]:
        assert not wrong(DOCUMENT, schema, value), value


@pytest.mark.parametrize("name", MODELS)
def test_a_models_examples_make_a_whole_one(name: str) -> None:
    """Every field has one, and together they are valid."""
    assert not wrong(DOCUMENT, MODELS[name], example(DOCUMENT, MODELS[name]))


def test_wrong_examples_are_found() -> None:
    schema = {
        "properties": {"at": {"type": "string", "format": "date-time"}, "role": {"$ref": "#/components/schemas/Role"}}
    }
    assert len(wrong(DOCUMENT, schema, {"at": "2026-01-31T12:00:00", "role": "root"})) == 2
    with pytest.raises(KeyError):
        example(DOCUMENT, {"properties": {"port": {"type": "integer"}}})


def test_no_model_is_there_for_nothing() -> None:
    assert set(MODELS) == reached(DOCUMENT, DOCUMENT["paths"])
