"""Structured logs: one JSON object on each line, without texts, paths of files or keys."""

import datetime
import json
import logging
import sys
import traceback
from typing import Any

LOGGER = logging.getLogger("weitblick.serving")


class JsonFormatter(logging.Formatter):
    """Formats a record as JSON; what is logged with `extra={"fields": {...}}` becomes its members."""

    def format(self, record: logging.LogRecord) -> str:
        """The line of a record.

        An exception's message may hold a user's text, so only its type and place are written.
        """
        time = datetime.datetime.fromtimestamp(record.created, datetime.UTC)
        line: dict[str, Any] = {
            "time": time.isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info and record.exc_info[1]:
            line |= described(record.exc_info[1])
        return json.dumps(line, ensure_ascii=False)


def described(error: BaseException) -> dict[str, str]:
    """The type of an exception, and the function and line where it was raised."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f"{frames[-1].name}:{frames[-1].lineno}" if frames else ""
    return {"error": type(error).__name__, "at": place}


def log(event: str, level: int = logging.INFO, **fields: Any) -> None:
    """Writes an event."""
    LOGGER.log(level, event, extra={"fields": fields})


def log_to_stderr() -> None:
    """Sends the events of the server, and uvicorn's warnings, to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    for name, level in (("weitblick.serving", logging.INFO), ("uvicorn", logging.WARNING)):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(level)
