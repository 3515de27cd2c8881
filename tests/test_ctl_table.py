from datetime import UTC, datetime, timedelta

import pytest

from rport.ctl import table as t
from rport.screen import width

COLUMNS = (t.Column("NAME", t.plain("name")), t.Column("NOTE", t.plain("note")))


def lines(*rows: tuple[str, str], room: int | None = None) -> list[str]:
    return list(t.table(COLUMNS, [{"name": name, "note": note} for name, note in rows], room))


def test_columns_are_as_wide_as_what_is_in_them() -> None:
    assert lines(("a", "one"), ("long-name", "")) == ["NAME       NOTE", "a          one", "long-name  -"]


@pytest.mark.parametrize("room", [80, 40, 30, 20, 16, 14])
def test_it_fits_the_terminal(room: int) -> None:
    shown = lines(("a" * 20, "b" * 30), ("日本語" * 5, "x"), room=room)
    assert max(map(width, shown)) <= room
    assert len(shown) == 3


def test_the_widest_is_cut_first() -> None:
    assert lines(("short", "x" * 60), room=30)[1] == "short  " + "x" * 20 + "..."


def test_sizes_stay_as_they_are_where_they_fit_and_narrow_where_nothing_does() -> None:
    sizes = [5, 9]
    t.shrink(sizes, 14)
    assert sizes == [5, 9]
    t.shrink(sizes, 1)
    assert sizes == [5, t.NARROW]
    for room in range(20, 90):
        sizes = [30, 8, 30, 7, 22]
        t.shrink(sizes, room)
        assert sum(sizes) == max(room, 30), (room, sizes)


def test_ids_stay_whole_and_figures_are_left_out_before_texts_cannot_be_read() -> None:
    columns = (
        t.Column("ID", t.plain("id"), t.Fit.WHOLE),
        t.Column("TARGET", t.plain("target")),
        t.Column("IN", t.plain("in"), t.Fit.LEFT_OUT),
        t.Column("NOTE", t.plain("note")),
        t.Column("OUT", t.plain("out"), t.Fit.LEFT_OUT),
    )
    row = {
        "id": "1600f0d331c9",
        "target": "db.internal.example.com:5432",
        "in": "195 B",
        "note": "x" * 40,
        "out": "79 B",
    }

    def titles(room: int) -> list[str]:
        head, line = t.table(columns, [row], room)
        assert width(line) <= room
        assert line.startswith("1600f0d331c9")
        return head.split()

    assert titles(200) == ["ID", "TARGET", "IN", "NOTE", "OUT"]
    assert titles(53) == ["ID", "TARGET", "IN", "NOTE", "OUT"]
    assert titles(52) == ["ID", "TARGET", "IN", "NOTE"]
    assert titles(40) == titles(30) == ["ID", "TARGET", "NOTE"]


def test_texts_of_others_move_no_cursor() -> None:
    shown = "\n".join(lines(("\x1b[2Ja\r\nb", "\u202egnp.exe")))
    assert "\x1b" not in shown
    assert "\r" not in shown
    assert "\u202e" not in shown
    assert len(shown.splitlines()) == 2
    assert list(t.facts([("name", "a\nb\x1b]0;x\x07")])) == ["name  a\\nb\\x1b]0;x\\x07"]


def test_times() -> None:
    now = datetime.now(UTC)
    assert t.ago((now - timedelta(minutes=5, seconds=2)).isoformat()).startswith("5m ")
    assert t.ago((now + timedelta(days=3, hours=5)).isoformat()).startswith("in 3d ")
    assert (t.ago(None), t.moment(None), t.moment("nonsense")) == ("-", "-", "-")
    assert len(t.moment("2026-01-31T12:00:00Z")) == 19


def test_values() -> None:
    assert [t.text(value) for value in (None, "", [], True, False, 0, ["a", "b"])] == [
        "-", "-", "-", "yes", "no", "0", "a, b",
    ]  # fmt: skip
    assert (t.octets(1200), t.octets(None), t.octets(5, "/s")) == ("1.2 kB", "-", "5 B/s")
