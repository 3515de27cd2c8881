"""Users, tokens, browsers' logins and second factors of a running server."""

import json
import time
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pyotp
import pytest

from tests.e2e.conftest import Keep
from tests.e2e.test_fail2ban import banned
from tests.support.admin import until_known
from tests.support.asking import Answer, ask, basic, bearer
from tests.support.people import PASSWORD, add_token, add_user, printed
from tests.support.programs import Server, closing_all, until

pytestmark = pytest.mark.e2e

OTHER = "staple 42 42"


class Place:
    def __init__(self, state: Path, *argv: str) -> None:
        self.state = state
        self.server = Server(state, *argv)
        add_user(state, "root")
        self.token = add_token(state, "root")
        until_known(self.server.port, self.token)

    def stop(self) -> None:
        self.server.stop()

    def ask(self, method: str, path: str, *fields: tuple[str, str], json_body: Any = None) -> Answer:
        return ask(self.server.port, method, path, *fields, json_body=json_body)

    def get(self, path: str, *fields: tuple[str, str]) -> Answer:
        return self.ask("GET", path, *fields)

    def admin(self, method: str, path: str, json_body: Any = None) -> Answer:
        return self.ask(method, f"/api/v1{path}", bearer(self.token), json_body=json_body)

    def add(self, name: str, role: str = "viewer", **more: Any) -> Answer:
        return self.admin("POST", "/users", {"name": name, "password": PASSWORD, "role": role, **more})

    def log_in(self, name: str, password: str = PASSWORD, *fields: tuple[str, str], **more: Any) -> Answer:
        return self.ask("POST", "/api/v1/login", *fields, json_body={"user": name, "password": password, **more})

    def patient(self, name: str, password: str = PASSWORD, **more: Any) -> Answer:
        """As somebody who waits as long as he is told to."""
        while (answer := self.log_in(name, password, **more)).status == 429:
            time.sleep(0.1)
        return answer


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with closing_all() as keep:
        yield keep(Place(tmp_path_factory.mktemp("state")))


def own_page(place: Place) -> tuple[str, str]:
    return "Origin", f"http://127.0.0.1:{place.server.port}"


# --- the first user --------------------------------------------------------------------------------------------------


def test_the_first_user_closes_the_api_and_the_last_one_opens_it(keep: Keep, tmp_path: Path) -> None:
    server = keep(Server(tmp_path))
    server.wait_for("The API has no users, .*: rportd user add NAME --role admin")
    assert ask(server.port, "GET", "/api/v1/me").json["kind"] == "local"
    listening = ask(server.port, "GET", "/api/v1/users").json
    assert listening == {"items": [], "next": None}
    assert ask(server.port, "POST", "/api/v1/tokens", json_body={}).status == 404  # nobody's
    add_user(tmp_path, "root")
    until(lambda: ask(server.port, "GET", "/api/v1/me").status == 401, "credentials are wanted")
    printed(tmp_path, "user", "remove", "root", "--force")
    until(lambda: ask(server.port, "GET", "/api/v1/me").status == 200, "they are not")


def test_the_first_user_may_be_made_through_the_api(keep: Keep, tmp_path: Path) -> None:
    server = keep(Server(tmp_path))
    new = {"name": "bob", "password": PASSWORD, "role": "operator"}
    refused = ask(server.port, "POST", "/api/v1/users", json_body=new)
    assert (refused.status, "has to be an admin" in refused.error) == (409, True)
    assert ask(server.port, "POST", "/api/v1/users", json_body=new | {"role": "admin"}).status == 201
    assert ask(server.port, "GET", "/api/v1/me").status == 401  # at once
    assert ask(server.port, "GET", "/api/v1/me", basic("bob", PASSWORD)).json["role"] == "admin"


def test_users_and_tokens_outlive_the_server(keep: Keep, tmp_path: Path) -> None:
    place = keep(Place(tmp_path))
    cookie = ("Cookie", place.log_in("root").cookie())
    place.server.process.kill()
    place.server.stop()
    again = keep(Server(tmp_path))
    assert "has no users" not in again.log
    assert ask(again.port, "GET", "/api/v1/me").status == 401
    for shown in (bearer(place.token), basic("root", PASSWORD), cookie):
        assert ask(again.port, "GET", "/api/v1/me", shown).json["name"] == "root"


# --- users -----------------------------------------------------------------------------------------------------------


def test_a_users_life(place: Place) -> None:
    made = place.add("life", "operator", tags=["berlin"])
    assert made.status == 201
    assert made.json.keys() == {"name", "role", "tags", "totp", "created_at"}
    assert place.admin("GET", "/users/life").json == made.json
    assert "life" in [user["name"] for user in place.admin("GET", "/users").json["items"]]
    assert place.add("life").status == 409
    assert place.get("/api/v1/me", basic("life", PASSWORD)).json["tags"] == ["berlin"]
    changed = place.admin("PATCH", "/users/life", {"role": "admin", "tags": None}).json
    assert (changed["role"], changed["tags"]) == ("admin", None)
    assert place.get("/api/v1/me", basic("life", PASSWORD)).json["role"] == "admin"  # at once, though remembered
    assert place.admin("PATCH", "/users/life", {}).json == changed
    place.admin("PATCH", "/users/life", {"password": OTHER})
    assert place.get("/api/v1/me", basic("life", PASSWORD)).status == 401
    assert place.patient("life", OTHER).status == 200
    assert place.admin("DELETE", "/users/life").status == 204
    for method in ("GET", "DELETE"):
        assert place.admin(method, "/users/life").status == 404
    assert place.admin("PATCH", "/users/life", {"role": "viewer"}).status == 404
    assert PASSWORD not in json.dumps(place.admin("GET", "/users").json)


def test_the_last_admin_stays(place: Place) -> None:
    for method, change in (("DELETE", None), ("PATCH", {"role": "viewer"}), ("PATCH", {"tags": ["x"]})):
        answer = place.admin(method, "/users/root", change)
        assert (answer.status, "last admin" in answer.error) == (409, True)


def test_a_list_in_parts(place: Place) -> None:
    for i in range(5):
        place.add(f"part{i}")
    names: list[str] = []
    cursor = ""
    while True:
        found = place.admin("GET", f"/users?limit=2{cursor}").json
        names += [user["name"] for user in found["items"]]
        if found["next"] is None:
            break
        cursor = f"&cursor={found['next']}"
    assert names == sorted(names)
    assert {f"part{i}" for i in range(5)} < set(names)
    assert place.admin("GET", "/users?cursor=x").status == 422
    assert place.admin("GET", "/users?limit=0").status == 400


def test_whoever_sees_some_clients_makes_nobody_who_sees_more(place: Place) -> None:
    place.add("scoped", "admin", tags=["berlin"])
    shown = basic("scoped", PASSWORD)
    answer = place.ask("POST", "/api/v1/users", shown, json_body={"name": "x", "password": PASSWORD, "role": "admin"})
    assert answer.status == 403
    assert place.ask("PATCH", "/api/v1/users/scoped", shown, json_body={"tags": None}).status == 403
    wide = place.ask("POST", "/api/v1/tokens", shown, json_body={"tags": ["berlin", "paris"]})
    assert wide.status == 403
    mine = place.ask("POST", "/api/v1/tokens", shown, json_body={})
    assert mine.json["tags"] == ["berlin"]
    assert [token["user"] for token in place.get("/api/v1/tokens", shown).json["items"]] == ["scoped"]


# --- tokens ----------------------------------------------------------------------------------------------------------


def test_a_token_of_another_user_does_not_grow_with_him(place: Place) -> None:
    place.add("small", "viewer")
    made = place.admin("POST", "/tokens", {"user": "small"}).json
    assert (made["user"], made["role"]) == ("small", "viewer")
    assert place.admin("PATCH", "/users/small", {"role": "admin"}).status == 200
    assert place.get("/api/v1/me", bearer(made["secret"])).json["role"] == "viewer"


def test_a_tokens_life(place: Place) -> None:
    place.add("tokens", "operator")
    shown = basic("tokens", PASSWORD)
    new = {"note": "a script", "role": "viewer", "expires_in": 3600}
    made = place.ask("POST", "/api/v1/tokens", shown, json_body=new).json
    secret = bearer(made.pop("secret"))
    assert (made["user"], made["role"], made["note"], made["last_used_at"]) == ("tokens", "viewer", "a script", None)
    assert place.get("/api/v1/me", secret).json["token"] == made["id"]
    (listed,) = place.get("/api/v1/tokens", secret).json["items"]
    assert listed["last_used_at"] is not None
    assert listed["last_used_from"] == "127.0.0.1"
    assert "secret" not in listed
    more = place.ask("POST", "/api/v1/tokens", secret, json_body={"role": "operator"})
    assert more.status == 403  # more than the token may
    child = place.ask("POST", "/api/v1/tokens", secret, json_body={}).json
    assert child["expires_at"] == made["expires_at"]  # ends no later
    assert place.ask("POST", "/api/v1/tokens", shown, json_body={"role": "admin"}).status == 403
    assert place.ask("POST", "/api/v1/tokens", shown, json_body={"user": "root"}).status == 403
    wide = place.ask("POST", "/api/v1/tokens", shown, json_body={}).json
    assert wide["id"] not in {token["id"] for token in place.get("/api/v1/tokens", secret).json["items"]}
    assert place.ask("DELETE", f"/api/v1/tokens/{wide['id']}", secret).status == 404  # more than the token may
    assert place.ask("DELETE", f"/api/v1/tokens/{child['id']}", secret).status == 204
    root = next(t for t in place.admin("GET", "/tokens").json["items"] if t["user"] == "root")
    assert place.ask("DELETE", f"/api/v1/tokens/{root['id']}", shown).status == 404  # another's
    assert place.get("/api/v1/tokens?user=root", shown).json["items"] == []
    assert place.ask("DELETE", f"/api/v1/tokens/{made['id']}", shown).status == 204
    assert place.get("/api/v1/me", secret).status == 401
    assert place.ask("DELETE", f"/api/v1/tokens/{made['id']}", shown).status == 404


def test_an_admin_makes_tokens_for_others_and_they_shrink_with_them(place: Place) -> None:
    place.add("other", "operator")
    made = place.admin("POST", "/tokens", {"user": "other"}).json
    secret = bearer(made["secret"])
    assert place.get("/api/v1/me", secret).json["role"] == "operator"  # no more than he
    place.admin("PATCH", "/users/other", {"role": "viewer"})
    assert place.get("/api/v1/me", secret).json["role"] == "viewer"
    place.admin("DELETE", "/users/other")
    assert place.get("/api/v1/me", secret).status == 401
    assert place.admin("POST", "/tokens", {"user": "nobody"}).status == 404


def test_what_the_command_revokes_is_out_soon(place: Place) -> None:
    secret = add_token(place.state, "root")
    until(lambda: place.get("/api/v1/me", bearer(secret)).status == 200, "the server knows the token")
    (id,) = {place.get("/api/v1/me", bearer(secret)).json["token"]}
    printed(place.state, "token", "revoke", id)
    until(lambda: place.get("/api/v1/me", bearer(secret)).status == 401, "the token is out")


# --- browsers --------------------------------------------------------------------------------------------------------


def test_a_browser_logs_in_and_out(place: Place) -> None:
    place.add("browser", "operator")
    answer = place.log_in("browser", PASSWORD, own_page(place))
    assert (answer.status, answer.json["name"]) == (200, "browser")
    words = answer.headers["set-cookie"].lower().split("; ")
    assert {"httponly", "samesite=strict", "path=/api", "max-age=43200"} <= set(words)
    assert "secure" not in words  # without TLS it would not come back
    cookie = ("Cookie", answer.cookie())
    assert place.get("/api/v1/me", cookie).json["kind"] == "user"
    assert place.ask("POST", "/api/v1/tokens", cookie, json_body={}).status == 403
    assert place.ask("POST", "/api/v1/tokens", cookie, own_page(place), json_body={}).status == 201
    assert place.ask("POST", "/api/v1/logout", cookie).status == 403
    out = place.ask("POST", "/api/v1/logout", cookie, own_page(place))
    assert (out.status, "max-age=0" in out.headers["set-cookie"].lower()) == (204, True)
    assert place.get("/api/v1/me", cookie).status == 401
    assert place.log_in("browser", PASSWORD, ("Origin", "http://evil.example")).status == 403


def test_over_tls_the_cookie_is_for_tls(keep: Keep, tmp_path: Path) -> None:
    proxied = keep(Place(tmp_path, "--trusted-proxy", "127.0.0.1"))
    answer = proxied.log_in("root", PASSWORD, ("X-Forwarded-Proto", "https"), ("X-Forwarded-For", "203.0.113.9"))
    assert "secure" in answer.headers["set-cookie"].lower()
    entries = until(lambda: printed_audit(tmp_path), "the audit log has it")
    assert ("user root", "203.0.113.9", "login") in entries


def printed_audit(state: Path) -> list[tuple[str, str, str]]:
    import sqlite3

    with sqlite3.connect(state / "rportd.db") as db:
        return list(db.execute("SELECT actor, source, action FROM audit WHERE action = 'login'"))


def test_another_password_ends_the_other_browsers(place: Place) -> None:
    place.add("changer", "viewer")
    first, second = (("Cookie", place.log_in("changer").cookie()) for _ in range(2))
    token = bearer(place.ask("POST", "/api/v1/tokens", first, own_page(place), json_body={}).json["secret"])
    change = {"current": "wrong wrong", "password": OTHER}
    assert place.ask("PATCH", "/api/v1/me", first, own_page(place), json_body=change).status == 403
    assert place.ask("PATCH", "/api/v1/me", token, json_body=change).status == 403
    change["current"] = PASSWORD
    answer = place.ask("PATCH", "/api/v1/me", first, own_page(place), json_body=change)
    while answer.status == 429:
        time.sleep(0.1)
        answer = place.ask("PATCH", "/api/v1/me", first, own_page(place), json_body=change)
    assert answer.status == 200
    assert [place.get("/api/v1/me", shown).status for shown in (first, second, token)] == [200, 401, 200]
    assert place.patient("changer", PASSWORD).status == 401
    assert place.patient("changer", OTHER).status == 200


# --- second factors --------------------------------------------------------------------------------------------------


def confirm(place: Place, shown: tuple[str, str], maker: pyotp.TOTP) -> None:
    """Takes the code before the present one, so that this is still to be used."""

    def confirmed() -> bool:
        past = place.ask("PUT", "/api/v1/me/totp", shown, json_body={"code": maker.at(time.time() - 30)})
        assert past.status == 403 or past.json["totp"] is True
        return past.status == 200

    until(confirmed, "the code before is taken: it is too old where its successor's time ends on the way")


def test_a_second_factor(place: Place) -> None:
    place.add("totp", "viewer")
    shown = basic("totp", PASSWORD)
    token = bearer(place.ask("POST", "/api/v1/tokens", shown, json_body={}).json["secret"])
    assert place.ask("POST", "/api/v1/me/totp", token).status == 403
    assert place.ask("PUT", "/api/v1/me/totp", shown, json_body={"code": "123456"}).status == 409
    offer = place.ask("POST", "/api/v1/me/totp", shown).json
    maker = pyotp.TOTP(offer["secret"])
    assert pyotp.parse_uri(offer["uri"]).secret == offer["secret"]
    wrong = f"{(int(maker.now()) + 500000) % 1000000:06}"
    assert place.ask("PUT", "/api/v1/me/totp", shown, json_body={"code": wrong}).status == 403
    assert place.get("/api/v1/me", shown).status == 200  # it does not count yet
    confirm(place, shown, maker)
    without = place.get("/api/v1/me", shown)
    assert (without.status, "X-Rport-OTP" in without.error) == (401, True)
    assert place.get("/api/v1/me", token).status == 200  # tokens are asked for none
    now = maker.at(time.time())
    assert place.get("/api/v1/me", shown, ("X-Rport-OTP", now)).status == 200
    again = place.get("/api/v1/me", shown, ("X-Rport-OTP", now))
    assert (again.status, "was used already" in again.error) == (401, True)
    cookie = place.patient("totp", PASSWORD, code=maker.at(time.time() + 30))
    assert cookie.status == 200
    browser = ("Cookie", cookie.cookie())
    remove = place.ask("DELETE", "/api/v1/me/totp", browser, own_page(place))
    assert remove.status == 403  # a code is wanted
    assert place.admin("PATCH", "/users/totp", {"totp": True}).status == 422
    assert place.admin("PATCH", "/users/totp", {"totp": False}).json["totp"] is False
    assert place.patient("totp").status == 200
    assert offer["secret"] not in place.server.log


# --- guesses ---------------------------------------------------------------------------------------------------------


def wrong_passwords_are_followed_by_a_growing_delay(keep: Keep, state: Path) -> None:
    place = keep(Place(state))
    place.add("victim", "viewer")
    first = place.log_in("victim", "wrong wrong")
    assert (first.status, first.error) == (401, "unknown user or wrong password")
    for _ in range(3):
        assert place.patient("victim", "wrong wrong").status == 401
    # Four seconds by now: what follows comes within them on a busy machine, too. The first are half a second.
    soon = place.log_in("victim", PASSWORD)
    assert soon.status == 429
    assert int(soon.headers["retry-after"]) >= 1
    assert place.get("/api/v1/me", basic("victim", PASSWORD)).status == 429
    assert place.log_in("root").status == 200  # another user from there
    elsewhere = ask(place.server.port, "GET", "/api/v1/me", bearer(place.token))
    assert elsewhere.status == 200
    assert place.patient("victim").status == 200


def test_a_code_is_typed_at_once_also_behind_wrong_passwords(place: Place) -> None:
    place.add("hasty")
    shown = basic("hasty", PASSWORD)
    maker = pyotp.TOTP(place.ask("POST", "/api/v1/me/totp", shown).json["secret"])
    confirm(place, shown, maker)
    for _ in range(3):
        assert place.patient("hasty", "wrong wrong").status == 401
    assert "X-Rport-OTP" in place.patient("hasty").error
    assert place.log_in("hasty", code=maker.at(time.time())).status == 200


def test_a_remembered_password_is_not_delayed_by_who_guesses(place: Place) -> None:
    place.add("curl", "viewer")
    assert place.get("/api/v1/me", basic("curl", PASSWORD)).status == 200
    assert place.get("/api/v1/me", basic("curl", "wrong wrong")).status == 401
    assert place.get("/api/v1/me", basic("curl", PASSWORD)).status == 200


@pytest.mark.parametrize(
    "body",
    [
        {"user": "\ud800", "password": "\ud800\udfff\udc00"},
        {"user": "a\x00b", "password": "x\x00"},
        {"user": "", "password": ""},
        {"user": "root", "password": "x" * 4096},
        {"user": "root", "password": "\U0001f600" * 4096},
        {"user": "' from 203.0.113.9", "password": "x"},
    ],
)
def test_strange_logins_are_wrong_logins(place: Place, body: dict[str, str]) -> None:
    data = json.dumps(body).encode()
    answer = ask(place.server.port, "POST", "/api/v1/login", ("Content-Type", "application/json"), body=data)
    assert answer.status in (400, 401, 429)


def test_failures_are_told_in_the_log_as_fail2ban_reads_it(keep: Keep, tmp_path: Path) -> None:
    place = keep(Place(tmp_path))
    victim = "203.0.113.9"
    names = ["bob", "", f"x' from {victim}", f"x' from {victim}\n", f"\\' from {victim}", "\U0001f600"]
    for name in names:
        assert place.log_in(name, "wrong wrong").status == 401
    assert place.get("/api/v1/me", bearer("rpt_none")).status == 401
    place.server.wait_for("api: login failed for a token from 127.0.0.1")
    log = tmp_path / "rportd.log"
    log.write_text(f"{place.server.log}\n")
    assert banned(log) == ["127.0.0.1"] * (len(names) + 1)
    assert "wrong wrong" not in place.server.log


def test_secrets_are_in_no_log_and_no_answer(keep: Keep, tmp_path: Path) -> None:
    place = keep(Place(tmp_path, "-v"))
    made = place.admin("POST", "/tokens", {}).json
    cookie = place.log_in("root").cookie()
    place.get("/api/v1/me", basic("root", "wrong wrong"))
    told = place.server.log + str(place.admin("GET", "/users").json) + str(place.admin("GET", "/tokens").json)
    for secret in (PASSWORD, "wrong wrong", made["secret"], place.token, cookie.partition("=")[2], "$argon2id"):
        assert secret not in told


SCENARIOS = (wrong_passwords_are_followed_by_a_growing_delay,)


def test_after_a_wait(scenario: Future[None]) -> None:
    scenario.result()
