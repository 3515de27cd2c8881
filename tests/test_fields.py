"""The types of request fields: what each takes is what its JSON Schema takes."""

import json
from datetime import UTC, datetime
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, Field, ValidationError

from rport.server.api.fields import EARLIEST, LATEST, Flag, Instant, Line, Number, Prose, Whole


class Form(BaseModel):
    port: Annotated[int, Whole(0, 65535)] | None = None
    rate: Number | None = Field(default=None, gt=0, le=1e9)
    flag: Flag | None = None
    when: Instant | None = None
    line: Line | None = Field(default=None, max_length=5)
    prose: Prose | None = None


def taken(text: str) -> Any:
    """The one value of a JSON object, as Form has it."""
    given = json.loads(text)
    return getattr(Form.model_validate(given), *given)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"port": 5}', 5),
        ('{"port": 5.0}', 5),
        ('{"port": 65535}', 65535),
        ('{"port": null}', None),
        ('{"rate": 1}', 1.0),
        ('{"flag": true}', True),
        ('{"when": "2026-01-02T03:04:05Z"}', datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ('{"when": "2026-01-02T03:04:05+02:00"}', datetime(2026, 1, 2, 1, 4, 5, tzinfo=UTC)),
        ('{"when": "0001-01-01T00:00:00+10:00"}', EARLIEST),
        ('{"when": "9999-12-31T23:59:59-10:00"}', LATEST),
        ('{"line": "é☃"}', "é☃"),
        ('{"prose": "a\\r\\n\\tb"}', "a\r\n\tb"),
    ],
)
def test_taken(text: str, value: Any) -> None:
    assert taken(text) == value


@pytest.mark.parametrize(
    "text",
    [
        '{"port": true}',
        '{"port": "5"}',
        '{"port": 5.5}',
        '{"port": -1}',
        '{"port": 65536}',
        '{"port": 1e400}',
        '{"rate": NaN}',
        '{"rate": 1e400}',
        '{"rate": "1"}',
        '{"rate": true}',
        '{"rate": 0}',
        '{"flag": "yes"}',
        '{"flag": 1}',
        '{"when": 0}',
        '{"when": "0.5"}',
        '{"when": "-5"}',
        '{"when": "2026-01-02T03:04:05"}',
        '{"when": "yesterday"}',
        '{"line": "a\\n"}',
        '{"line": "\\u0000"}',
        '{"line": "\\u009b"}',
        '{"line": "\\ud800"}',
        '{"line": "toolong"}',
        '{"prose": "\\u0000"}',
        '{"prose": "\\u001b[2J"}',
    ],
)
def test_refused(text: str) -> None:
    with pytest.raises(ValidationError):
        taken(text)


def test_limits_are_in_the_schema() -> None:
    """Also where the field may be left out: there pydantic has lost some."""
    fields = Form.model_json_schema()["properties"]
    assert fields["port"]["anyOf"][0] == {"type": "integer", "minimum": 0, "maximum": 65535}
    assert fields["rate"]["anyOf"][0] == {"type": "number", "exclusiveMinimum": 0, "maximum": 1e9}
    assert fields["flag"]["anyOf"][0] == {"type": "boolean"}
    assert fields["when"]["anyOf"][0]["format"] == "date-time"
    assert fields["line"]["anyOf"][0]["maxLength"] == 5
