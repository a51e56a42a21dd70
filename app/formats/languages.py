"""How documents name their language."""


def country(language: str) -> str:
    """The country where most people write a language: "DE" for "de"."""
    from babel.core import get_global

    return str(get_global("likely_subtags").get(language, language)).rpartition("_")[2].upper()
