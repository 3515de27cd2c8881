"""All that is measured, in the order of the report."""

from __future__ import annotations

from tests.bench.works.api import ApiEvents, ApiTunnels, Inventory
from tests.bench.works.base import Metric, Sample, Work
from tests.bench.works.bulk import Bulk, BulkNginx, BulkTls
from tests.bench.works.latency import Idle, Loaded
from tests.bench.works.long_path import LongPath
from tests.bench.works.memory import Client, Memory, Reconnect, Swarm
from tests.bench.works.requests import Connections, Requests
from tests.bench.works.stuck import Stuck

__all__ = ["WORKS", "Metric", "Sample", "Work"]

_ALL: tuple[Work, ...] = (
    Bulk("bulk-down", "One stream, target to visitor", streams=1, down=True),
    Bulk("bulk-up", "One stream, visitor to target", streams=1, down=False),
    Bulk("streams-100", "100 streams, target to visitor", streams=100, down=True),
    BulkTls("tls-down", "Over TLS, one stream, target to visitor", streams=1, down=True),
    BulkTls("tls-up", "Over TLS, one stream, visitor to target", streams=1, down=False),
    BulkNginx("nginx-down", "Through nginx, one stream, target to visitor", streams=1, down=True),
    BulkNginx("nginx-up", "Through nginx, one stream, visitor to target", streams=1, down=False),
    Requests(),
    Connections(),
    Idle(),
    Loaded(),
    Stuck(),
    LongPath(),
    Client(),
    Memory(),
    Swarm(),
    Reconnect(),
    Inventory(),
    ApiTunnels(),
    ApiEvents(),
)
WORKS: dict[str, Work] = {work.name: work for work in _ALL}
