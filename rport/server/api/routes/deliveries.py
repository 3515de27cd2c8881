"""What could not be delivered to webhooks."""

import time
from typing import Annotated

from fastapi import APIRouter, Depends, Query

from rport.server import deliveries
from rport.server.api.access import Who, needs
from rport.server.api.paging import Cursor, Limit
from rport.server.api.problems import may_fail
from rport.server.api.routes.webhook_models import (
    DeliveryId,
    DeliveryPage,
    DeliveryState,
    DeliveryView,
    WebhookId,
    delivery_view,
    sees_all,
)
from rport.server.cursors import row_behind
from rport.server.plane import Plane
from rport.server.webhooks import DeliveryNotFound


def router(plane: Plane) -> APIRouter:
    routes = APIRouter(tags=["webhooks"], dependencies=[Depends(sees_all)])

    @routes.get(
        "/webhooks/{webhook_id}/deliveries",
        operation_id="list_deliveries",
        responses=may_fail(404, 422, 503),
        **needs("admin"),
    )
    async def listed(
        who: Who,
        webhook_id: WebhookId,
        state: Annotated[DeliveryState | None, Query(description="such alone", examples=["dead"])] = None,
        limit: Limit = 100,
        cursor: Cursor = None,
    ) -> DeliveryPage:
        """List what a webhook was not told of.

        The newest come first. What was delivered is not kept.
        """
        webhook, position = plane.webhooks.get(webhook_id), row_behind(cursor)
        async with plane.store.read() as db:
            rows = await deliveries.page(db, webhook.id, state, limit + 1, position)
        rest = str(rows[limit - 1]["id"]) if len(rows) > limit else None
        return DeliveryPage(items=[delivery_view(row) for row in rows[:limit]], next=rest)

    @routes.post(
        "/webhooks/{webhook_id}/deliveries/{delivery_id}/retry",
        operation_id="retry_delivery",
        responses=may_fail(404, 503, 507),
        **needs("admin"),
    )
    async def retry(who: Who, webhook_id: WebhookId, delivery_id: DeliveryId) -> DeliveryView:
        """Try a delivery again, as if it were new."""
        subject = f"webhook {webhook_id} delivery {delivery_id}"
        async with plane.journal.deed(who, "webhook.retry", subject) as deed:
            webhook = plane.webhooks.get(webhook_id)
            found = await plane.webhooks.delivery(deed.db, webhook, _number(delivery_id))
            await deliveries.again(deed.db, found["id"], time.time())
            row = await plane.webhooks.delivery(deed.db, webhook, found["id"])
            counts = await deliveries.count(deed.db, webhook.id)
            deed.then(lambda: plane.webhooks.counted(webhook, counts))
        return delivery_view(row)

    @routes.delete(
        "/webhooks/{webhook_id}/deliveries/{delivery_id}",
        operation_id="delete_delivery",
        status_code=204,
        responses=may_fail(404, 503, 507),
        **needs("admin"),
    )
    async def drop(who: Who, webhook_id: WebhookId, delivery_id: DeliveryId) -> None:
        """Forget a delivery."""
        subject = f"webhook {webhook_id} delivery {delivery_id}"
        async with plane.journal.deed(who, "delivery.remove", subject) as deed:
            webhook = plane.webhooks.get(webhook_id)
            found = await plane.webhooks.delivery(deed.db, webhook, _number(delivery_id))
            await deliveries.remove(deed.db, found["id"])
            counts = await deliveries.count(deed.db, webhook.id)
            deed.then(lambda: plane.webhooks.counted(webhook, counts))

    return routes


def _number(delivery_id: str) -> int:
    if not (delivery_id.isascii() and delivery_id.isdigit() and len(delivery_id) < 19):
        raise DeliveryNotFound(f"no delivery {delivery_id!r}")
    return int(delivery_id)
