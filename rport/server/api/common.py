"""What the requests and answers of many routes have in common: ids, tags."""

from typing import Annotated

from fastapi import Path
from pydantic import BaseModel, ConfigDict, Field

from rport.facts import TAG

CLIENT_ID = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"  # of one that is made
# No pattern: an id that no client has is not found, whatever it looks like.
ClientId = Annotated[str, Path(description="the client's id", max_length=64, examples=["web-1"])]
Tag = Annotated[str, Field(min_length=1, max_length=64, pattern=f"^{TAG}$")]
Tags = Annotated[list[Tag], Field(max_length=32, examples=[["web", "site=berlin"]])]
SCHEME = r"^[a-z][a-z0-9+.-]{0,31}$"


class Closed(BaseModel):
    """A request: what is not known is refused, for a typing error would be passed over else."""

    model_config = ConfigDict(extra="forbid")
