"""LibreTranslate's API, as https://docs.libretranslate.com describes it; files are not part of it here."""

from typing import Any

from fastapi import APIRouter, Request

from app.formats.markup import Tags
from app.serving.desk import Desk, same_language
from app.serving.detection import detect
from app.serving.fields import Fields, read_fields
from app.serving.limits import RefusedError
from app.serving.service import LANGUAGES, Wishes

HTML = Tags("html")


def router(desk: Desk) -> APIRouter:
    """The routes of the API."""
    routes = APIRouter(tags=["LibreTranslate"])
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
        _check_languages(source, fields.text("target"))
        form = fields.choice("format", ("text", "html"), "text")
        more = fields.number("alternatives", 0)
        if more > desk.limits.alternatives:
            raise RefusedError(400, f"Invalid request: at most {desk.limits.alternatives} alternatives")
        desk.count(owner, texts)
        wishes = Wishes(HTML if form == "html" else None, alternatives=more)
        answer = await desk.run(_translate, texts, wishes, source == "auto")
        return answer if fields.is_list("q") else {name: values[0] for name, values in answer.items()}

    def _translate(texts: list[str], wishes: Wishes, auto: bool) -> dict[str, list]:
        if auto:
            service.refuse_foreign(texts)
        found = service.translate(texts, wishes)
        answer: dict[str, list] = {"translatedText": [one.text for one in found]}
        if auto:
            answer["detectedLanguage"] = [_detected(text) for text in texts]
        if wishes.alternatives:
            answer["alternatives"] = [one.alternatives for one in found]
        return answer

    def _check_languages(source: str, target: str) -> None:
        for given, own in ((source, service.source), (target, service.target)):
            if not same_language(given, own) and not (given == "auto" and own == service.source):
                raise RefusedError(400, f"this server translates from {service.source} to {service.target} only")

    def _detected(text: str) -> dict[str, Any]:
        """The language that a text was taken for, with how sure that is."""
        sure = dict(detect(text, 100)).get(service.source, 0.0)
        return {"language": service.source, "confidence": round(100 * sure)}

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
            "filesTranslation": False,
            "supportedFilesFormat": [],
            "suggestions": False,
            "language": {"source": source, "target": target},
        }

    async def _admit_reader(request: Request) -> None:
        fields: Fields = await read_fields(request)
        desk.admit(request, fields.text("api_key", ""))

    return routes
