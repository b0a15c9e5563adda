"""How a log record becomes one line: words for people, JSON for machines. Fields come after the words, as key=value.

Records come from `logging` and from `structlog`; both end in the same formatter.
"""

from __future__ import annotations

import logging
from datetime import datetime
from decimal import Decimal
from http import HTTPStatus
from typing import Any

import structlog

_BEFORE: list[structlog.typing.Processor] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.PositionalArgumentsFormatter(),
    structlog.stdlib.ExtraAdder(),
    structlog.processors.TimeStamper(fmt="iso", utc=True),
]
_PLAIN = (str, int, float, Decimal, datetime)


def _line(logger: Any, name: str, fields: structlog.typing.EventDict) -> str:
    """`2026-01-02T03:04:05.678901Z web WARNING risk.audit: what happened key=value`, and a traceback on the lines below."""
    opening = f"{fields.pop('timestamp')} {fields.pop('process')} {fields.pop('level').upper()}"
    head = f"{opening} {fields.pop('logger')}: {fields.pop('event')}"
    traceback = fields.pop("exception", "")
    return " ".join([head, *(f"{key}={value}" for key, value in fields.items())]) + (f"\n{traceback}" if traceback else "")


class OneLineBelow500(logging.Filter):
    """What a person asked in vain is a line; a traceback is for what fails here."""

    def filter(self, record: logging.LogRecord) -> bool:
        if getattr(record, "status_code", HTTPStatus.INTERNAL_SERVER_ERROR) < HTTPStatus.INTERNAL_SERVER_ERROR:
            record.exc_info = record.exc_text = None
        return True


def formatter(*, process: str, is_json: bool) -> logging.Formatter:
    """The formatter of every process, for LOGGING. `process` stands in each line: web, engine, jobs, watch …"""

    def told(logger: Any, name: str, fields: structlog.typing.EventDict) -> structlog.typing.EventDict:
        # libraries hang whole requests and sockets on their records: only plain values are told
        return {"process": process} | {
            key: value for key, value in fields.items() if key == "exc_info" or isinstance(value, _PLAIN)
        }

    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *_BEFORE, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    last: Any = structlog.processors.JSONRenderer(default=str) if is_json else _line
    # without locals: a frame may hold a password
    frames = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
    errors = structlog.processors.ExceptionRenderer(frames) if is_json else structlog.processors.format_exc_info
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=_BEFORE,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, told, errors, last],
    )
