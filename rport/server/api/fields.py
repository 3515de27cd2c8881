"""Types of request fields that take just what the document says they take, no more and no less.

pydantic by itself reads false and "5" as integers, 0 as a time, and NUL as text, which databases refuse.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, AllowInfNan, AwareDatetime, BeforeValidator, Field, Strict, StrictBool
from pydantic_core import CoreSchema, PydanticCustomError
from pydantic_core.core_schema import int_schema, no_info_before_validator_function

EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
LATEST = datetime(9999, 12, 31, tzinfo=UTC)  # any later, and another zone's text of it has no year
LINE = r"^[^\x00-\x1f\x7f-\x9f]*$"
PROSE = r"^[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]*$"


@dataclass(frozen=True)
class Whole:
    """Annotated[int, Whole(least, most)]: 5 and 5.0, which is an integer in JSON Schema.

    Not Field(ge=..., le=...): with a validator before it, pydantic loses those of an optional field in the document.
    """

    least: int
    most: int

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> CoreSchema:
        return no_info_before_validator_function(_whole, int_schema(strict=True, ge=self.least, le=self.most))


def _whole(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _text_alone(value: Any) -> Any:
    """A number, or a number as text, would be seconds since 1970."""
    if isinstance(value, datetime):
        return value
    if not isinstance(value, str) or "-" not in value[1:]:
        raise PydanticCustomError("time", "give a time with its zone, as in 2026-01-02T03:04:05Z")
    return value


def _clamped(value: datetime) -> datetime:
    """In UTC, for the databases; before all and after all stay so."""
    try:
        return min(max(value.astimezone(UTC), EARLIEST), LATEST)
    except OverflowError:  # in UTC it is of the year 0 or 10000
        return EARLIEST if value.year == 1 else LATEST


Number = Annotated[float, Strict(), AllowInfNan(False)]
Flag = StrictBool
Instant = Annotated[
    AwareDatetime,
    BeforeValidator(_text_alone),
    AfterValidator(_clamped),
    Field(examples=["2026-01-02T03:04:05Z"]),
]
Line = Annotated[str, Field(pattern=LINE)]  # no control characters; give max_length
Prose = Annotated[str, Field(pattern=PROSE)]  # but for tabs and line ends
