import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from rport import logs
from rport.errors import UsageError
from rport.logs import Handler, JsonFormatter, LineFormatter
from rport.sinks import Sink
from rport.text import escape
from tests.support.descriptors import open_descriptors

log = logging.getLogger("rport")

HOSTILE = [
    "a\nb\r\nc",
    "\x1b[2J\x1b]0;title\x07",
    "abc\u202edcba\u2066\u200b",
    "\u2028\u2029\x85\x0b\x0c",
    "\ud800 lone",
    "\x00\x7f\x9b31m",
    "\ufeff\U000e0001",
    '"}, {"level": "error',
]


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, levels = root.handlers[:], (root.level, log.level)
    yield
    logs.install(logging.NullHandler(), "info")
    root.handlers[:] = handlers
    root.setLevel(levels[0])
    log.setLevel(levels[1])


class Memory(Sink):
    """Room for so many lines."""

    def __init__(self, room: int = 1000) -> None:
        self.lines: list[str] = []
        self.room = room

    def write(self, line: bytes, end: bytes = b"\n") -> bool:
        if len(self.lines) >= self.room:
            return False
        self.lines.append(line.decode())
        return True


def memory(formatter: logging.Formatter, level: str = "info", room: int = 1000) -> Memory:
    sink = Memory(room)
    logs.install(Handler(sink, formatter), level)
    return sink


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_stays_on_its_line(text: str) -> None:
    for formatter in (LineFormatter(), JsonFormatter()):
        sink = memory(formatter)
        log.info("from %s", text, extra={"client": text})
        (line,) = sink.lines
        assert line.isprintable()
        if isinstance(formatter, JsonFormatter):
            item = json.loads(line)
            assert line.isascii()
            assert (item["level"], item["message"], item["client"]) == ("info", f"from {escape(text)}", escape(text))


def test_what_people_write_is_not_touched() -> None:
    sink = memory(JsonFormatter())
    log.info("漢字")
    assert json.loads(sink.lines[0])["message"] == "漢字"


@pytest.mark.parametrize("text", ["x" * 60_000, "\u202e" * 60_000, "漢" * 60_000])
def test_lines_have_a_bound(text: str) -> None:
    for formatter in (LineFormatter(), JsonFormatter()):
        sink = memory(formatter)
        log.info("%s", text, extra={"user": text})
        assert len(sink.lines[0]) < 6 * (logs.TEXT_MAX + logs.EXTRA_MAX) + 200


def test_text() -> None:
    sink = memory(LineFormatter())
    log.info("Connected (Latency %.1fms)", 1.23, extra={"session": "3"})
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ INFO Connected \(Latency 1\.2ms\)", sink.lines[0])


def test_json() -> None:
    sink = memory(JsonFormatter())
    log.warning("no", extra={"session": "session#1", "user": "", "statistics": {"uptime": 1}})
    item = json.loads(sink.lines[0])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", item.pop("time"))
    assert item == {"level": "warning", "message": "no", "session": "session#1", "statistics": {"uptime": 1}}


@pytest.mark.parametrize("formatter", [LineFormatter(), JsonFormatter()])
def test_an_unexpected_error_is_one_line_that_says_where(formatter: logging.Formatter) -> None:
    sink = memory(formatter)
    try:
        raise ValueError("a\nb")
    except ValueError:
        log.exception("session failed")
    (line,) = sink.lines
    assert "session failed | ValueError" in line
    assert "< test_logs.py:" in line


def test_levels() -> None:
    wanted = {"error": "E", "warning": "EW", "info": "EWI", "debug": "EWID"}
    for level, letters in wanted.items():
        sink = memory(LineFormatter(), level)
        for number in (logging.ERROR, logging.WARNING, logging.INFO, logging.DEBUG):
            log.log(number, "x")
        assert "".join(line.split()[1][0] for line in sink.lines) == letters
        others = logging.getLogger("uvicorn")
        others.info("x")
        assert len(sink.lines) == len(letters)


def test_what_was_left_out_is_told() -> None:
    sink = memory(LineFormatter(), room=1)
    for _ in range(5):
        log.info("x")
    sink.room = 1000
    log.info("y")
    log.info("z")
    assert [line.partition(" ")[2] for line in sink.lines[1:]] == [
        "WARNING 4 lines could not be written here",
        "INFO y",
        "INFO z",
    ]


def test_a_line_that_cannot_be_made_harms_nobody(capfd: pytest.CaptureFixture[str]) -> None:
    sink = memory(LineFormatter())
    log.info("%d", "x")
    log.info("fine")
    assert [line.partition(" INFO ")[2] for line in sink.lines] == ["%d ('x',)", "fine"]
    assert capfd.readouterr() == ("", "")


def test_a_log_moves_to_another_file_and_back(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    before = open_descriptors()
    for name in ("one", "two"):
        logs.start("info", "json", str(tmp_path / name))
        log.info(name)
    with pytest.raises(UsageError):
        logs.start("info", "text", str(tmp_path / "no" / "log"))
    log.info("stays")
    assert [json.loads(line)["message"] for line in (tmp_path / "two").read_text().splitlines()] == ["two", "stays"]
    logs.start("info", "text", None)
    log.info("back")
    assert capfd.readouterr().err.endswith(" INFO back\n")
    assert open_descriptors() <= before


def test_lines_by_one_source_have_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr("rport.logs.time.monotonic", lambda: now[0])
    sink = memory(LineFormatter(), "debug")
    for _ in range(100):
        log.warning("refused", extra={"limit": "192.0.2.1"})
        log.debug("refused", extra={"limit": "192.0.2.1"})
    log.warning("mine")
    assert sum("WARNING refused" in line for line in sink.lines) == 20
    assert sum("DEBUG refused" in line for line in sink.lines) == 100
    assert sink.lines[-1].endswith("mine")
    now[0] += 60
    log.warning("later")
    assert [line.partition(" ")[2] for line in sink.lines[-2:]] == [
        "WARNING 192.0.2.1: 80 lines were left out",
        "WARNING later",
    ]
