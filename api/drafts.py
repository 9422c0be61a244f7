"""New messages: the checks of a request's body against the settings, and its hash."""

import hashlib
import json

from api.schemas.messages import MessageIn
from shared.errors import InvalidRequest
from shared.settings import Settings
from shared.store.accept import NewMessage

_HALF = 32


def new_message(
    body: MessageIn, settings: Settings, *, key: str | None, trace_id: str, streamed: bool
) -> NewMessage:
    """Check a prompt and its options.

    Raises:
        InvalidRequest: the prompt is too long, or the settings do not allow the model.
    """
    check_prompt(body.prompt, settings)
    if body.model is not None and body.model not in settings.allowed_models:
        raise _invalid("model", f"must be one of {', '.join(settings.allowed_models)}")
    return NewMessage(
        prompt=body.prompt,
        model=body.model or settings.default_model,
        on_busy=body.on_busy,
        idempotency_key=key,
        request_hash=request_hash(body.prompt, body.on_busy, body.model),
        trace_id=trace_id,
        streamed=streamed,
    )


def check_prompt(prompt: str, settings: Settings) -> None:
    """Raise InvalidRequest if a prompt is longer than the settings allow."""
    if len(prompt) > settings.prompt_limit:
        raise _invalid("prompt", f"longer than the {settings.prompt_limit} characters allowed")


def request_hash(prompt: str, *options: object) -> str:
    """Hash the options and the prompt, each into one half, so that `with_prompt` can replace one.

    Two requests with the same Idempotency-Key are the same if their hashes are equal.
    """
    return _hash(json.dumps(options)) + _hash(prompt)


def with_prompt(known: str, prompt: str) -> str:
    """Return the hash of the same options with another prompt."""
    return known[:_HALF] + _hash(prompt)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:_HALF]


def _invalid(member: str, detail: str) -> InvalidRequest:
    return InvalidRequest(
        f"#/{member}: {detail}.", errors=[{"pointer": f"#/{member}", "detail": detail}]
    )
