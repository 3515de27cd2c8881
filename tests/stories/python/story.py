"""A fresh machine is let in, its web page visited through a tunnel, and the tunnel limited and closed.

RPORT_URL: of the server. RPORT_TOKEN: one of an administrator. RPORT_TARGET: of the page, seen from the machine.
"""

import os
import time
from typing import TypeVar
from urllib.request import urlopen

from rport_api import AuthenticatedClient
from rport_api.api.audit import list_audit
from rport_api.api.clients import list_clients
from rport_api.api.enrolments import create_enrolments
from rport_api.api.tunnels import change_tunnel, close_tunnel, get_tunnel, open_tunnel
from rport_api.models import ClientState, ClientView, NewEnrolment, NewTunnel, Problem, TunnelChange

T = TypeVar("T")
URL = os.environ["RPORT_URL"]
rport = AuthenticatedClient(base_url=URL, token=os.environ["RPORT_TOKEN"])


def good(answer: T | Problem | None) -> T:
    if isinstance(answer, Problem):
        raise SystemExit(f"{answer.status} {answer.type_}: {answer.detail}")
    assert answer is not None
    return answer


def wait_for_client(tag: str) -> ClientView:
    while True:
        page = good(list_clients.sync(client=rport, tag=[tag], state=ClientState.CONNECTED))
        if page.items:
            return page.items[0]
        time.sleep(0.2)


def visit(port: int) -> str:
    try:
        with urlopen(f"http://127.0.0.1:{port}/", timeout=10) as page:
            return str(page.read().decode())
    except OSError:
        return "no answer"


def main() -> None:
    new = NewEnrolment(tags=["till"], server=URL)
    print("rport enroll", good(create_enrolments.sync(client=rport, body=new)).items[0].code, flush=True)

    machine = wait_for_client("till")
    print(machine.name, "is", machine.state)

    wanted = NewTunnel(target=os.environ["RPORT_TARGET"], scheme="http", sources=["caller"])
    tunnel = good(open_tunnel.sync(machine.id, client=rport, body=wanted))
    print("opened", tunnel.lport, tunnel.state)
    print("visit:", visit(tunnel.lport))

    for sources in (["192.0.2.1"], ["caller"]):
        change = TunnelChange(sources=sources, rate_to_visitor=1_000_000)
        good(change_tunnel.sync(machine.id, tunnel.id, client=rport, body=change))
        print("visit:", visit(tunnel.lport))
    carried = good(get_tunnel.sync(machine.id, tunnel.id, client=rport)).figures
    print("carried", carried.connections_total, "denied", carried.denied)

    close_tunnel.sync(machine.id, tunnel.id, client=rport)
    print("visit:", visit(tunnel.lport))
    gone = get_tunnel.sync(machine.id, tunnel.id, client=rport)
    assert isinstance(gone, Problem), gone
    print("problem", gone.status, gone.type_)

    for entry in reversed(good(list_audit.sync(client=rport, client_query=machine.id)).items):
        print("audit", entry.action, entry.result)


if __name__ == "__main__":
    main()
