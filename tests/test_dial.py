import pytest

from rport.client.address import parse_address
from rport.client.dial import proxy_for
from rport.client.proxy import NO_PROXY, parse_proxy
from rport.client.settings import PROXY_VARIABLES, Settings
from rport.errors import UsageError


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PROXY_VARIABLES:
        monkeypatch.delenv(name, raising=False)


def settings(server: str, proxy: str | None = None) -> Settings:
    return Settings(parse_address(server), proxy=None if proxy is None else parse_proxy(proxy))


def test_no_proxy() -> None:
    assert proxy_for(settings("example.com")) is None
    assert proxy_for(settings("example.com", "none")) is None


def test_the_given_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "http://other")
    assert str(proxy_for(settings("127.0.0.1", "http://p:1"))) == "http://p:1"
    assert settings("example.com", "none").proxy == NO_PROXY
    assert proxy_for(settings("example.com", "none")) is None


@pytest.mark.parametrize("server", ["http://example.com", "https://example.com:8443", "wss://example.com"])
def test_the_proxy_of_the_environment(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://p:1")
    assert str(proxy_for(settings(server))) == "http://p:1"
    monkeypatch.setenv("NO_PROXY", "example.com:443,example.com:80")
    assert (proxy_for(settings(server)) is None) == (":8443" not in server)
    monkeypatch.setenv("https_proxy", "ftp://p")
    monkeypatch.delenv("NO_PROXY")
    with pytest.raises(UsageError, match=r"^https_proxy: "):
        proxy_for(settings(server))
