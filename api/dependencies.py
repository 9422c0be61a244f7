"""Dependencies of routes: the process's parts, the caller, values of headers and query.

All are coroutines: FastAPI runs plain functions in threads.
"""

import re
from dataclasses import dataclass
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Header, Query, Request

from api.accept_limiter import AcceptLimiter
from api.auth import Authenticator, Caller
from api.metrics import Scrape
from api.middleware import trace_id_of
from api.streams import Subscribers
from api.waiting import EndWaiters
from shared.announcer import Announcer
from shared.channels import Channel
from shared.database import Database
from shared.errors import InvalidRequest, RoleInsufficient
from shared.prices import Prices
from shared.settings import Settings
from shared.store.accept import UnfinishedCount
from shared.tables import Role
from shared.workflow.checker import CodeChecker

_LONGEST_WAIT_S = 3600.0


@dataclass(frozen=True)
class Services:
    """The parts of an API process."""

    settings: Settings
    database: Database
    channel: Channel
    announcer: Announcer
    end_waiters: EndWaiters
    subscribers: Subscribers
    accept_limiter: AcceptLimiter
    prices: Prices
    authenticator: Authenticator
    scrape: Scrape
    checker: CodeChecker
    unfinished: UnfinishedCount


@dataclass(frozen=True)
class Page:
    """The part of a list that the client asks for."""

    limit: int
    after: str | None

    def after_id(self) -> UUID | None:
        """Read the cursor of a list whose entries have ids."""
        if self.after is None:
            return None
        try:
            return UUID(self.after)
        except ValueError:
            raise self.wrong_cursor() from None

    def after_number(self) -> int | None:
        """Read the cursor of a list whose entries are numbered."""
        if self.after is None:
            return None
        if not re.fullmatch(r"[0-9]{1,9}", self.after):
            raise self.wrong_cursor()
        return int(self.after)

    def wrong_cursor(self) -> InvalidRequest:
        """Say that the cursor does not belong to the list."""
        return InvalidRequest(
            "after: not a cursor of this list. Take it from the Link header of the page before.",
            errors=[{"parameter": "after", "detail": "not a cursor of this list"}],
        )


async def services(request: Request) -> Services:
    """Return the process's parts."""
    found: Services = request.app.state.services
    return found


async def caller_of(request: Request) -> Caller:
    """Return the caller."""
    found: Caller = request.state.caller
    return found


async def owner_of(request: Request) -> str:
    """Return the owner whose projects the request may see."""
    return (await caller_of(request)).owner


async def operator(request: Request) -> Caller:
    """Return the caller if it may see figures of all owners.

    Raises:
        RoleInsufficient: it is not an operator.
    """
    found = await caller_of(request)
    if found.role is not Role.ADMIN:
        raise RoleInsufficient("Only the operator may see this: take a key of the role `admin`.")
    return found


async def shares_operations(request: Request) -> bool:
    """Tell whether the caller may see figures of the whole service, not only its own."""
    return (await caller_of(request)).role is Role.ADMIN


async def page(
    limit: Annotated[int, Query(ge=1, le=1000, description="Entries at the most.")] = 100,
    after: Annotated[
        str | None, Query(max_length=64, description="Cursor, from the `Link` header.")
    ] = None,
) -> Page:
    """Read the paging parameters."""
    return Page(limit, after)


async def wait_preference(
    prefer: Annotated[
        str | None,
        Header(
            alias="Prefer",
            description="`respond-async`: answer at once; `wait=N`: wait N seconds at the most.",
            examples=["wait=30"],
        ),
    ] = None,
) -> float | None:
    """Read how long the client wants to wait, in seconds; None: it does not say.

    What is not understood is ignored, as RFC 7240 asks. With both, `wait` says how long, and
    `respond-async` what a 202 means then.
    """
    wait = None
    for part in (prefer or "").split(","):
        name, _, value = part.partition(";")[0].partition("=")
        value = value.strip().strip('"')
        match name.strip().lower():
            case "respond-async":
                wait = 0.0
            case "wait" if _is_number(value):
                return min(float(value), _LONGEST_WAIT_S)
    return wait


async def if_match(
    value: Annotated[
        str | None,
        Header(
            alias="If-Match",
            pattern=r'^(\*|(W/)?"?[0-9]{1,9}"?)$',
            description="The revision that the change is meant for, as in the `ETag`.",
            examples=['"1"'],
        ),
    ] = None,
) -> int | None:
    """Read which revision the caller believes to change; None: whichever it is."""
    return None if value is None or value == "*" else int(value.removeprefix("W/").strip('"'))


def _is_number(text: str | None) -> bool:
    return bool(text and re.fullmatch(r"\d{1,9}(\.\d{1,9})?", text, re.ASCII))


async def accepts_events(request: Request) -> bool:
    """Tell whether the client asks for server-sent events; `*/*` does not."""
    ranges = ",".join(request.headers.getlist("accept")).lower().split(",")
    return any(each.split(";")[0].strip() == "text/event-stream" for each in ranges)


ServicesDep = Annotated[Services, Depends(services)]
Owner = Annotated[str, Depends(owner_of)]
CallerDep = Annotated[Caller, Depends(caller_of)]
Operator = Annotated[Caller, Depends(operator)]
SharesOperations = Annotated[bool, Depends(shares_operations)]
PageDep = Annotated[Page, Depends(page)]
WaitPreference = Annotated[float | None, Depends(wait_preference)]
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        pattern=r"^[!-~]{1,255}$",
        description="Makes the POST repeatable: the same key in the same session is the same "
        "message. 1 to 255 printable ASCII characters.",
        examples=["7d0e9a52-6c6e-4a8e-9d6f-3b1a9a2f4c11"],
    ),
]
IfMatch = Annotated[int | None, Depends(if_match)]
WantsEvents = Annotated[bool, Depends(accepts_events)]
LastEventId = Annotated[
    int | None,
    Header(
        alias="Last-Event-ID",
        ge=0,
        le=1_000_000_000,
        description="The `id` of the last event that came: the stream goes on after it.",
    ),
]
TraceId = Annotated[str, Depends(trace_id_of)]
