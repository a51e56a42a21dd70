"""The web application: all APIs side by side, and the page."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from app import __version__
from app.serving import bigquery, deepl, libretranslate, own, page
from app.serving.desk import Desk
from app.serving.guard import Guard, refusal
from app.serving.limits import Keys, RefusedError
from app.serving.metrics import Metrics
from app.serving.names import Names
from app.serving.service import Service

_ABOUT = """Translates texts, and documents segment by segment with memory and corrections.

LibreTranslate's and DeepL's own descriptions hold for their paths, of which this server has a part.
"""


def application(service: Service, metrics: Metrics, keys: Keys | None = None, names: Names | None = None) -> ASGIApp:
    """The application.

    Args:
        service: translates; it is stopped with the application.
        metrics: count what the service does.
        keys: the keys that open the server; None for an open one.
        names: the names by which the server may be called; None for any.
    """
    desk = Desk(service, keys or Keys(), metrics)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        desk.stop()

    app = FastAPI(
        title="Weitblick",
        version=__version__,
        description=_ABOUT,
        openapi_url="/api/openapi.json",
        # These pages load scripts from elsewhere.
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
    )
    for api in (own, libretranslate, deepl, bigquery):
        app.include_router(api.router(desk))
    app.include_router(page.router())
    _add_operation(app, desk)
    _explain_errors(app)
    return Guard(app, service.limits, metrics, names or Names())


def _add_operation(app: FastAPI, desk: Desk) -> None:
    @app.get("/health", tags=["operation"])
    async def health() -> dict[str, str]:
        """Whether the server is there; it answers once the model is loaded."""
        return {"status": "ok"}

    @app.get("/metrics", tags=["operation"])
    async def metrics(request: Request) -> Response:
        """Counts for Prometheus."""
        desk.admit(request)
        return Response(desk.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


def _explain_errors(app: FastAPI) -> None:
    """Gives errors the form that clients of each API expect; none repeats what was sent."""

    @app.exception_handler(RefusedError)
    async def refused(request: Request, error: RefusedError) -> Response:
        return refusal(request.url.path, error)

    @app.exception_handler(HTTPException)
    async def failed(request: Request, error: HTTPException) -> Response:
        return refusal(request.url.path, RefusedError(error.status_code, str(error.detail)))

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        place = ".".join(str(part)[:40] for part in first["loc"][1:4])
        message = "the body is not valid JSON" if first["type"] == "json_invalid" else f"{place}: {first['msg']}"
        return refusal(request.url.path, RefusedError(400, message.removeprefix(": ")))
