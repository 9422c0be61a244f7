"""The client of webhooks: it signs as Standard Webhooks says, and calls checked addresses only."""

import asyncio
import json
import socket
import ssl
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any
from uuid import UUID

import httpx2
from pydantic import BaseModel, ConfigDict, Field
from standardwebhooks import Webhook

from shared.addresses import is_public
from shared.store.deliveries import DeliveryAttempt
from shared.tables import Message
from shared.version import VERSION

LIMIT_S = 15.0
"""The longest that a try takes, from looking the name up to the answer's status."""

_TIMEOUT = httpx2.Timeout(10.0, connect=4.0)
_MOST_ADDRESSES = 3


@dataclass(frozen=True)
class Answer:
    """The status of a receiver's answer, or in a word why there is none."""

    http_status: int | None = None
    error: str | None = None

    @property
    def is_success(self) -> bool:
        """Tell whether the receiver took it; a redirect is not followed, and no success."""
        return self.http_status is not None and 200 <= self.http_status < 300  # noqa: PLR2004


class _MessageData(BaseModel):
    """A message that has ended, by the names and in the forms of `GET /messages/{id}`."""

    model_config = ConfigDict(from_attributes=True)

    message_id: UUID = Field(validation_alias="id")
    session_id: UUID
    project_id: UUID
    status: str
    content: str
    reply: str | None
    diff: str
    revision: int | None
    model: str
    usage: dict[str, Any] | None
    error: dict[str, Any] | None
    attempt: int
    created_at: datetime
    claimed_at: datetime | None
    ended_at: datetime
    trace_id: str


class _Refused(Exception):
    """Webhooks may not call this address; the message is the reason in a word."""


class WebhookClient:
    """Post to webhooks; `private` allows plain http and addresses that are not public."""

    def __init__(self, *, private: bool, at_once: int, tls: ssl.SSLContext | None = None) -> None:
        self._private = private
        self._tls = tls
        self._client: httpx2.AsyncClient | None = None
        # threads of its own: a name server that is silent holds up nothing but deliveries
        self._lookups = ThreadPoolExecutor(at_once, thread_name_prefix="lookup")

    async def post(self, delivery: DeliveryAttempt) -> Answer:
        """Send a delivery once, and return within `LIMIT_S` whatever the receiver does."""
        try:
            async with asyncio.timeout(LIMIT_S):
                return Answer(http_status=await self._post(delivery))
        except (TimeoutError, httpx2.TimeoutException):
            return Answer(error="timeout")
        except _Refused as refused:
            return Answer(error=str(refused))
        except (socket.gaierror, UnicodeError, httpx2.InvalidURL):
            return Answer(error="unknown_host")
        except httpx2.ConnectError as error:
            return Answer(error="tls" if _is_about_tls(error) else "unreachable")
        except (httpx2.TransportError, OSError):
            return Answer(error="broken_off")

    async def _post(self, delivery: DeliveryAttempt) -> int:
        url = httpx2.URL(delivery.url)
        if url.scheme != "https" and not self._private:
            raise _Refused("not_https")
        body = payload(delivery.message)
        *others, last = await self._look_up(url)
        for address in others:
            try:
                return await self._post_to(address, url, delivery, body)
            except (httpx2.ConnectError, httpx2.ConnectTimeout):
                continue  # nothing was sent: a host may be reached by IPv4 only
        return await self._post_to(last, url, delivery, body)

    async def _look_up(self, url: httpx2.URL) -> list[str]:
        """Look a host up once; one address that is not public is enough to refuse it."""
        ask = partial(socket.getaddrinfo, url.raw_host.decode(), None, type=socket.SOCK_STREAM)
        found = await asyncio.get_running_loop().run_in_executor(self._lookups, ask)
        addresses = list(dict.fromkeys(str(place[0]) for *_, place in found))
        if not self._private and not all(map(is_public, addresses)):
            raise _Refused("private_address")
        return addresses[:_MOST_ADDRESSES]

    async def _post_to(
        self, address: str, url: httpx2.URL, delivery: DeliveryAttempt, body: bytes
    ) -> int:
        """Connect to the address itself, so that no second lookup can lead elsewhere.

        The certificate must be the host's all the same. Of the answer only the status is read.
        """
        self._client = self._client or self._connect()
        sending = self._client.stream(
            "POST",
            url.copy_with(host=address),
            content=body,
            headers={
                **signed_headers(delivery, body, sent_at=datetime.now(UTC)),
                "Host": url.netloc.decode(),
            },
            extensions={"sni_hostname": url.raw_host.decode()},
        )
        async with sending as answer:
            return int(answer.status_code)

    def _connect(self) -> httpx2.AsyncClient:
        return httpx2.AsyncClient(
            verify=self._tls or httpx2.create_ssl_context(),
            trust_env=False,  # a proxy would look names up itself
            follow_redirects=False,
            timeout=_TIMEOUT,
            # none is kept: two hosts may share an address, and their connections must not mix
            limits=httpx2.Limits(max_keepalive_connections=0),
        )

    async def aclose(self) -> None:
        """Close the connections."""
        self._lookups.shutdown(wait=False, cancel_futures=True)
        if self._client:
            await self._client.aclose()


def _is_about_tls(error: BaseException | None) -> bool:
    while error is not None and not isinstance(error, ssl.SSLError):
        error = error.__cause__ or error.__context__
    return error is not None


def payload(message: Message) -> bytes:
    """Write the body of a delivery about a message that has ended: the same bytes at each try."""
    data = _MessageData.model_validate(message).model_dump(mode="json")
    event = {"type": f"message.{message.status}", "timestamp": data["ended_at"], "data": data}
    # escaped: a model may have sent half of a surrogate pair, which UTF-8 cannot say
    return json.dumps(event, separators=(",", ":")).encode()


def signed_headers(delivery: DeliveryAttempt, body: bytes, *, sent_at: datetime) -> dict[str, str]:
    """Sign a body with the time of this try; the id, the same at each try, shows doubles."""
    delivery_id = str(delivery.id)
    return {
        "Content-Type": "application/json",
        "User-Agent": f"VibeCoder-Webhooks/{VERSION}",
        "webhook-id": delivery_id,
        "webhook-timestamp": str(int(sent_at.timestamp())),
        "webhook-signature": Webhook(delivery.secret).sign(delivery_id, sent_at, body.decode()),
    }
