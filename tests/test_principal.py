"""Who asks, and what he may."""

import pytest

from rport.server.principal import ROLES, Principal


@pytest.mark.parametrize(("has", "may"), [("viewer", 1), ("operator", 2), ("admin", 3)])
def test_each_role_may_do_what_those_before_it_may(has: str, may: int) -> None:
    who = Principal("me", has)
    assert [who.at_least(role) for role in ROLES] == [True] * may + [False] * (3 - may)


@pytest.mark.parametrize(
    ("his", "clients", "sees"),
    [
        (None, [], True),
        (None, ["a"], True),
        (frozenset({"a", "b"}), ["b", "c"], True),
        (frozenset({"a"}), ["b"], False),
        (frozenset({"a"}), [], False),
        (frozenset(), ["a"], False),  # a token's tags that its user has no more
    ],
)
def test_a_scope(his: frozenset[str] | None, clients: list[str], sees: bool) -> None:
    assert Principal("me", "viewer", tags=his).sees(clients) is sees


def test_how_the_audit_log_names_him() -> None:
    assert str(Principal("me", "viewer")) == "user me"
    assert str(Principal("me", "viewer", "token", token="ab12")) == "token ab12 of me"
    assert str(Principal("local", "admin", "local")) == "local local"
