"""Random names and secrets."""

import re

import pytest

from rport.server.opaque import digest, new_id, new_secret, well_formed


def test_ids_and_secrets_are_new() -> None:
    assert len({new_id() for _ in range(1000)}) == 1000
    assert len({new_secret("rpt") for _ in range(1000)}) == 1000
    assert re.fullmatch("[0-9a-f]{12}", new_id())
    assert re.fullmatch("rpt_[0-9a-f]{48}", new_secret("rpt"))


def test_a_secret_knows_its_own_form() -> None:
    secret = new_secret("rpt")
    assert well_formed(secret, "rpt")
    assert not well_formed(secret, "rpe")
    assert not any(well_formed(secret[:i] + ("0" if secret[i] != "0" else "1") + secret[i + 1 :], "rpt")
                   for i in range(len(secret)))  # fmt: skip


@pytest.mark.parametrize(
    "text", ["", "rpt", "rpt_", "rpt_" + "0" * 48, "rpt_" + "a" * 100000, "rpt_\xe4", "rpt_\ud800", "\0", "rpt_ "]
)
def test_what_is_none(text: str) -> None:
    assert not well_formed(text, "rpt")


def test_a_digest_is_one_way_and_the_same_again() -> None:
    secret = new_secret("rpt")
    assert digest(secret) == digest(secret)
    assert re.fullmatch("[0-9a-f]{64}", digest(secret))
    assert digest(secret) != digest(secret[:-1])
    assert digest("\ud800")  # whatever somebody shows
