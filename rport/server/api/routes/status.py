"""How the server does."""

from fastapi import APIRouter
from pydantic import BaseModel, Field

from rport.server.api.access import needs
from rport.server.api.problems import may_fail
from rport.server.plane import Plane


class Status(BaseModel):
    version: str = Field(examples=["0.1.0"])
    sessions_count: int = Field(examples=[3])


class StatisticsView(BaseModel):
    """Bytes in are what clients sent. Rates are in bytes a second."""

    version: str = Field(examples=["0.1.0"])
    uptime_seconds: float = Field(examples=[86400.5])
    sessions: int = Field(examples=[3])
    sessions_total: int = Field(description="since the start", examples=[120])
    tunnels: int = Field(examples=[7])
    ciphers: dict[str, int] = Field(description="sessions by cipher", examples=[{"aegis128l": 3}])
    streams: int = Field(description="connections that are carried now", examples=[12])
    streams_total: int = Field(description="since the start", examples=[51234])
    bytes_in: int = Field(description="what streams carried", examples=[1200000000])
    bytes_out: int = Field(examples=[340000000])
    carrier_bytes_in: int = Field(description="with all that encryption and framing add", examples=[1200600000])
    carrier_bytes_out: int = Field(examples=[340200000])
    rate_in: int = Field(description="over the last 10 seconds", examples=[1500000])
    rate_out: int = Field(examples=[200000])
    rate_in_since_print: int = Field(description="since the last SIGUSR2, or the start", examples=[900000])
    rate_out_since_print: int = Field(examples=[150000])
    memory_bytes: int = Field(description="resident", examples=[61000000])
    lag_p95_ms: float = Field(description="how late the event loop was, over the last minute", examples=[0.4])
    lag_max_ms: float = Field(examples=[2.5])
    descriptors: int = Field(description="open now", examples=[44])
    descriptors_max: int = Field(examples=[1048576])


def router(plane: Plane) -> APIRouter:
    routes = APIRouter(tags=["status"])
    service = plane.service

    @routes.get("/status", operation_id="get_status", responses=may_fail(), **needs("viewer"))
    async def status() -> Status:
        """Version and number of sessions."""
        return Status(version=service.version, sessions_count=len(service.registry))

    @routes.get("/statistics", operation_id="get_statistics", responses=may_fail(), **needs("viewer"))
    async def statistics() -> StatisticsView:
        """What the server has done and does now; SIGUSR2 has it logged."""
        return StatisticsView(**service.statistics())

    return routes
