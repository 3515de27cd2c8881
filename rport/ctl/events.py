"""`rportctl events`: server-sent events, as lines."""

import json
import time
from collections.abc import Iterator
from http.client import HTTPException, HTTPResponse
from typing import Any

from rport.ctl import find
from rport.ctl.command import Words
from rport.ctl.errors import ServerTrouble
from rport.ctl.session import Session
from rport.ctl.table import moment, text
from rport.text import escape

QUIET = 1.0  # seconds without an event, after which those of the past are all there
SILENCE = 45.0  # seconds: the server says something every 15
PAUSE = 2.0  # seconds before the next try
LINE_MAX = 1 << 20  # octets; an event has some hundred


def events(session: Session, words: Words) -> None:
    client = find.client_id(session.api, words.client) if words.client is not None else None
    query = {"type": list(words.type), "client": client}
    after = words.after if words.after is not None or words.follow else "0"
    heard = False
    while True:
        try:
            for event in _listen(session, query, after, SILENCE if words.follow else QUIET):
                heard = True
                if event is None:
                    continue
                after = str(event["id"]) if event.get("id") else after  # one that cannot be saved now has no number
                print(_line(event, as_json=session.json), flush=True)
        except ServerTrouble as error:
            if not words.follow or not heard:
                raise
            session.warn(f"trying again: {error}")
        if not words.follow:
            return
        time.sleep(PAUSE)


def _listen(
    session: Session, query: dict[str, Any], after: str | None, patience: float
) -> Iterator[dict[str, Any] | None]:
    """Until the server ends it, or is silent for too long. The first is None: it listens."""
    fields = {"Accept": "text/event-stream", **({"Last-Event-ID": after} if after is not None else {})}
    with session.api.stream("/events", query, fields, patience) as answer:
        yield None
        yield from parse(_lines(answer))


def _lines(answer: HTTPResponse) -> Iterator[str]:
    while True:
        try:
            line = answer.readline(LINE_MAX)
        except TimeoutError:
            return
        except (OSError, HTTPException) as error:
            raise ServerTrouble(
                f"the events ended: {getattr(error, 'strerror', None) or 'the connection broke'}"
            ) from None
        if not line:
            return
        yield line.decode("utf-8", "replace").rstrip("\r\n")


def parse(lines: Iterator[str]) -> Iterator[dict[str, Any]]:
    """The JSON of each event: https://html.spec.whatwg.org/multipage/server-sent-events.html, section 9.2.6."""
    data: list[str] = []
    for line in lines:
        if line.startswith("data:"):
            data.append(line[5:].removeprefix(" "))
        elif not line and data:
            yield json.loads("\n".join(data))
            data = []


def _line(event: dict[str, Any], *, as_json: bool) -> str:
    if as_json:
        return json.dumps(event)
    details = " ".join(f"{key}={text(value)}" for key, value in event.get("data", {}).items())
    return escape(f"{moment(event['at'])}  {event['type']:20}  {text(event.get('client')):16}  {details}".rstrip())
