"""Documents in DeepL's API: sent, polled, and fetched once."""

import hmac
from typing import Any

from fastapi import APIRouter, Request, Response

from app.formats.opening import ending_of
from app.serving.deepl_fields import check_languages, glossary_key, refuse_unsupported
from app.serving.desk import Desk
from app.serving.fields import read_fields, read_upload
from app.serving.files import TranslatedFile, attachment, input_name
from app.serving.limits import RefusedError

_STATUS = {"translating": "translating", "done": "done", "failed": "error"}
_NOT_HERE = ("glossary_ids", "style_id", "translation_memory_id", "translation_memory_threshold")


def add_documents(routes: APIRouter, desk: Desk) -> None:
    """Adds the routes."""

    @routes.post("/document")
    async def send(request: Request) -> dict[str, str]:
        """Begins to translate a document; its name says which format it has."""
        owner = desk.admit(request)
        fields, name, content = await read_upload(request)
        given = check_languages(fields, desk.service)
        refuse_unsupported(fields, *_NOT_HERE)
        name = input_name(fields.text("filename", "") or name)
        if fields.text("output_format", ending_of(name)[1:]).lower() != ending_of(name)[1:]:
            raise RefusedError(400, "Parameter 'output_format' must be the format of the document.")
        file = await desk.start_file(owner, name, content, glossary_key(fields), own=not given)
        return {"document_id": file.key, "document_key": file.secret}

    @routes.post("/document/{key}")
    async def status(request: Request, key: str) -> dict[str, Any]:
        """How far the translation of a document is."""
        file = await _find(request, key)
        more: dict[str, Any] = {"billed_characters": file.characters}
        if file.status == "translating":
            more = {"seconds_remaining": file.seconds_left}
        elif file.error:
            more = {"error_message": file.error}
        return {"document_id": file.key, "status": _STATUS[file.status], **more}

    @routes.post("/document/{key}/result")
    async def result(request: Request, key: str) -> Response:
        """The translation, once."""
        file = await _find(request, key)
        if file.status == "translating":
            # This status tells DeepL's clients that they have to wait.
            raise RefusedError(503, "the document is still being translated; ask for it again later", file.seconds_left)
        answer = attachment(file)
        desk.files.delete(file)
        return answer

    async def _find(request: Request, key: str) -> TranslatedFile:
        owner = desk.admit(request)
        fields = await read_fields(request)
        file = desk.files.get(key, owner)
        if not hmac.compare_digest(fields.text("document_key").encode(), file.secret.encode()):
            raise RefusedError(404, "there is no such document; it may have expired")
        return file
