"""From a request's body to a message that can be accepted: what the settings allow."""

from api.request_hash import fingerprint
from api.schemas.messages import MessageIn
from shared.errors import InvalidRequest
from shared.settings import Settings
from shared.store.accept import Draft


def make_draft(
    body: MessageIn, settings: Settings, *, key: str | None, trace_id: str, streamed: bool
) -> Draft:
    """Check a prompt and its options.

    Raises:
        InvalidRequest: the prompt is too long, or the model is not one that a message may name.
    """
    check_prompt(body.prompt, settings)
    if body.model is not None and body.model not in settings.allowed_models:
        raise _invalid("model", f"must be one of {', '.join(settings.allowed_models)}")
    return Draft(
        prompt=body.prompt,
        model=body.model or settings.default_model,
        on_busy=body.on_busy,
        idempotency_key=key,
        request_hash=fingerprint(body.prompt, body.on_busy, body.model),
        trace_id=trace_id,
        streamed=streamed,
    )


def check_prompt(prompt: str, settings: Settings) -> None:
    """Raise InvalidRequest if a prompt is longer than this service takes."""
    if len(prompt) > settings.prompt_limit:
        raise _invalid("prompt", f"longer than the {settings.prompt_limit} characters allowed")


def _invalid(member: str, detail: str) -> InvalidRequest:
    return InvalidRequest(
        f"#/{member}: {detail}.", errors=[{"pointer": f"#/{member}", "detail": detail}]
    )
