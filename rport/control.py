"""Control messages: msgpack maps with a "type", small by rule (PROTOCOL.md, section 8).

What a peer sends is measured before it is built: lengths above the limits are refused by the unpacker while it still
reads headers. Unknown keys are left alone, so that versions one apart understand each other.
"""

from collections.abc import Mapping

import msgpack

from rport._mux import constants
from rport.errors import ProtocolError

MESSAGE_MAX = constants()["CONTROL_MAX"]  # bytes
STRING_MAX = 4096  # bytes of one text or binary value: the longest is an error message
ITEMS_MAX = 256  # entries of one list or map: tunnels of a client
DEPTH_MAX = 8  # maps and lists inside each other; the protocol itself needs 3

Message = dict[str, object]


def pack(message: Mapping[str, object]) -> bytes:
    """Encode one message. Raises ProtocolError when it is larger than a peer would accept."""
    data: bytes = msgpack.packb(message, use_bin_type=True)
    if len(data) > MESSAGE_MAX:
        raise ProtocolError(f"control message of {len(data)} bytes, {MESSAGE_MAX} are allowed")
    return data


def unpack(data: bytes) -> Message:
    """Decode one message: a map with text keys, one of them "type". Raises ProtocolError for anything else."""
    message = unpack_map(data)
    get_str(message, "type")
    return message


def unpack_map(data: bytes) -> Message:
    """Decode one map with text keys and nothing behind it, within the limits. Raises ProtocolError."""
    if len(data) > MESSAGE_MAX:
        raise ProtocolError(f"control message of {len(data)} bytes, {MESSAGE_MAX} are allowed")
    try:
        message = msgpack.unpackb(
            data,
            raw=False,
            strict_map_key=True,
            max_str_len=STRING_MAX,
            max_bin_len=STRING_MAX,
            max_array_len=ITEMS_MAX,
            max_map_len=ITEMS_MAX,
            max_ext_len=0,
        )
    except (ValueError, msgpack.UnpackException) as error:
        # The cause is not shown: msgpack's texts may quote the peer's bytes.
        raise ProtocolError("control message that is no msgpack within the limits") from error
    if not isinstance(message, dict) or not all(isinstance(key, str) for key in message):
        raise ProtocolError("control message that is no map with text keys")
    _check_depth(message)
    return message


def get_str(message: Mapping[str, object], key: str, default: str | None = None) -> str:
    """The text under `key`. Without a default the key is required. Raises ProtocolError."""
    value = message.get(key, default)
    if not isinstance(value, str):
        raise _wrong(key, "text")
    return value


def get_int(message: Mapping[str, object], key: str, lo: int, hi: int, default: int | None = None) -> int:
    """The integer under `key`, `lo` <= value <= `hi`. Without a default the key is required. Raises ProtocolError."""
    value = message.get(key, default)
    if not isinstance(value, int) or isinstance(value, bool) or not lo <= value <= hi:
        raise _wrong(key, f"a number from {lo} to {hi}")
    return value


def get_list(message: Mapping[str, object], key: str, default: list[object] | None = None) -> list[object]:
    """The list under `key`. Without a default the key is required. Raises ProtocolError."""
    value = message.get(key, default)
    if not isinstance(value, list):
        raise _wrong(key, "a list")
    return value


def _wrong(key: str, wanted: str) -> ProtocolError:
    return ProtocolError(f'control message whose "{key}" is not {wanted}')


def _check_depth(message: Message) -> None:
    """Refuse deep nesting: whoever prints or compares the message later recurses as deep."""
    level: list[object] = [message]
    for _ in range(DEPTH_MAX):
        level = [child for item in level for child in _children(item)]
        if not level:
            return
    raise ProtocolError(f"control message nested deeper than {DEPTH_MAX}")


def _children(item: object) -> list[object]:
    if isinstance(item, dict):
        return list(item.values())
    return item if isinstance(item, list) else []
