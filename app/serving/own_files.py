"""Files in the server's own API: sent, translated in the background, and fetched."""

from typing import Any, Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel

from app.serving.desk import Desk
from app.serving.fields import read_upload
from app.serving.files import TranslatedFile, attachment, input_name


class SentFile(BaseModel):
    """A file that was sent, with the name of its translation."""

    id: str
    name: str


class FileStatus(SentFile):
    """How far the translation of a file is."""

    status: Literal["translating", "done", "failed"]
    done: int
    segments: int
    error: str | None = None


_FORM = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {
                        "file": {"type": "string", "format": "binary"},
                        "columns": {
                            "type": "string",
                            "description": "of a table: names or numbers, with commas between",
                        },
                        "glossary": {"type": "string", "description": "the id of a stored glossary"},
                    },
                }
            }
        },
    }
}


def add_files(routes: APIRouter, desk: Desk) -> None:
    """Adds the routes."""

    @routes.post("/files", response_model=SentFile, openapi_extra=_FORM)
    async def send(request: Request) -> dict[str, Any]:
        """Begins to translate a file; its name says which format it has."""
        owner = desk.admit(request)
        fields, name, content = await read_upload(request)
        columns = fields.texts("columns") if fields.given("columns") else []
        columns = [one.strip() for text in columns for one in text.split(",") if one.strip()]
        file = await desk.start_file(owner, input_name(name), content, fields.text("glossary", ""), columns)
        return {"id": file.key, "name": file.name}

    @routes.get("/files/{name}", response_model=FileStatus, response_model_exclude_none=True)
    async def status(request: Request, name: str) -> dict[str, Any]:
        """How far the translation of a file is."""
        file = _find(request, name)
        counts = {"done": file.done, "segments": file.segments, "error": file.error or None}
        return {"id": file.key, "name": file.name, "status": file.status, **counts}

    @routes.get("/files/{name}/result", response_class=Response)
    async def result(request: Request, name: str) -> Response:
        """The translation."""
        return attachment(_find(request, name))

    @routes.delete("/files/{name}", status_code=204)
    async def forget(request: Request, name: str) -> None:
        """Forgets a file, and stops its translation."""
        desk.files.delete(_find(request, name))

    def _find(request: Request, name: str) -> TranslatedFile:
        return desk.files.get(name, desk.admit(request))
