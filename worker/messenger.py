"""One try to tell a webhook: to an address that was looked up and checked here, and no other."""

import asyncio
import socket
import ssl
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

import httpx2

from shared.addresses import is_public
from shared.store.deliveries import Try
from worker.notices import body_of, headers_of

LIMIT_S = 15.0
"""The longest that a try takes, from looking the name up to the answer's status."""

_TIMEOUT = httpx2.Timeout(10.0, connect=4.0)
_MOST_ADDRESSES = 3


@dataclass(frozen=True)
class Answer:
    """What a receiver answered, or in a word why there is no answer."""

    http_status: int | None = None
    error: str | None = None

    @property
    def is_success(self) -> bool:
        """Tell whether it was taken; a redirect is not followed, and no success."""
        return self.http_status is not None and 200 <= self.http_status < 300  # noqa: PLR2004


class _Refused(Exception):
    """The address is one that webhooks may not call; says why in a word."""


class Messenger:
    """Call webhooks' addresses; `private` allows plain http and what is not public."""

    def __init__(self, *, private: bool, at_once: int, tls: ssl.SSLContext | None = None) -> None:
        self._private = private
        self._tls = tls
        self._client: httpx2.AsyncClient | None = None
        # threads of its own: a name server that is silent holds up nothing but deliveries
        self._lookups = ThreadPoolExecutor(at_once, thread_name_prefix="lookup")

    async def tell(self, tried: Try) -> Answer:
        """Send a delivery once; whatever the receiver does, there is an answer in time."""
        try:
            async with asyncio.timeout(LIMIT_S):
                return Answer(http_status=await self._post(tried))
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

    async def _post(self, tried: Try) -> int:
        url = httpx2.URL(tried.url)
        if url.scheme != "https" and not self._private:
            raise _Refused("not_https")
        body = body_of(tried.message)
        *others, last = await self._look_up(url)
        for address in others:
            try:
                return await self._post_to(address, url, tried, body)
            except (httpx2.ConnectError, httpx2.ConnectTimeout):
                continue  # nothing was sent: a host may be reached by IPv4 only
        return await self._post_to(last, url, tried, body)

    async def _look_up(self, url: httpx2.URL) -> list[str]:
        """Ask once where a host is; one address that is not public is enough to refuse it."""
        ask = partial(socket.getaddrinfo, url.raw_host.decode(), None, type=socket.SOCK_STREAM)
        found = await asyncio.get_running_loop().run_in_executor(self._lookups, ask)
        addresses = list(dict.fromkeys(str(place[0]) for *_, place in found))
        if not self._private and not all(map(is_public, addresses)):
            raise _Refused("private_address")
        return addresses[:_MOST_ADDRESSES]

    async def _post_to(self, address: str, url: httpx2.URL, tried: Try, body: bytes) -> int:
        """Connect to the address itself, so that no second lookup can lead elsewhere.

        The certificate must be the host's all the same. Of the answer only the status is read.
        """
        self._client = self._client or self._connect()
        sending = self._client.stream(
            "POST",
            url.copy_with(host=address),
            content=body,
            headers=headers_of(tried, body, sent_at=datetime.now(UTC))
            | {"Host": url.netloc.decode()},
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
