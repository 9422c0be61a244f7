"""The stream of a model's server is read alike however the network cuts it."""

import json
from collections.abc import AsyncIterator

import pytest

from worker.model.streaming import LeanDecoder, listening

EVENTS = [
    ("response.created", {"type": "response.created"}),
    ("response.output_text.delta", {"type": "response.output_text.delta", "delta": "é\u2028"}),
    ("response.output_item.done", {"type": "response.output_item.done"}),
    ("response.completed", {"type": "response.completed", "response": {}}),
]


async def decoded(content: bytes, size: int) -> list[tuple[str | None, str]]:
    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(content), size):
            yield content[start : start + size]

    return [(event.event, event.data) async for event in LeanDecoder().aiter_bytes(chunks())]


def written(end: str, *, named: bool = True) -> bytes:
    lines = [
        (f"event: {name}{end}" if named else "") + f"data: {json.dumps(data)}{end}{end}"
        for name, data in EVENTS
    ]
    return (f": hello{end}{end}" + "".join(lines)).encode()


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 10_000])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
async def test_what_counts_comes_out_whatever_the_pieces(size: int, end: str) -> None:
    expected = [(name, json.dumps(data)) for name, data in (EVENTS[1], EVENTS[3])]
    assert await decoded(written(end), size) == expected
    assert await decoded(written(end).rstrip(), size) == expected, "the end may lack a line end"


async def test_events_without_names_all_count() -> None:
    found = await decoded(written("\n", named=False), 10)
    assert [json.loads(data)["type"] for _, data in found] == [name for name, _ in EVENTS]


async def test_data_in_several_lines_is_one_event() -> None:
    [(_, data)] = await decoded(b'event: error\ndata: {"a":\ndata:  1}\n\n', 100)
    assert json.loads(data) == {"a": 1}


@pytest.mark.parametrize("size", [1, 7, 10_000])
async def test_a_listener_is_told_the_text_and_keeps_the_response_as_it_was_sent(size: int) -> None:
    told: list[str] = []
    with listening(told.append) as listener:
        found = await decoded(written("\n"), size)
    assert told == ["é\u2028"]
    assert [name for name, _ in found] == ["response.completed"], "the text is not given again"
    assert listener.response == {}


async def test_nobody_listens_after_the_end() -> None:
    told: list[str] = []
    with listening(told.append):
        pass
    assert len(await decoded(written("\n"), 100)) == 2
    assert told == []
