"""`rportctl login`, `logout` and `profile ...`."""

import contextlib
import socket
from typing import Any

from rport.ctl import ask
from rport.ctl.api import Api, part
from rport.ctl.basic import by_password
from rport.ctl.command import Words
from rport.ctl.errors import NotAllowed, NotFound
from rport.ctl.place import Place, read_place
from rport.ctl.session import Session
from rport.ctl.table import Column, columns_of, plain, table

PROFILES = (
    Column("", lambda row: "*" if row["current"] else ""),
    Column("PROFILE", plain("name")),
    Column("URL", plain("url")),
    Column("USER", plain("user")),
    Column("LOGIN", plain("login")),
)


def login(session: Session, words: Words) -> None:
    """What was there under the name is replaced once the new login works, and its token revoked."""
    place = read_place(words.server)
    name = words.profile or place.authority
    profile: dict[str, Any] = {"url": place.url}
    profile |= {"ca": _absolute(words.ca)} if words.ca else {}
    profile |= {"insecure": True} if words.insecure else {}
    token = words.token
    if words.anonymous:
        session.open(place, None, profile).get("/status")
    elif token is not None:
        profile |= {"user": session.open(place, token, profile).get("/me")["name"]}
    else:
        made = _make_token(session, words, place, profile)
        token = made["secret"]
        profile |= {"user": made["user"], "token_id": made["id"]}
    before = session.profiles.all.get(name, {})
    session.profiles.put(name, profile, token)
    if before.get("url") == place.url and "token_id" in before:
        _revoke(session.open(place, token, profile), before["token_id"])
    as_whom = f"as {profile['user']}" if "user" in profile else "without a login"
    session.done({"profile": name, **profile_view(profile)}, f"profile {name}: {place.url}, {as_whom}")


def profile_view(profile: dict[str, Any]) -> dict[str, Any]:
    """Without its token."""
    return {key: value for key, value in profile.items() if key != "token"}


def _absolute(path: str) -> str:
    import os

    return os.path.abspath(path)


def _make_token(session: Session, words: Words, place: Place, profile: dict[str, Any]) -> dict[str, Any]:
    user = words.user or ask.name("User")
    body = {"note": f"rportctl on {socket.gethostname()}"[:200]}
    if words.expires is not None:
        body["expires_in"] = words.expires
    api = session.open(place, None, profile)
    if not place.tls and not place.is_here:
        session.warn(f"{place.url} is not encrypted: whoever is on the way can read the login; use https://")
    return {"user": user, **by_password(api, user, ask.secret("Password", words.password), "POST", "/tokens", body)}


def logout(session: Session, words: Words) -> None:
    name = session.profile
    if name is None:
        raise NotFound("there is no profile to log out of; rportctl profile list shows all")
    profile = session.profiles.get(name)
    token_id = profile.get("token_id")
    if token_id is not None:
        _revoke(session.api, token_id)
    session.profiles.remove(name)
    session.done(
        {"profile": name, "revoked": token_id},
        f"profile {name} is forgotten; "
        + (
            "its token is revoked"
            if token_id is not None
            else "a token that was made elsewhere stays valid"
            if "user" in profile
            else "it had no login"
        ),
    )


def _revoke(api: Api, token_id: str) -> None:
    with contextlib.suppress(NotFound, NotAllowed):  # it has expired, is another user's, or somebody else was faster
        api.ask("DELETE", f"/tokens/{part(token_id)}")


def list_profiles(session: Session, words: Words) -> None:
    profiles = session.profiles
    rows = [
        {"name": name, "current": name == profiles.current, **profile_view(profile), "login": _kept(profile)}
        for name, profile in sorted(profiles.all.items())
    ]
    session.show(rows, table(PROFILES, rows, columns_of()))


def _kept(profile: dict[str, Any]) -> str:
    return "keyring" if profile.get("keyring") else "file" if "token" in profile else "none"


def use_profile(session: Session, words: Words) -> None:
    profile = session.profiles.get(words.name)
    session.profiles.current = words.name
    session.profiles.save()
    session.done({"profile": words.name, **profile_view(profile)}, f"profile {words.name}: {profile['url']}")


def remove_profile(session: Session, words: Words) -> None:
    session.profiles.remove(words.name)
    session.done({"profile": words.name}, f"profile {words.name} is forgotten")
