"""Which client somebody means."""

import pytest

from tests.support.api_double import ApiDouble, Asked, client, page
from tests.support.ctl import Ctl

MACHINES = [client("aa11", "web-1"), client("aa22", "web-10"), client("bb11", "db"), client("cc11", "twin"),
            client("cc22", "twin"), client("db", "other")]  # fmt: skip


def fill(double: ApiDouble) -> None:
    def matching(asked: Asked) -> tuple[int, object]:
        text = asked.query.get("q", [""])[0]
        return page(*(row for row in MACHINES if text in row["id"] or text in row["name"]))

    double.answers["GET", "/clients"] = matching
    for row in MACHINES:
        double.answers["GET", f"/clients/{row['id']}"] = (200, row)


@pytest.mark.parametrize(
    ("text", "id"),
    [
        ("aa11", "aa11"),  # an id
        ("web-1", "aa11"),  # a name, though another begins so
        ("web-10", "aa22"),
        ("bb", "bb11"),  # how an id begins
        ("ot", "db"),  # how a name begins
        ("db", "db"),  # an id goes before a name, if somebody gave it
        ("=db", "db"),
    ],
)
def test_one(ctl: Ctl, text: str, id: str) -> None:
    fill(ctl.double)
    done = ctl("client", "show", text, "--json")
    assert done.code == 0
    assert f'"id": "{id}"' in done.out


def test_more_than_one(ctl: Ctl) -> None:
    fill(ctl.double)
    assert ctl("client", "show", "web").err == "rportctl: client 'web' may be one of 2: web-1 (aa11), web-10 (aa22)\n"
    done = ctl("client", "show", "twin")
    assert (done.code, done.out) == (1, "")
    assert done.err == "rportctl: client 'twin' may be one of 2: twin (cc11), twin (cc22)\n"


def test_an_id_that_a_machine_gave_itself_takes_no_name_from_another(ctl: Ctl) -> None:
    fill(ctl.double)
    ctl.double.answers["GET", "/clients/db"] = (200, client("db", "other", managed=False))
    done = ctl("client", "show", "db")
    assert (done.code, done.out) == (1, "")
    assert done.err == "rportctl: client 'db', or =db by id, may be one of 2: db (bb11), other (db)\n"


def test_none(ctl: Ctl) -> None:
    fill(ctl.double)
    for text in ("nobody", "eb-1", "../sessions", "%2e%2e"):  # the end of a name is not how it begins
        done = ctl("client", "rm", text)
        assert (done.code, done.out) == (2, "")
    assert done.err == "rportctl: there is no client '%2e%2e'; rportctl clients lists them\n"
    assert {asked.method for asked in ctl.double.asked} == {"GET"}


@pytest.mark.parametrize(
    "words",
    [("client", "rm", ""), ("tunnel", "close", "", "ab12"), ("tunnel", "close", "aa11", ""), ("tunnel", "list", "")],
)
def test_nothing_is_not_the_only_one(ctl: Ctl, words: tuple[str, ...]) -> None:
    ctl.double.answers["GET", "/clients"] = page(MACHINES[0])
    ctl.double.answers["GET", "/clients/aa11"] = (200, MACHINES[0])
    ctl.double.answers["GET", "/clients/aa11/tunnels"] = page(tunnel("ab12", 2222))
    ctl.double.answers["DELETE", "/clients/aa11"] = (204, None)
    ctl.double.answers["DELETE", "/clients/aa11/tunnels/ab12"] = (204, None)
    done = ctl(*words)
    assert (done.code, done.out, done.err) == (1, "", "rportctl: there is nothing that is called ''\n")
    assert {asked.method for asked in ctl.double.asked} <= {"GET"}


@pytest.mark.parametrize(
    "words",
    [("client", "show"), ("clients", "--query"), ("user", "rm"), ("audit", "--actor"), ("events", "--type")],
)
def test_what_is_not_utf8(ctl: Ctl, words: tuple[str, ...]) -> None:
    fill(ctl.double)
    done = ctl(*words, "\udcff")
    assert (done.code, done.out, done.err) == (1, "", "rportctl: '\\udcff' is not UTF-8\n")


def test_one_is_removed_by_its_whole_name_or_id_alone(ctl: Ctl) -> None:
    fill(ctl.double)
    for text in ("ot", "bb", "web"):
        assert ctl("client", "show", text, "--json").code == (1 if text == "web" else 0)
        done = ctl("client", "rm", text)
        assert (done.code, done.out) == (2, "")
    assert done.err == "rportctl: there is no client 'web'; give the whole id or name, such as web-1 (aa11)\n"
    ctl.double.answers["DELETE", "/clients/aa22"] = ctl.double.answers["DELETE", "/clients/bb11"] = (204, b"")
    assert [ctl("client", "rm", text).code for text in ("web-10", "bb11", "=bb11")] == [0, 0, 0]


def test_many_candidates_are_not_all_listed(ctl: Ctl) -> None:
    ctl.double.answers["GET", "/clients"] = page(*(client(f"id{n}", f"web-{n}") for n in range(50)))
    err = ctl("client", "show", "web").err
    assert "may be one of 50: web-0 (id0)," in err
    assert err.endswith(", ...\n")
    assert len(err) < 200


def test_what_happened_to_one_that_is_gone(ctl: Ctl) -> None:
    fill(ctl.double)
    ctl.double.answers["GET", "/audit"] = page()
    for text, id in (("web-1", "aa11"), ("gone", "gone")):
        assert ctl("audit", "--client", text).code == 0
        assert ctl.double.asked[-1].query["client"] == [id]
    assert ctl("audit", "--client", "web").code == 1


def tunnel(id: str, port: int) -> dict[str, object]:
    return {
        "id": id, "client_id": "aa11", "lhost": "127.0.0.1", "lport": port, "target": "22", "state": "open",
        "declared": False, "stored": True, "sources": [],
    }  # fmt: skip


@pytest.mark.parametrize(("text", "id"), [("ab12", "ab12"), ("cd", "cd34"), (":2223", "cd34")])
def test_tunnels(ctl: Ctl, text: str, id: str) -> None:
    fill(ctl.double)
    ctl.double.answers["GET", "/clients/aa11/tunnels"] = page(tunnel("ab12", 2222), tunnel("cd34", 2223))
    ctl.double.answers["DELETE", f"/clients/aa11/tunnels/{id}"] = (204, b"")
    assert ctl("tunnel", "close", "web-1", text).code == 0
    assert ctl("tunnel", "close", "web-1", ":1").code == 2
    assert ctl("tunnel", "close", "web-1", "").code == 1  # both begin so
