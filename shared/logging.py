"""Log lines: JSON, or readable on a terminal, with the trace and message they belong to."""

import logging
import logging.config
import sys
from contextvars import Context, copy_context
from typing import Any
from uuid import UUID

import structlog
from structlog.stdlib import BoundLogger

from shared.settings import Settings

_SHARED: list[Any] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.format_exc_info,
]


def get_logger(name: str) -> BoundLogger:
    """Return the logger of a module."""
    logger: BoundLogger = structlog.stdlib.get_logger(name)
    return logger


def context_about(message_id: UUID) -> Context:
    """Return where log lines bear a message's id, and what else is known of that one only.

    Who works on one message may have to do something for another.
    """
    if structlog.contextvars.get_contextvars().get("message_id") == str(message_id):
        return copy_context()
    other = Context()
    other.run(structlog.contextvars.bind_contextvars, message_id=str(message_id))
    return other


def configure_logging(settings: Settings) -> None:
    """Send all log lines of this process, the libraries' too, to standard error."""
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *_SHARED,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=BoundLogger,
    )
    level = settings.log_level.upper()
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {"line": {"()": _formatter, "chosen": settings.log_format}},
            "filters": {"once": {"()": _Once}},
            "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
            "root": {"level": "WARNING", "handlers": ["stderr"]},
            "loggers": {
                **{name: {"level": level} for name in ("api", "worker", "shared")},
                "celery.worker.consumer.consumer": {"filters": ["once"]},
                # a task that reaches a worker that stops goes back, or the sweep sends it again
                "kombu.transport.virtual.base": {"level": "ERROR"},
                # the SDK logs a failed call with its body; failures.py says what matters
                **{name: {"level": "CRITICAL"} for name in ("openai", "openai.agents")},
                # several lines for each batch; shared/otlp.py says it once
                "opentelemetry": {"level": "CRITICAL"},
            },
        }
    )


class _Once(logging.Filter):
    """Let Celery say once that the broker is away, not at each of its tries."""

    def filter(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        return "Trying again in" not in text or "(1/" in text


def _formatter(chosen: str) -> logging.Formatter:
    readable = chosen == "console" or (chosen == "auto" and sys.stderr.isatty())
    renderer = structlog.dev.ConsoleRenderer() if readable else structlog.processors.JSONRenderer()
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=_SHARED,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
    )
