"""Files of certificates, good and bad, and both ends of TLS in memory."""

import ssl
from pathlib import Path

import pytest

from rport.errors import UsageError
from rport.tls import Tls, TlsFailed, client_context, server_context
from tests.support.certificates import Authority, openssl


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def pair(authority: Authority) -> tuple[Path, Path]:
    return authority.issue("DNS:localhost")


def shake(client: Tls, server: Tls) -> None:
    """Both to the end of the handshake. Raises TlsFailed of whichever gives up first."""
    while not (client.ready and server.ready):
        for one, other in ((client, server), (server, client)):
            one.shake_hands()
            other.feed(one.drain())


def ends(server: ssl.SSLContext, client: ssl.SSLContext, name: str = "localhost") -> tuple[Tls, Tls]:
    return Tls(client, lambda error: f"client: {error.reason}", server=False, name=name), Tls(
        server, lambda error: f"server: {error.reason}", server=True
    )


def trusting(authority: Authority) -> ssl.SSLContext:
    return client_context(str(authority.ca), None, None, insecure=False)


def test_octets_both_ways_and_an_end(authority: Authority, pair: tuple[Path, Path]) -> None:
    client, server = ends(server_context(*map(str, pair)), trusting(authority))
    shake(client, server)
    assert not client.drain()
    assert not server.drain()
    assert client.object.version() == "TLSv1.3"
    assert client.object.selected_alpn_protocol() == "http/1.1"
    for one, other in ((client, server), (server, client)):
        one.write(b"")
        one.write(b"x" * 100_000)
        other.feed(one.drain())
        assert b"".join(iter(other.read, b"")) == b"x" * 100_000
        assert not other.ended
    client.end()
    server.feed(client.drain())
    assert server.read() == b""
    assert server.ended


def test_a_broken_record_fails(authority: Authority, pair: tuple[Path, Path]) -> None:
    client, server = ends(server_context(*map(str, pair)), trusting(authority))
    shake(client, server)
    server.feed(b"\x17\x03\x03\x00\x20" + bytes(32))
    with pytest.raises(TlsFailed, match="server: DECRYPTION_FAILED_OR_BAD_RECORD_MAC"):
        server.read()
    assert server.drain()  # an alert


def test_what_the_client_does_not_verify_fails(authority: Authority, pair: tuple[Path, Path], tmp_path: Path) -> None:
    stranger = Authority(tmp_path, "another")
    for context, name in ((trusting(stranger), "localhost"), (trusting(authority), "elsewhere")):
        client, server = ends(server_context(*map(str, pair)), context, name)
        with pytest.raises(TlsFailed, match="client: CERTIFICATE_VERIFY_FAILED"):
            shake(client, server)


def test_the_systems_roots_do_not_know_it_and_insecure_does_not_ask(pair: tuple[Path, Path]) -> None:
    client, server = ends(server_context(*map(str, pair)), client_context(None, None, None, insecure=False))
    with pytest.raises(TlsFailed, match="client: CERTIFICATE_VERIFY_FAILED"):
        shake(client, server)
    shake(*ends(server_context(*map(str, pair)), client_context(None, None, None, insecure=True), "elsewhere"))


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_client_certificates(
    authority: Authority, pair: tuple[Path, Path], tmp_path: Path, version: ssl.TLSVersion
) -> None:
    server_side = server_context(*map(str, pair), client_ca=str(authority.ca))
    mine, another = authority.issue(), Authority(tmp_path, "another").issue()
    for cert, key in (mine, another, (None, None)):
        context = client_context(str(authority.ca), cert and str(cert), key and str(key), insecure=False)
        context.maximum_version = version
        client, server = ends(server_side, context)
        if cert is mine[0]:
            shake(client, server)
            continue
        with pytest.raises(TlsFailed, match="server: "):
            shake(client, server)


def test_old_versions_are_not_spoken(authority: Authority, pair: tuple[Path, Path]) -> None:
    for context in (server_context(*map(str, pair)), trusting(authority)):
        assert context.minimum_version is ssl.TLSVersion.TLSv1_2
        assert context.options & ssl.OP_NO_RENEGOTIATION


# --- files ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def files(authority: Authority, pair: tuple[Path, Path], tmp_path: Path) -> dict[str, Path]:
    cert, key = pair
    made = {name: tmp_path / name for name in ("gone", "empty", "open", "locked", "der", "half")}
    made["empty"].touch(0o600)
    made["open"].write_bytes(key.read_bytes())
    made["open"].chmod(0o644)
    openssl("pkey", "-in", key, "-aes256", "-passout", "pass:x", "-out", made["locked"])
    openssl("x509", "-in", cert, "-outform", "DER", "-out", made["der"])
    made["half"].write_bytes(cert.read_bytes()[:200])
    return made | {"cert": cert, "key": key, "other": authority.issue("DNS:localhost")[1], "directory": tmp_path}


@pytest.mark.parametrize(
    ("cert", "key", "text"),
    [
        ("gone", "key", "--tls-cert: {cert} cannot be read: No such file or directory"),
        ("cert", "gone", "--tls-key: {key} cannot be read: No such file or directory"),
        ("directory", "key", "--tls-cert: {cert} cannot be read: Is a directory"),
        ("empty", "key", "--tls-cert: there is no certificate in PEM form in {cert}"),
        ("der", "key", "--tls-cert: there is no certificate in PEM form in {cert}"),
        ("cert", "empty", "--tls-key: there is no private key in PEM form in {key}"),
        ("key", "cert", "--tls-cert: there is no certificate in PEM form in {cert}"),
        ("half", "key", "--tls-cert: {cert} with --tls-key {key} cannot be used: "),
        ("cert", "other", "--tls-key: the key in {key} does not belong to the certificate in {cert}"),
        ("cert", "open", "--tls-key: {key} is open to every user of this machine; run: chmod o= {key}"),
        ("cert", "locked", "--tls-key: {key} is encrypted, and nobody is there to type its passphrase"),
    ],
)
def test_a_bad_pair_is_named(files: dict[str, Path], cert: str, key: str, text: str) -> None:
    for load in (server_context, lambda cert, key: client_context(None, cert, key, insecure=False)):
        with pytest.raises(UsageError) as caught:
            load(str(files[cert]), str(files[key]))
        assert str(caught.value).startswith(text.format(cert=files[cert], key=files[key]))
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("gone", "{path} cannot be read: No such file or directory"),
        ("empty", "there is no certificate in PEM form in {path}"),
        ("der", "there is no certificate in PEM form in {path}"),
        ("half", "{path} cannot be used: "),
    ],
)
def test_bad_authorities_are_named(files: dict[str, Path], name: str, text: str) -> None:
    path = str(files[name])
    with pytest.raises(UsageError) as caught:
        client_context(path, None, None, insecure=False)
    assert str(caught.value).startswith("--tls-ca: " + text.format(path=path))
    with pytest.raises(UsageError) as caught:
        server_context(str(files["cert"]), str(files["key"]), path)
    assert str(caught.value).startswith("--tls-client-ca: " + text.format(path=path))


def test_one_file_may_hold_both_and_a_group_may_read_it(pair: tuple[Path, Path], tmp_path: Path) -> None:
    both = tmp_path / "both.pem"
    both.write_bytes(b"".join(path.read_bytes() for path in pair))
    both.chmod(0o640)
    server_context(str(both), str(both))
