"""The page for people: static files, with headers that let them load nothing but each other."""

from pathlib import Path

from fastapi import APIRouter, Response

from app.serving.limits import RefusedError

FOLDER = Path(__file__).parent / "page"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "form-action 'none'; frame-ancestors 'none'; base-uri 'none'"
)
_KINDS = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


def router() -> APIRouter:
    """The routes of the page; they need no key, because the page asks for it."""
    routes = APIRouter(include_in_schema=False)
    files = {path.name: path.read_bytes() for path in FOLDER.iterdir() if path.suffix in _KINDS}

    @routes.get("/")
    async def page() -> Response:
        return await file("index.html")

    @routes.get("/page/{name}")
    async def file(name: str) -> Response:
        if name not in files:
            raise RefusedError(404, "there is no such file")
        kind = _KINDS[Path(name).suffix]
        return Response(files[name], media_type=kind, headers={"content-security-policy": POLICY})

    return routes
