"""The fields of a request, whether it is JSON, a form or a query."""

import json
from typing import Any

from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request

from app.serving.limits import RefusedError

# The most fields of a form; a list has one for each of its items.
_MOST_FIELDS = 1100
_YES, _NO = ("1", "true", "yes", "on"), ("0", "false", "no", "off")


class Fields:
    """The fields of a request by name.

    Args:
        values: strings and lists from forms; anything from JSON.
    """

    def __init__(self, values: dict[str, Any]):
        self._values = values

    def text(self, name: str, default: str | None = None) -> str:
        """A string.

        Raises:
            RefusedError: it is not there and has no default, or is something else.
        """
        value = self._last(name)
        if value is None:
            if default is None:
                raise RefusedError(400, f"{name}: this field is missing")
            return default
        if not isinstance(value, str):
            raise RefusedError(400, f"{name}: expected a string")
        return checked(name, value)

    def texts(self, name: str) -> list[str]:
        """One or more strings."""
        value = self._values.get(name)
        if value is None:
            raise RefusedError(400, f"{name}: this field is missing")
        values = value if isinstance(value, list) else [value]
        if not all(isinstance(one, str) for one in values):
            raise RefusedError(400, f"{name}: expected a string or a list of strings")
        return [checked(name, one) for one in values]

    def is_list(self, name: str) -> bool:
        """Whether a field has several values."""
        return isinstance(self._values.get(name), list)

    def flag(self, name: str, default: bool) -> bool:
        """Yes or no, as JSON or forms write it."""
        value = self._last(name)
        if value is None:
            return default
        word = str(value).lower()
        if isinstance(value, bool | int | str) and word in _YES + _NO:
            return word in _YES
        raise RefusedError(400, f"{name}: expected true or false")

    def number(self, name: str, default: int) -> int:
        """A whole number."""
        value = self._last(name)
        if value is None:
            return default
        text = str(value) if isinstance(value, int | str) and not isinstance(value, bool) else ""
        if not text.isdecimal() or len(text) > 9:
            raise RefusedError(400, f"{name}: expected a whole number")
        return int(text)

    def choice(self, name: str, choices: tuple[str, ...], default: str) -> str:
        """One of several words."""
        value = self._last(name)
        word = default if value is None else str(value) if isinstance(value, str | int) else ""
        if word not in choices:
            raise RefusedError(400, f"{name}: expected one of {', '.join(choice for choice in choices if choice)}")
        return word

    def given(self, *names: str) -> list[str]:
        """Which of these fields are there and not empty."""
        return [name for name in names if self._values.get(name) not in (None, "", [])]

    def _last(self, name: str) -> Any:
        """A value that cannot be a list; the last one if a form has several."""
        value = self._values.get(name)
        return value[-1] if isinstance(value, list) and value else value


def checked(name: str, text: str) -> str:
    """A text that can be written as UTF-8; JSON may hold halves of characters."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise RefusedError(400, f"{name}: holds half a character (a surrogate)") from None
    return text


async def read_fields(request: Request) -> Fields:
    """The fields of a request's query and body; those of the body take precedence.

    Raises:
        RefusedError: the body is not what its type says.
    """
    values = _collected(request.query_params.multi_items())
    body = await request.body()
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if not body:
        return Fields(values)
    if kind == "application/json" or kind.endswith("+json"):
        return Fields(values | _json_object(body))
    if kind in ("application/x-www-form-urlencoded", "multipart/form-data"):
        return Fields(values | await _form(request))
    raise RefusedError(415, "expected a content type of application/json or application/x-www-form-urlencoded")


async def read_upload(request: Request) -> tuple[Fields, str, bytes]:
    """The fields of a form with a file, the file's name, and its content.

    Raises:
        RefusedError: it is not such a form, or the field `file` is not a file.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "multipart/form-data":
        raise RefusedError(415, "expected a form (multipart/form-data) with a file")
    try:
        async with request.form(max_files=1, max_fields=_MOST_FIELDS) as form:
            items = form.multi_items()
            file = form.get("file")
            content = await file.read() if isinstance(file, UploadFile) else b""
    except (HTTPException, ValueError):
        raise RefusedError(400, "the body is not a valid form with one file") from None
    if not isinstance(file, UploadFile):
        raise RefusedError(400, "file: this field is missing, or is not a file")
    texts = [(name, value) for name, value in items if isinstance(value, str)]
    values = _collected([*request.query_params.multi_items(), *texts])
    return Fields(values), file.filename or "", content


def _json_object(body: bytes) -> dict[str, Any]:
    try:
        values = json.loads(body)
    except (ValueError, RecursionError):
        raise RefusedError(400, "the body is not valid JSON") from None
    if not isinstance(values, dict):
        raise RefusedError(400, "the body must be a JSON object")
    return values


async def _form(request: Request) -> dict[str, Any]:
    try:
        async with request.form(max_files=0, max_fields=_MOST_FIELDS) as form:
            items = form.multi_items()
    except (HTTPException, ValueError):
        raise RefusedError(400, "the body is not a valid form") from None
    if any(isinstance(value, UploadFile) for _, value in items):
        raise RefusedError(400, "files are not expected here")
    return _collected([(name, str(value)) for name, value in items])


def _collected(items: list[tuple[str, str]]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, value in items:
        if name in values:
            values[name] = [*(values[name] if isinstance(values[name], list) else [values[name]]), value]
        else:
            values[name] = value
    return values
