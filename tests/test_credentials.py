"""Credentials of single clients in memory: which let whom in. Pure."""

import pytest

from rport.server import opaque
from rport.server.acl import Acl
from rport.server.credentials import CREDENTIALS_MAX, Credential, CredentialExists, CredentialNotFound, Credentials
from rport.server.inventory import Client, Inventory
from rport.server.principal import Principal

KEY, OTHER = bytes(range(32)), bytes(32)
ADMIN = Principal("root", "admin")


@pytest.fixture
def web() -> Client:
    return Client("web-1", "managed", 0.0, listen=Acl.parse(["^22$"]))


@pytest.fixture
def inventory(web: Client) -> Inventory:
    machines = Inventory()
    machines.put(web)
    machines.put(Client("web-2", "managed", 0.0))
    return machines


@pytest.fixture
def credentials(inventory: Inventory) -> Credentials:
    return Credentials(inventory)


def secret_of(client: str, secret: str, id: str = "a") -> Credential:
    return Credential(id, client, "secret", opaque.digest(secret), 0.0)


def test_a_secret_lets_in_with_its_clients_id_alone(credentials: Credentials) -> None:
    secret = opaque.new_secret("rpc")
    credentials.put(secret_of("web-1", secret))
    found = credentials.find("web-1", secret, None)
    assert found is not None
    assert (found.client, found.listen.allow("0.0.0.0", 22), found.listen.allow("0.0.0.0", 80)) == (
        "web-1",
        True,
        False,
    )
    for user, password in (("web-2", secret), ("", secret), ("web-1", opaque.new_secret("rpc")), ("web-1", "")):
        assert credentials.find(user, password, None) is None


def test_a_key_lets_in_whatever_the_login_is(credentials: Credentials) -> None:
    credentials.put(Credential("a", "web-1", "key", KEY.hex(), 0.0))
    found = credentials.find("me", "secret", KEY)
    assert found is not None
    assert found.client == "web-1"
    assert credentials.find("me", "secret", OTHER) is None
    assert credentials.find("web-1", KEY.hex(), None) is None  # what is public is no password


def test_a_grant_lasts_until_its_credential_is_another(credentials: Credentials, web: Client) -> None:
    one, two = opaque.new_secret("rpc"), opaque.new_secret("rpc")
    credentials.put(secret_of("web-1", one))
    grant = credentials.find("web-1", one, None)
    assert grant is not None
    web.listen = None
    renewed = credentials.renew(grant)
    assert renewed is not None
    assert renewed.listen.allow("0.0.0.0", 80)
    credentials.put(secret_of("web-1", two))  # rotated
    assert credentials.renew(grant) is None
    assert credentials.find("web-1", one, None) is None
    assert credentials.find("web-1", two, None) is not None


def test_one_of_several_is_revoked(credentials: Credentials, web: Client) -> None:
    secrets = [opaque.new_secret("rpc") for _ in range(3)]
    for number, secret in enumerate(secrets):
        credentials.put(secret_of("web-1", secret, str(number)))
    credentials.drop(credentials.require(web, "1"))
    assert [credentials.find("web-1", secret, None) is not None for secret in secrets] == [True, False, True]
    with pytest.raises(CredentialNotFound):
        credentials.require(web, "1")
    credentials.drop_all("web-1")
    assert not credentials.of(web)
    assert not credentials._by_value
    assert not credentials._by_client


def test_it_stays_closed(credentials: Credentials) -> None:
    assert not credentials.closed
    credentials.put(secret_of("web-1", "x"))
    credentials.drop_all("web-1")
    assert credentials.closed
    credentials.load([], closed=False)
    assert credentials.closed


def test_no_key_of_others_and_no_crowd(credentials: Credentials, web: Client) -> None:
    credentials.put(Credential("a", "web-2", "key", KEY.hex(), 0.0))
    with pytest.raises(CredentialExists, match="client web-2's already"):
        credentials.check_room(web, KEY.hex(), ADMIN)
    for number in range(CREDENTIALS_MAX):
        credentials.check_room(web, "new", ADMIN)
        credentials.put(secret_of("web-1", str(number), str(number)))
    with pytest.raises(CredentialExists, match="revoke one first"):
        credentials.check_room(web, "new", ADMIN)


def test_no_machine_is_taken_by_its_key_from_those_who_see_it(
    inventory: Inventory, credentials: Credentials, web: Client
) -> None:
    berlin = Principal("me", "admin", tags=frozenset({"berlin"}))
    other = Client("other", f"key:{KEY.hex()}", 0.0, tags=("paris",))
    inventory.put(other)
    with pytest.raises(CredentialExists, match="is another client's already"):
        credentials.check_key(web, KEY.hex(), berlin)
    credentials.check_key(web, KEY.hex(), ADMIN)  # sees it, and may well make it another
    other.tags = ("berlin",)
    credentials.check_key(web, KEY.hex(), berlin)
    other.tags = ()
    credentials.put(Credential("a", "other", "key", KEY.hex(), 0.0))
    with pytest.raises(CredentialExists, match="is another client's already"):
        credentials.check_key(web, KEY.hex(), berlin)
    with pytest.raises(CredentialExists, match="is client other's already"):
        credentials.check_key(web, KEY.hex(), ADMIN)


def test_one_without_its_client_lets_nobody_in(credentials: Credentials) -> None:
    credentials.put(Credential("a", "web-3", "key", KEY.hex(), 0.0))
    assert credentials.find("", "", KEY) is None
