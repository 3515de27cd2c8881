"""The bill of materials in each wheel (CycloneDX, where PEP 770 wants it): what it needs, and what it was made with.

`python -m kit.sbom WHEEL DIRECTORY` puts one into a wheel of a native build, and the wheel into DIRECTORY. No clock and
no chance is in it, so that a wheel can be made again.
"""

import json
import re
import sys
from collections.abc import Sequence
from email import message_from_string
from email.message import Message
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

from .shell import ROOT, Failure, commit_time
from .wheelfile import changed

TOOLS = ROOT / "ci/locks/wheels.txt"
ENTERS_THE_RESULT = {"cython", "setuptools", "ziglang"}


def pinned() -> dict[str, str]:
    """The version of each package of ci/locks/wheels.txt."""
    return dict(re.findall(r"(?m)^([a-z0-9-]+)==([^ ]+)", TOOLS.read_text()))


def pypi(name: str, version: str) -> dict[str, Any]:
    return component(name, version, f"pkg:pypi/{name}@{version}")


def component(name: str, version: str, purl: str) -> dict[str, Any]:
    return {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}


def inputs(native: bool) -> list[dict[str, Any]]:
    """The packages that a wheel is made with; a native build has the compiler of its machine."""
    names = ENTERS_THE_RESULT - ({"ziglang"} if native else set())
    return [pypi(name, version) for name, version in sorted(pinned().items()) if name in names]


def needed(line: str) -> dict[str, Any]:
    requirement = Requirement(line)
    purl = f"pkg:pypi/{requirement.name.lower()}"
    extra = requirement.marker is not None and "extra ==" in str(requirement.marker)
    return {
        "type": "library",
        "bom-ref": purl,
        "name": requirement.name,
        "scope": "optional" if extra else "required",
        "purl": purl,
        "properties": [{"name": "python:requirement", "value": line}],
    }


def document(metadata: Message, made_with: Sequence[dict[str, Any]]) -> dict[str, Any]:
    name, version = metadata["Name"], metadata["Version"]
    runtime: dict[str, dict[str, Any]] = {}
    for line in sorted(metadata.get_all("Requires-Dist", [])):
        part = needed(line)
        known = runtime.setdefault(part["bom-ref"], part)
        if known is not part:  # of several extras
            known["properties"] += part["properties"]
            if part["scope"] == "required":
                known["scope"] = "required"
    own = {**component(name, version, f"pkg:pypi/{name}@{version}"), "type": "application"}
    own["licenses"] = [{"license": {"id": metadata["License-Expression"]}}]
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"lifecycles": [{"phase": "build"}], "component": own},
        "components": list(runtime.values()),
        "dependencies": [{"ref": own["bom-ref"], "dependsOn": list(runtime)}, *({"ref": ref} for ref in runtime)],
        "formulation": [{"bom-ref": "build", "components": list(made_with)}],
    }


def write(tree: Path, made_with: Sequence[dict[str, Any]]) -> None:
    """Into an unpacked wheel."""
    (info,) = tree.glob("*.dist-info")
    metadata = message_from_string((info / "METADATA").read_text())
    at = info / "sboms" / f"{metadata['Name']}.cdx.json"
    at.parent.mkdir(exist_ok=True)
    at.write_text(json.dumps(document(metadata, made_with), indent=1) + "\n")


def main() -> None:
    if len(sys.argv) != 3:
        sys.exit("usage: python -m kit.sbom WHEEL DIRECTORY")
    try:
        changed(Path(sys.argv[1]), Path(sys.argv[2]), lambda tree: write(tree, inputs(native=True)), commit_time())
    except Failure as error:
        sys.exit(f"kit.sbom: {error}")


if __name__ == "__main__":
    main()
