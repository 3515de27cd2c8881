"""The API's document without a server, and its stored copy. `ci/openapi` writes the latter again."""

import json
from typing import Any
from unittest.mock import Mock

from rport import __version__
from rport.server.api.app import create_api
from tests.support.breaking import breaks
from tests.support.documented import STORED, stored


def document() -> dict[str, Any]:
    """As the server of this tree gives it: routes look at nothing of the plane's before they are asked."""
    plane = Mock()
    plane.service.version = __version__
    return create_api(plane).openapi()


def as_text(described: dict[str, Any]) -> str:
    return json.dumps(described, indent=1, ensure_ascii=False) + "\n"


def main() -> None:
    now = document()
    for line in breaks(stored(), now) if STORED.exists() else ():
        print(f"breaks programs: {line}")
    STORED.write_text(as_text(now))


if __name__ == "__main__":
    main()
