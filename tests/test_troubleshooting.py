"""Every message that a user may meet is explained in docs/: whoever adds one adds its line."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FRAGMENT = 40  # characters that must stand in a page as they are printed; the rest of a long sentence may be left out

# Texts of these calls are no trouble, or the peer's fault: one paragraph of docs/troubleshooting.md is about those.
CALM = {"debug", "info", "print", "say", "tell", "enter", "Option", "Table", "Program", "Parser", "add_argument"}
CALM |= {
    "option",
    "getpass",
    "Field",
    "Query",
    "Path",
    "Body",
    "Header",
    "APIRouter",
    "may_fail",
    "InfoMetricFamily",
    "GaugeMetricFamily",
    "CounterMetricFamily",
    "Counter",
    "Histogram",
    "Described",
    "compile",
    "ImportError",
    "CryptoError",
}
CALM |= {"ProtocolError", "HandshakeError"}
CALM |= {"Command", "_arg", "done", "facts"}  # of rportctl: help, and what went well
CALM_FILES = {"api/docs.py", "console.py", "screen.py", "elsewhere.py", "units.py", "statistics.py", "status.py"}
CALM_FILES |= {"ctl/commands.py", "ctl/credentials.py", "ctl/webhooks.py"}
CALM_NAMES = re.compile(
    r".*(EPILOG|ABOUT|PROBLEMS|THERE_ALREADY)|_?EXAMPLES?|RESERVED_HEADERS|_WORDS|SECURITY|SCOPE|_GONE|_RAISE"
)
HTTP = re.compile(r"HTTP/1|[A-Z][a-z]+(-\w+)+: |Connection: ")
SQL = re.compile(r"(SELECT|PRAGMA|DROP TABLE|TRUNCATE|SET) ")
UNEXPLAINED = {  # no trouble, or parts of other messages
    "the client stops",  # the client's own goodbye
    "ended by the server",  # after a reason of its own
    "an HTTP proxy",
    "a SOCKS5 proxy",
    "not connected to",  # statistics
    "yes, as process",  # service status
    "take the # from those that you set",  # config example
    "for clients with",  # rportctl user add
    "prompt for credentials:i:1",  # .rdp
    "HKDF cannot give",  # a mistake of ours
}


def messages(node: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and text of the strings below `node` that are not calm; of one with values in it, its longest part."""
    if isinstance(node, ast.Call) and _name(node.func) in CALM:
        return
    if isinstance(node, ast.Assert) or _is_docstring(node):
        return
    if isinstance(node, ast.Assign | ast.AnnAssign):
        target = node.target if isinstance(node, ast.AnnAssign) else node.targets[0]
        if CALM_NAMES.fullmatch(_name(target)):
            return
    if isinstance(node, ast.JoinedStr):
        constants = [part.value for part in node.values if isinstance(part, ast.Constant)]
        yield node.lineno, max(map(str, constants), key=len, default="")
        for part in node.values:
            if isinstance(part, ast.FormattedValue):
                yield from messages(part)
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.lineno, max(re.split(r"%[a-z]|\{\w*\}", node.value), key=len)
    else:
        for name, value in ast.iter_fields(node):
            if name not in ("annotation", "returns"):
                for child in value if isinstance(value, list) else [value]:
                    if isinstance(child, ast.AST):
                        yield from messages(child)


def _name(node: ast.AST) -> str:
    return str(getattr(node, "attr", getattr(node, "id", "")))


def _is_docstring(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def plain(text: str) -> str:
    return " ".join(text.replace("`", "").split())


def fragment(text: str) -> str:
    """What is looked for."""
    return plain(text).strip(" :;,.")[:FRAGMENT].strip()


def is_sentence(text: str) -> bool:
    """Three words; nothing of HTTP's or a database's."""
    words = len(re.findall(r"[A-Za-z]{2,}", text)) >= 3 and " " in text
    return words and not HTTP.match(text) and not SQL.match(text)


PAGES = plain("\n".join(page.read_text() for page in (ROOT / "docs").glob("*.md")))
SOURCES = [path for path in sorted((ROOT / "rport").rglob("*.py")) if not path.as_posix().endswith(tuple(CALM_FILES))]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_messages_are_explained(path: Path) -> None:
    missing = [
        f"{path.name}:{line}: {text}"
        for line, found in messages(ast.parse(path.read_text()))
        if is_sentence(text := fragment(found)) and text not in UNEXPLAINED and text not in PAGES
    ]
    assert not missing, "these need a line in docs/troubleshooting.md"


def test_a_message_without_a_line_is_found() -> None:
    source = 'def f():\n    """Not this."""\n    raise UsageError(f"{1}: the flux of %s is out of order")'
    assert next(messages(ast.parse(source))) == (3, ": the flux of %s is out of order")
