"""Limits on one answer of a model's server: on its size, decompressed, and on its silence."""

import asyncio
import zlib
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing

import httpx2
from typing_extensions import override

from worker.failures import LARGEST_ANSWER, AnswerTooLarge, UnusableAnswer

ACCEPT_ENCODING = "gzip"
"""The one encoding that is decoded here, piece by piece; the HTTP client has no limits on one."""

_PIECE = 2**16
_GZIP_OR_ZLIB = zlib.MAX_WBITS | 32


async def limit_answer(response: httpx2.Response, *, silence_s: float) -> None:
    """Let a response end at the limits; a `response` hook of the HTTP client.

    The client has a limit on silence too, but after broken chunk framing its parser waits for ever.

    Raises:
        UnusableAnswer: the response has an encoding that was not asked for.
    """
    encoding = response.headers.pop("content-encoding", "identity").strip().lower()
    if encoding not in {"identity", "gzip", "x-gzip", "deflate", ""}:
        raise UnusableAnswer
    assert isinstance(response.stream, httpx2.AsyncByteStream)
    packed = encoding not in {"identity", ""}
    response.stream = _Limited(response.stream, packed=packed, silence_s=silence_s)


class _Limited(httpx2.AsyncByteStream):
    """The bytes of an answer, unpacked, up to the limit."""

    def __init__(self, stream: httpx2.AsyncByteStream, *, packed: bool, silence_s: float) -> None:
        self._stream = stream
        self._packed = packed
        self._silence_s = silence_s

    @override
    async def __aiter__(self) -> AsyncIterator[bytes]:
        left = LARGEST_ANSWER
        unpacker = zlib.decompressobj(_GZIP_OR_ZLIB) if self._packed else None
        async with aclosing(aiter(self._stream)) as chunks:  # type: ignore[type-var]
            while (chunk := await self._next(chunks)) is not None:
                for piece in _unpacked(unpacker, chunk) if unpacker else (chunk,):
                    left -= len(piece)
                    if left < 0:
                        raise AnswerTooLarge
                    yield piece

    async def _next(self, chunks: AsyncIterator[bytes]) -> bytes | None:
        limit = asyncio.timeout(self._silence_s)
        try:
            async with limit:
                return await anext(chunks, None)
        except TimeoutError:
            if limit.expired():
                raise httpx2.ReadTimeout("The model's server fell silent.") from None
            raise

    @override
    async def aclose(self) -> None:
        await self._stream.aclose()


def _unpacked(unpacker: "zlib._Decompress", chunk: bytes) -> Iterator[bytes]:
    """Unpack a chunk in pieces: a kilobyte may stand for a megabyte."""
    try:
        while piece := unpacker.decompress(chunk, _PIECE):
            yield piece
            chunk = unpacker.unconsumed_tail
    except zlib.error as error:
        raise UnusableAnswer from error
