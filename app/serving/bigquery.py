"""BigQuery's remote functions: a query has this server translate rows.

A request has `calls`, the arguments of some rows; the answer has `replies`, one for each row. See
https://cloud.google.com/bigquery/docs/remote-functions#input_format.
"""

from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from app.serving.desk import Desk
from app.serving.limits import RefusedError
from app.serving.service import Wishes

PATH = "/bigquery/translate"


class Calls(BaseModel):
    """Rows to translate; what else BigQuery says about the query is ignored."""

    calls: list[list[str | None]] = Field(description="the one argument of each row: a text, or null")
    userDefinedContext: dict[str, str] = Field({}, description="`key`: opens the server, if it has keys")


class Replies(BaseModel):
    """The translation of each row; null for null."""

    replies: list[str | None]


def router(desk: Desk) -> APIRouter:
    """The route of the protocol."""
    routes = APIRouter(tags=["BigQuery"])

    @routes.post(PATH, response_model=Replies)
    async def translate(request: Request, body: Calls) -> dict[str, Any]:
        """Translates rows, each on its own."""
        # The header `Authorization` is Google's: it opens the service in front of this server.
        owner = desk.admit(request, body.userDefinedContext.get("key", ""))
        if any(len(call) != 1 for call in body.calls):
            raise RefusedError(400, "calls: expected one argument, a STRING")
        texts = [call[0] for call in body.calls if call[0] is not None]
        desk.count(owner, texts)
        found = iter(await desk.run(desk.service.translate, texts, Wishes(), desk.until()) if texts else [])
        return {"replies": [None if call[0] is None else next(found).text for call in body.calls]}

    return routes
