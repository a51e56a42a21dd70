"""LibreTranslate's API, as https://docs.libretranslate.com describes it."""

from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, Request, Response

from app.formats.markup import Tags
from app.formats.opening import ENDINGS
from app.serving.desk import Desk, overdue, same_language
from app.serving.detection import detect
from app.serving.fields import Fields, read_fields, read_upload
from app.serving.files import attachment, input_name
from app.serving.limits import RefusedError
from app.serving.service import LANGUAGES, Service, Wishes

HTML = Tags("html")


def router(desk: Desk) -> APIRouter:
    """The routes of the API."""
    routes = APIRouter(tags=["LibreTranslate"])
    _add_translation(routes, desk)
    _add_files(routes, desk)
    _add_information(routes, desk)
    return routes


def _add_translation(routes: APIRouter, desk: Desk) -> None:
    service = desk.service

    @routes.post("/translate")
    async def translate(request: Request) -> dict[str, Any]:
        """Translates `q`, a text or a list of texts."""
        fields = await read_fields(request)
        owner = desk.admit(request, fields.text("api_key", ""))
        texts = fields.texts("q") if fields.given("q") else []
        if not texts:
            raise RefusedError(400, "Invalid request: missing q parameter")
        source = fields.text("source")
        _check_languages(desk.service, source, fields.text("target"))
        form = fields.choice("format", ("text", "html"), "text")
        more = fields.number("alternatives", 0)
        if more > desk.limits.alternatives:
            raise RefusedError(400, f"Invalid request: at most {desk.limits.alternatives} alternatives")
        desk.count(owner, texts)
        wishes = Wishes(HTML if form == "html" else None, alternatives=more)
        answer = await desk.run(_translate, texts, wishes, source == "auto", desk.until())
        return answer if fields.is_list("q") else {name: values[0] for name, values in answer.items()}

    def _translate(texts: list[str], wishes: Wishes, auto: bool, until: float) -> dict[str, list]:
        if auto:
            service.refuse_foreign(texts)
        found = service.translate(texts, wishes, until)
        answer: dict[str, list] = {"translatedText": [one.text for one in found]}
        if auto:
            answer["detectedLanguage"] = [_detected(text) for text in texts]
        if wishes.alternatives:
            answer["alternatives"] = [one.alternatives for one in found]
        return answer

    def _detected(text: str) -> dict[str, Any]:
        """The language that a text was taken to be in, and how sure that is."""
        sure = dict(detect(text, 100)).get(service.source, 0.0)
        return {"language": service.source, "confidence": round(100 * sure)}


def _add_files(routes: APIRouter, desk: Desk) -> None:
    @routes.post("/translate_file")
    async def translate_file(request: Request) -> dict[str, str]:
        """Translates a file, and says where its translation can be fetched."""
        fields, name, content = await read_upload(request)
        owner = desk.admit(request, fields.text("api_key", ""))
        source = fields.text("source")
        _check_languages(desk.service, source, fields.text("target"))
        columns = fields.texts("columns") if fields.given("columns") else []
        file = await desk.start_file(owner, input_name(name), content, None, columns, own=source == "auto")
        await desk.files.wait(file, desk.limits.file_seconds)
        if file.content is None:
            desk.files.delete(file)
            raise file.failure or overdue()
        return {"translatedFileUrl": f"{request.base_url}download_file/{file.key}.{quote(file.name)}"}

    @routes.get("/download_file/{name}")
    async def download_file(name: str) -> Response:
        """A translated file; clients send no key here, but know a name that cannot be guessed."""
        return attachment(desk.files.get(name.partition(".")[0], None))


def _add_information(routes: APIRouter, desk: Desk) -> None:
    service = desk.service

    @routes.post("/detect")
    async def detect_language(request: Request) -> list[dict[str, Any]]:
        """The likeliest languages of a text."""
        fields = await read_fields(request)
        owner = desk.admit(request, fields.text("api_key", ""))
        text = fields.text("q")
        desk.count(owner, [text])
        found = await desk.run(detect, text)
        return [{"language": language, "confidence": round(100 * sure)} for language, sure in found if sure >= 0.01]

    @routes.get("/languages")
    async def languages(request: Request) -> list[dict[str, Any]]:
        """The languages of the model."""
        await _admit_reader(request)
        targets = {service.source: [service.target], service.target: []}
        return [{"code": code, "name": LANGUAGES.get(code, code), "targets": own} for code, own in targets.items()]

    @routes.get("/frontend/settings")
    async def settings(request: Request) -> dict[str, Any]:
        """What a page may offer."""
        await _admit_reader(request)
        codes = (service.source, service.target)
        source, target = ({"code": code, "name": LANGUAGES.get(code, code)} for code in codes)
        return {
            "apiKeys": bool(desk.keys),
            "keyRequired": bool(desk.keys),
            "charLimit": desk.limits.characters,
            "frontendTimeout": 500,
            "filesTranslation": True,
            "supportedFilesFormat": list(ENDINGS),
            "suggestions": False,
            "language": {"source": source, "target": target},
        }

    async def _admit_reader(request: Request) -> None:
        fields: Fields = await read_fields(request)
        desk.admit(request, fields.text("api_key", ""))


def _check_languages(service: Service, source: str, target: str) -> None:
    for given, own in ((source, service.source), (target, service.target)):
        if not same_language(given, own) and not (given == "auto" and own == service.source):
            raise RefusedError(400, f"this server translates from {service.source} to {service.target} only")
