"""schemathesis against a running server: requests by the API's document, right ones and wrong ones, and its checks."""

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.support.generated import tools

HOOKS = Path(__file__).with_name("fuzz_hooks.py")

# Routes that the fuzz does without, each with its reason.
LEFT_OUT: dict[str, str] = {
    "stream_events": "never ends: each request would take all of the time",
}
# Each wrong login makes the next one wait, as it should: that would take all of the time. tests/e2e/test_api_roles.py
# asks each route for its 401 instead, with no credentials and with wrong ones.
WITHOUT = "ignored_auth"
# Of what fits the document. 400 is for what does not; 422 for what no document can say (errors.Unprocessable).
FINE = ["2xx", "401", "403", "404", "409", "422", "429", "503", "507"]
# Of what does not fit it. 413: a text that is too long may make the whole body too long.
WRONG = ["400", "401", "403", "404", "405", "406", "409", "413", "415", "422", "429", "5xx"]
# The original's: its parameters are texts with a syntax of their own, and what is wrong in them is a 400.
OWN_SYNTAX = ["put_session_tunnel"]


def configure(headers: Mapping[str, str]) -> str:
    """Its configuration."""
    fine = json.dumps(FINE)
    lines = ["[headers]", *(f"{json.dumps(name)} = {json.dumps(value)}" for name, value in headers.items())]
    lines += ["[checks.positive_data_acceptance]", f"expected-statuses = {fine}"]
    lines += ["[checks.negative_data_rejection]", f"expected-statuses = {json.dumps(WRONG)}"]
    for name in LEFT_OUT:
        lines += ["[[operations]]", f'include-operation-id = "{name}"', "enabled = false"]
    for name in OWN_SYNTAX:
        lines += ["[[operations]]", f'include-operation-id = "{name}"']
        lines += [f"checks.positive_data_acceptance.expected-statuses = {json.dumps(['400', *FINE])}"]
    return "\n".join(lines) + "\n"


def fuzz(
    url: str,
    directory: Path,
    seconds: int,
    headers: Mapping[str, str] | None = None,
    keep: Sequence[str] = (),
    clients: Sequence[str] = (),
) -> tuple[int, str]:
    """Its exit code, 0 = nothing found, and what it prints. Raises tools.Missing.

    `keep`: what no request may name in its path, such as the user that `headers` are of. `clients`: ids that
    are not removed, since a client could be made in their place that has other credentials.
    """
    program = tools.program("schemathesis")
    file = directory / "schemathesis.toml"
    file.write_text(configure(headers or {}))
    argv = [program, "--config-file", str(file), "run", f"{url}/api/openapi.json"]
    argv += ["--checks", "all", "--max-time", str(seconds), "--continue-on-failure", "--request-timeout", "10"]
    argv += ["--exclude-checks", WITHOUT, "--generation-with-security-parameters", "false"]
    argv += ["--warnings", "off"]  # of what it could not reach; the test counts what it did
    env = {**os.environ, "FUZZ_KEEP": ",".join(keep), "FUZZ_CLIENTS": ",".join(clients)}
    env |= {"PYTHONPATH": str(HOOKS.parent), "SCHEMATHESIS_HOOKS": HOOKS.stem}
    done = subprocess.run(argv, cwd=directory, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return done.returncode, done.stdout
