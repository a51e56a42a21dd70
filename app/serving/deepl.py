"""DeepL's API, version 2, as https://developers.deepl.com/docs describes it."""

from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse

from app.formats.markup import Tags, outline
from app.serving.deepl_documents import add_documents
from app.serving.deepl_fields import check_languages, glossary_key, refuse_unsupported
from app.serving.desk import Desk, check_language
from app.serving.fields import Fields, checked, read_fields
from app.serving.glossaries import StoredGlossary, read_entries
from app.serving.limits import RefusedError
from app.serving.service import LANGUAGES, Wishes

# DeepL takes at most this many texts in a request.
_MOST_TEXTS = 50
# What DeepL says if there is no limit.
_NO_LIMIT = 1_000_000_000_000
_MODELS = ("", "latency_optimized", "quality_optimized", "prefer_quality_optimized")
_NOT_HERE = (
    "glossary_ids",
    "style_id",
    "custom_instructions",
    "translation_memory_id",
    "translation_memory_threshold",
)


def router(desk: Desk) -> APIRouter:
    """The routes of the API."""
    routes = APIRouter(prefix="/v2", tags=["DeepL"])
    _add_translation(routes, desk)
    _add_information(routes, desk)
    _add_glossaries(routes, desk)
    add_documents(routes, desk)
    return routes


def _add_translation(routes: APIRouter, desk: Desk) -> None:
    service = desk.service

    @routes.post("/translate")
    async def translate(request: Request) -> dict[str, Any]:
        """Translates each `text`; `context` is read before each of them and not translated."""
        owner, fields = await _read(desk, request)
        texts = fields.texts("text") if fields.given("text") else []
        if not texts:
            raise RefusedError(400, "Parameter 'text' not specified.")
        given = check_languages(fields, service)
        wishes = _wishes(fields, owner, texts)
        model = fields.choice("model_type", _MODELS, "").removeprefix("prefer_")
        desk.count(owner, texts, _MOST_TEXTS)
        if not given:
            await desk.run(service.refuse_foreign, texts)
        found = await desk.run(service.translate, texts, wishes, desk.until())
        more: dict[str, Any] = {"model_type_used": model} if model else {}
        billed = fields.flag("show_billed_characters", False)
        return {
            "translations": [
                {"detected_source_language": service.source.upper(), "text": one.text}
                | ({"billed_characters": len(text)} if billed else {})
                | more
                for text, one in zip(texts, found, strict=True)
            ]
        }

    def _wishes(fields: Fields, owner: str, texts: list[str]) -> Wishes:
        refuse_unsupported(fields, *_NOT_HERE)
        # Formatting is always preserved.
        fields.flag("preserve_formatting", False)
        kind = fields.choice("tag_handling", ("", "xml", "html"), "")
        fields.choice("tag_handling_version", ("v1", "v2"), "v2")
        split = fields.choice("split_sentences", ("0", "1", "nonewlines"), "nonewlines" if kind == "html" else "1")
        glossary = desk.glossary(glossary_key(fields), owner)
        context = desk.check_context(fields.text("context", ""))
        return Wishes(_tags(kind, fields, texts), split != "0", split == "1", context, glossary)


def _add_information(routes: APIRouter, desk: Desk) -> None:
    service = desk.service

    @routes.get("/usage")
    @routes.post("/usage")
    async def usage(request: Request) -> dict[str, int]:
        """How many characters were translated since the server started."""
        owner, _ = await _read(desk, request)
        return {"character_count": desk.characters[owner], "character_limit": _NO_LIMIT}

    @routes.get("/languages")
    @routes.post("/languages")
    async def languages(request: Request) -> list[dict[str, Any]]:
        """The languages of the model."""
        _, fields = await _read(desk, request)
        kind = fields.choice("type", ("source", "target"), "source")
        code = service.source if kind == "source" else service.target
        found = {"language": code.upper(), "name": LANGUAGES.get(code, code)}
        return [found if kind == "source" else {**found, "supports_formality": False}]


def _add_glossaries(routes: APIRouter, desk: Desk) -> None:
    service = desk.service

    @routes.get("/glossary-language-pairs")
    async def pairs(request: Request) -> dict[str, Any]:
        """The languages of glossaries."""
        await _read(desk, request)
        pair = {"source_lang": service.source, "target_lang": service.target}
        return {"supported_languages": [pair] if service.takes_glossaries else []}

    @routes.post("/glossaries", status_code=201)
    async def create_glossary(request: Request) -> dict[str, Any]:
        """Stores a glossary."""
        owner, fields = await _read(desk, request)
        desk.check_glossaries()
        check_language("source_lang", fields.text("source_lang"), service.source)
        check_language("target_lang", fields.text("target_lang"), service.target)
        entries = read_entries(fields.text("entries"), fields.text("entries_format"))
        return _about(await desk.run(desk.glossaries.add, fields.text("name"), owner, entries))

    @routes.get("/glossaries")
    async def all_glossaries(request: Request) -> dict[str, Any]:
        """The glossaries of a key."""
        owner, _ = await _read(desk, request)
        return {"glossaries": [_about(stored) for stored in desk.glossaries.all(owner)]}

    @routes.get("/glossaries/{key}")
    async def glossary(request: Request, key: str) -> dict[str, Any]:
        """What is known about a glossary."""
        owner, _ = await _read(desk, request)
        return _about(desk.glossaries.get(key, owner))

    @routes.get("/glossaries/{key}/entries")
    async def entries(request: Request, key: str) -> Response:
        """The terms of a glossary."""
        owner, _ = await _read(desk, request)
        lines = ("\t".join(pair) for pair in desk.glossaries.get(key, owner).entries)
        return PlainTextResponse("\n".join(lines), media_type="text/tab-separated-values")

    @routes.delete("/glossaries/{key}", status_code=204)
    async def delete_glossary(request: Request, key: str) -> None:
        """Forgets a glossary."""
        owner, _ = await _read(desk, request)
        desk.glossaries.delete(key, owner)

    def _about(stored: StoredGlossary) -> dict[str, Any]:
        return {
            "glossary_id": stored.key,
            "name": stored.name,
            "ready": True,
            "source_lang": service.source,
            "target_lang": service.target,
            "creation_time": stored.created.isoformat(),
            "entry_count": len(stored.entries),
        }


async def _read(desk: Desk, request: Request) -> tuple[str, Fields]:
    owner = desk.admit(request)
    return owner, await read_fields(request)


def _tags(kind: str, fields: Fields, texts: list[str]) -> Tags | None:
    if not kind:
        return None
    named = {name: _names(fields, f"{name}_tags") for name in ("ignore", "splitting", "non_splitting")}
    found = frozenset[str]()
    if fields.flag("outline_detection", True) and kind == "xml":
        found = frozenset.union(*map(outline, texts))
    inline = named["non_splitting"]
    return Tags(kind, named["ignore"], named["splitting"] | (found - inline), inline)


def _names(fields: Fields, name: str) -> frozenset[str]:
    """The tags in a list, or in a string with commas."""
    texts = fields.texts(name) if fields.given(name) else []
    return frozenset(checked(name, one.strip()) for text in texts for one in text.split(",") if one.strip())
