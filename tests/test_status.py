from rport.client.status import Status
from rport.remote import Remote

ONE, OTHER = Remote.parse("1:1"), Remote.parse("2:2")


def test_whoever_watches_is_told_of_each_change() -> None:
    status = Status("ws://a:1")
    seen: list[str] = []
    status.watchers += [lambda: seen.append(status.line()), lambda: seen.append("again")]
    status.enter("connecting", server="ws://b:1")
    status.enter("waiting", trouble="no")
    status.enter("connecting")
    status.enter("connected", trouble="")
    status.enter("stopping")
    assert seen[::2] == [
        "Connecting to ws://b:1",
        "Not connected, trying again: no",
        "Not connected, trying again: no",
        "Connected to ws://b:1",
        "Stopping",
    ]
    assert seen[1::2] == ["again"] * 5


def test_tunnels_come_and_go() -> None:
    status = Status()
    changes: list[int] = []
    status.watchers.append(lambda: changes.append(1))
    status.declare([ONE, OTHER])
    assert [(tunnel.remote, tunnel.up, tunnel.trouble) for tunnel in status.tunnels.values()] == [
        (ONE, False, ""),
        (OTHER, False, ""),
    ]
    status.up(0, ONE)
    status.down(1, OTHER, "taken")
    status.up(-7, OTHER, offered=True)
    assert [(key, t.up, t.trouble, t.offered) for key, t in status.tunnels.items()] == [
        (0, True, "", False),
        (1, False, "taken", False),
        (-7, True, "", True),
    ]
    assert len(changes) == 4
    status.drop(-7)
    status.drop(-7)
    assert len(changes) == 5
    status.declare([ONE])
    assert list(status.tunnels) == [0]
