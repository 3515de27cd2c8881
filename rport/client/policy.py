"""What this client dials: its own declarations, its own loopback, and what --allow opens. Pure; no loop."""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass

from rport.errors import UsageError
from rport.hosts import clean_host, is_port
from rport.remote import UNIX, clean_path, target_name
from rport.text import cut

RULES_SHOWN, RULE_SHOWN = 5, 80  # of the rules that there are, and characters of each, in a refusal: it is one line


@dataclass(frozen=True)
class Rule:
    """One --allow rule: `any`, a network, `host:port`, `host:*` or `unix:path`."""

    text: str
    host: str | None = None
    port: int | None = None
    network: ipaddress.IPv4Network | ipaddress.IPv6Network | None = None

    @classmethod
    def parse(cls, text: str) -> "Rule":
        """Raises UsageError naming what is wrong."""
        if text == "any":
            return cls(text)
        if text.startswith(f"{UNIX}/"):
            return cls(text, host=_socket(text))
        try:
            return cls(text, network=ipaddress.ip_network(text))
        except ValueError:
            pass
        host, colon, port = text.rpartition(":")
        try:
            host = clean_host(host.removeprefix("[").removesuffix("]"))
        except ValueError:
            host = ""
        if not colon or not host or "*" in host or not (port == "*" or is_port(port)):
            raise UsageError(f"{text!r}: give HOST:PORT, HOST:*, a network such as 10.0.0.0/8, unix:/PATH, or any")
        return cls(text, host=_plain(host), port=None if port == "*" else int(port))

    def allows(self, host: str, port: int) -> bool:
        """`host` and `port` as a Remote has them. A name is not resolved: a network allows addresses alone."""
        if host.startswith(UNIX):  # a path has one spelling, and capitals count
            return self.text in ("any", host)
        if self.network is not None:
            try:
                return ipaddress.ip_address(host) in self.network
            except ValueError:
                return False
        if self.host is None:
            return True
        return self.host == _plain(host) and self.port in (None, port)


def _socket(text: str) -> str:
    try:
        return UNIX + clean_path(text.removeprefix(UNIX))
    except ValueError as error:
        raise UsageError(f"{text!r}: {error}") from None


def _plain(host: str) -> str:
    """One spelling for each numeric address."""
    try:
        return ipaddress.ip_address(host).compressed
    except ValueError:
        return host.lower().rstrip(".")


def is_local(host: str) -> bool:
    """An address of this machine's loopback, or the name of it."""
    name = _plain(host)
    try:
        return name == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def refusal(rules: Sequence[Rule], host: str, port: int) -> str | None:
    """Why a target that the server asks for is not dialled; None when it is."""
    if is_local(host) or any(rule.allows(host, port) for rule in rules):
        return None
    shown = target_name(host, port)
    what = shown if host.startswith(UNIX) else f"{shown}, which is not on this client's loopback"
    return f"{_uncovered(rules)} {what}; to dial it, give the client --allow {shown}"


def _uncovered(rules: Sequence[Rule]) -> str:
    if not rules:
        return "no --allow rule covers"
    names = ", ".join(cut(rule.text, RULE_SHOWN) for rule in rules[:RULES_SHOWN])
    more = f" and {len(rules) - RULES_SHOWN} more" if len(rules) > RULES_SHOWN else ""
    return f"no --allow rule (there are {names}{more}) covers"
