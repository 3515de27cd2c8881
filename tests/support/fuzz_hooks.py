"""Read by schemathesis, in its own environment: the fuzz does not saw off the branch that it sits on.

FUZZ_KEEP: words, comma-separated; a request whose path names one (the fuzz's own user or token) is not made.
FUZZ_CLIENTS: ids of clients that it does not remove.
"""

import os
from urllib.parse import unquote, urlencode

import schemathesis

KEEP = {word for word in os.environ.get("FUZZ_KEEP", "").split(",") if word}
CLIENTS = {word for word in os.environ.get("FUZZ_CLIENTS", "").split(",") if word}
QUERY_MAX = 12_000  # octets: a head of more than 16 KiB does not come as far as the API


def names(case, words):  # type: ignore[no-untyped-def]
    values = case.path_parameters.values() if isinstance(case.path_parameters, dict) else ()
    return not words.isdisjoint(unquote(str(value)).strip() for value in values)


@schemathesis.hook
def filter_case(context, case):  # type: ignore[no-untyped-def]
    return not names(case, KEEP) and len(urlencode(dict(case.query or {}), doseq=True)) < QUERY_MAX


@schemathesis.hook
def before_call(context, case, kwargs):  # type: ignore[no-untyped-def]
    """Ids that come from other answers are put in behind filter_case."""
    removes = case.operation.definition.raw.get("operationId") == "delete_client"
    if names(case, KEEP | CLIENTS if removes else KEEP):
        case.path_parameters = dict.fromkeys(case.path_parameters, "nobodys")
