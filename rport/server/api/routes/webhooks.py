"""URLs that are told of events."""

import time
from typing import Any

import sqlalchemy as sa
from fastapi import APIRouter, Depends

from rport.server.api.access import Who, needs
from rport.server.api.paging import Cursor, Key, Limit, sorted_part
from rport.server.api.problems import may_fail
from rport.server.api.routes.webhook_models import (
    NewWebhook,
    WebhookChange,
    WebhookId,
    WebhookMade,
    WebhookPage,
    WebhookTest,
    WebhookView,
    sees_all,
    webhook_view,
)
from rport.server.opaque import new_id, new_secret
from rport.server.plane import Plane
from rport.server.post import place_of
from rport.server.store import schema
from rport.server.webhook import Webhook
from rport.server.webhooks import WEBHOOKS_MAX, TooManyWebhooks


def router(plane: Plane) -> APIRouter:
    routes = APIRouter(tags=["webhooks"], dependencies=[Depends(sees_all)])

    @routes.get("/webhooks", operation_id="list_webhooks", responses=may_fail(422), **needs("admin"))
    async def webhooks(who: Who, limit: Limit = 100, cursor: Cursor = None) -> WebhookPage:
        """List the webhooks, the oldest first."""
        found, after = sorted_part(plane.webhooks, _oldest_first, limit, cursor)
        return WebhookPage(items=[WebhookView(**webhook_view(webhook)) for webhook in found], next=after)

    @routes.post(
        "/webhooks",
        operation_id="create_webhook",
        status_code=201,
        responses=may_fail(409, 422, 503, 507),
        **needs("admin"),
    )
    async def create(who: Who, new: NewWebhook) -> WebhookMade:
        """Have a URL told of events.

        It hears of what happens from now on. Its secret is in the answer, and never again.
        """
        place = place_of(new.url)
        types = None if new.types is None else frozenset(map(str, new.types))
        secret = new.secret or new_secret("rpw")
        webhook = Webhook(new_id(), new.url, secret, types, new.note, new.enabled, time.time())
        about: dict[str, Any] = {"host": place.authority, "types": new.types, "note": new.note, "enabled": new.enabled}
        async with plane.journal.deed(who, "webhook.add", f"webhook {webhook.id}", **about) as deed:
            if len(plane.webhooks) >= WEBHOOKS_MAX:
                raise TooManyWebhooks(f"there are {WEBHOOKS_MAX} webhooks already; delete one, or let one tell others")
            await deed.db.execute(sa.insert(schema.webhooks).values(_row(webhook)))
            deed.then(lambda: plane.webhooks.put(webhook))
        return WebhookMade(secret=secret, **webhook_view(webhook))

    @routes.get("/webhooks/{webhook_id}", operation_id="get_webhook", responses=may_fail(404), **needs("admin"))
    async def one(who: Who, webhook_id: WebhookId) -> WebhookView:
        """Look at a webhook."""
        return WebhookView(**webhook_view(plane.webhooks.get(webhook_id)))

    @routes.patch(
        "/webhooks/{webhook_id}",
        operation_id="change_webhook",
        responses=may_fail(404, 422, 503, 507),
        **needs("admin"),
    )
    async def change(who: Who, webhook_id: WebhookId, wanted: WebhookChange) -> WebhookView:
        """Change a webhook.

        What waits for it is tried at once. While it is not enabled it is told of nothing, and what happens is not kept
        for it.
        """
        values = wanted.model_dump(exclude_unset=True)
        for name in values.keys() & {"url", "note", "enabled", "secret"}:
            if values[name] is None:
                del values[name]
        if values.get("types") is not None:
            values["types"] = frozenset(map(str, values["types"]))
        about = {name: value for name, value in values.items() if name not in ("url", "secret")}
        if "url" in values:
            about["host"] = place_of(values["url"]).authority
        if "secret" in values:
            about["secret"] = "another"
        async with plane.journal.deed(who, "webhook.change", f"webhook {webhook_id}", **about) as deed:
            webhook = plane.webhooks.get(webhook_id)
            if values:
                row = values | ({"types": sorted(values["types"])} if values.get("types") is not None else {})
                update = sa.update(schema.webhooks).where(schema.webhooks.c.id == webhook.id)
                await deed.db.execute(update.values(row))
            deed.then(lambda: _apply(webhook, values))
            deed.then(lambda: plane.webhooks.changed(webhook))
        return WebhookView(**webhook_view(webhook))

    @routes.delete(
        "/webhooks/{webhook_id}",
        operation_id="delete_webhook",
        status_code=204,
        responses=may_fail(404, 503, 507),
        **needs("admin"),
    )
    async def delete(who: Who, webhook_id: WebhookId) -> None:
        """Delete a webhook, with what was not delivered."""
        async with plane.journal.deed(who, "webhook.remove", f"webhook {webhook_id}") as deed:
            webhook = plane.webhooks.get(webhook_id)
            await deed.db.execute(sa.delete(schema.webhooks).where(schema.webhooks.c.id == webhook.id))
            deed.then(lambda: plane.webhooks.forget(webhook))

    @routes.post(
        "/webhooks/{webhook_id}/test",
        operation_id="test_webhook",
        responses=may_fail(404, 503, 507),
        **needs("admin"),
    )
    async def test(who: Who, webhook_id: WebhookId) -> WebhookTest:
        """Send a webhook something, and see how it goes.

        What is sent is a `webhook.test`, once, also where it is not enabled.
        """
        webhook = plane.webhooks.get(webhook_id)
        began = time.monotonic()
        outcome = await plane.webhooks.test(webhook)
        seconds = round(time.monotonic() - began, 3)
        about: dict[str, Any] = {"status": outcome.status, "error": outcome.error}
        async with plane.journal.deed(who, "webhook.test", f"webhook {webhook.id}", **about):
            pass
        return WebhookTest(
            delivered=not outcome.error, status=outcome.status, error=outcome.error or None, seconds=seconds
        )

    return routes


def _oldest_first(webhook: Webhook) -> Key:
    return [webhook.created, webhook.id]


def _row(webhook: Webhook) -> dict[str, Any]:
    return {
        "id": webhook.id,
        "url": webhook.url,
        "secret": webhook.secret,
        "types": None if webhook.types is None else sorted(webhook.types),
        "note": webhook.note,
        "enabled": webhook.enabled,
        "created": webhook.created,
    }


def _apply(webhook: Webhook, values: dict[str, Any]) -> None:
    for name, value in values.items():
        setattr(webhook, name, value)
