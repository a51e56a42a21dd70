"""The fields that DeepL's API has for texts and for documents."""

from app.serving.desk import check_language
from app.serving.fields import Fields
from app.serving.limits import RefusedError
from app.serving.service import Service

# "prefer" means if the language allows it, so it may be ignored; a plain wish that cannot be met is an error.
_FORMALITY = ("default", "prefer_more", "prefer_less")


def check_languages(fields: Fields, service: Service) -> bool:
    """Refuses languages that are not the model's; returns whether the source language is named."""
    check_language("target_lang", fields.text("target_lang"), service.target)
    given = bool(fields.given("source_lang"))
    if given:
        check_language("source_lang", fields.text("source_lang"), service.source)
    return given


def refuse_unsupported(fields: Fields, *names: str) -> None:
    """Refuses fields that have no effect here, and a formality that is more than a preference."""
    for name in fields.given(*names):
        raise RefusedError(400, f"Parameter '{name}' is not supported by this server.")
    if fields.text("formality", "default") not in _FORMALITY:
        raise RefusedError(400, "'formality' is not supported for given 'target_lang'.")


def glossary_key(fields: Fields) -> str:
    """The key of the glossary to use; "" for none. With a glossary, the source language must be named."""
    key = fields.text("glossary_id", "")
    if key and not fields.given("source_lang"):
        raise RefusedError(400, "Use of a glossary requires the 'source_lang' parameter to be specified.")
    return key
