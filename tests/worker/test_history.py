"""The history of a conversation is valid for the model that gets it."""

import json
import random
import time
from typing import Any

import pytest
from agents.models.fake_id import FAKE_RESPONSES_ID

from worker.memory.history import (
    LARGEST_HISTORY,
    History,
    Maker,
    _Ids,
    _messages,
    _repaired,
    newest_messages,
    prepare,
)

Items = list[dict[str, Any]]

MAKER = Maker("a", "responses", "1")
CHAT = Maker("a", "chat_completions", "1")
OTHERS = [
    None,
    Maker("b", "responses", "1"),
    Maker("a", "responses", "2"),
    Maker("a", "chat_completions", "1"),
]
ASKED = {"role": "user", "content": "hello"}


def is_regular(items: Items) -> bool:
    """Tell whether a strict server takes the items as they are."""
    ids = _Ids()
    return not any(_repaired(message, ids)[1] for message in _messages(items))


def by(maker: Maker, item: dict[str, Any]) -> dict[str, Any]:
    return item | {"provider_data": maker.note()}


def thought(number: int = 1, maker: Maker = MAKER) -> dict[str, Any]:
    return by(maker, {"type": "reasoning", "id": f"rs_{number}", "summary": []})


def said(number: int = 1, text: str = "hi", maker: Maker = MAKER) -> dict[str, Any]:
    part = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
    made = {"type": "message", "id": f"msg_{number}", "role": "assistant", "content": [part]}
    return by(maker, made)


def call(call_id: object = "1", maker: Maker = MAKER, **changes: Any) -> dict[str, Any]:
    made = {"type": "function_call", "id": f"fc_{call_id}", "call_id": call_id, "name": "outline"}
    return by(maker, made | {"arguments": "{}"} | changes)


def output(call_id: object = "1", text: str = "nothing yet") -> dict[str, Any]:
    return {"type": "function_call_output", "call_id": call_id, "output": text}


def without_maker(items: Items) -> Items:
    return [{k: v for k, v in item.items() if k != "provider_data"} for item in items]


@pytest.mark.parametrize(
    "items",
    [
        [],
        [ASKED, said()],
        [ASKED, thought(), call(), output(), said()],
        [ASKED, thought(), call("1"), call("2"), output("2"), output("1"), thought(2), said()],
        [ASKED, ASKED, said()],
    ],
)
def test_a_model_gets_back_what_it_made_as_it_is_stored(items: Items) -> None:
    assert prepare(items, MAKER) == without_maker(items)
    assert is_regular(items)


def test_encrypted_reasoning_goes_back_to_its_model_alone() -> None:
    secret = thought() | {"encrypted_content": "gAAAA"}
    assert "gAAAA" in json.dumps(prepare([ASKED, secret, said()], MAKER))
    assert "gAAAA" not in json.dumps(prepare([ASKED, secret, said()], None))


@pytest.mark.parametrize("other", OTHERS)
def test_who_made_none_of_it_gets_no_ids_and_no_reasoning(other: Maker | None) -> None:
    items = [ASKED, thought(), call(), output(), said(), ASKED]
    assert prepare(items, other) == [
        ASKED,
        {"type": "function_call", "call_id": "1", "name": "outline", "arguments": "{}"},
        output(),
        {"role": "assistant", "content": "hi"},
        ASKED,
    ]


def test_items_of_unknown_makers_go_without_ids() -> None:
    items = without_maker([ASKED, thought(), call(), output(), said()])
    assert "id" not in json.dumps(prepare(items, MAKER)).replace("call_id", "")


def test_each_message_goes_as_its_maker_allows() -> None:
    other = Maker("b", "responses", "1")
    items = [ASKED, thought(1), said(1), ASKED, thought(2, other), said(2, maker=other)]
    kinds = [item.get("id") for item in prepare(items, other)]
    assert kinds == [None, None, None, "rs_2", "msg_2"]


def test_a_chat_model_gets_its_reasoning_with_what_the_sdk_knows_of_it() -> None:
    kept = thought(maker=CHAT) | {"id": FAKE_RESPONSES_ID}
    items = [ASKED, kept, call(maker=CHAT, arguments="{bad"), output(), said(maker=CHAT)]
    prepared = prepare(items, CHAT)
    assert prepared[1] == kept
    assert json.loads(prepared[2]["arguments"]) == {"malformed_arguments": "{bad"}


IRREGULAR: dict[str, Items] = {
    "a call without output": [ASKED, thought(), call(), said()],
    "a call and its output in two messages": [ASKED, call("1"), ASKED, output("1")],
    "an output without call": [ASKED, output(), said()],
    "an output before its call": [ASKED, output(), call(), said()],
    "empty ids": [ASKED, call(""), output(""), call(None), output(None)],
    "an item's id twice": [ASKED, said(1), ASKED, said(1)],
    "arguments that are a list": [ASKED, call(arguments="[]"), output()],
    "no arguments": [ASKED, call(arguments=None), output()],
    "a name that is none": [ASKED, call(name="run it!"), output()],
    "reasoning at the end": [ASKED, thought()],
    "reasoning at a message's end": [ASKED, thought(), ASKED, said()],
}


@pytest.mark.parametrize("irregular", IRREGULAR)
def test_what_a_strict_server_refuses_is_repaired(irregular: str) -> None:
    items = IRREGULAR[irregular]
    assert not is_regular(items)
    for maker in (MAKER, *OTHERS):
        prepared = prepare(items, maker)
        assert is_regular(prepared)
        assert "rs_" not in json.dumps(prepared)


def test_each_output_stays_with_its_call() -> None:
    items = [ASKED]
    for number in range(3):
        items += [call("call_0", id=f"fc_{number}"), output("call_0", f"of {number}")]
    items += [call("call_0"), call("call_0"), output("call_0", "x"), output("call_0", "y")]
    prepared = prepare(items, MAKER)
    calls = [item["call_id"] for item in prepared if item.get("type") == "function_call"]
    outputs = {item["call_id"]: item["output"] for item in prepared if "output" in item}
    assert len(set(calls)) == 5
    assert [outputs[one] for one in calls] == ["of 0", "of 1", "of 2", "x", "y"]


def test_an_id_that_is_too_long_is_shortened_for_other_models_alone() -> None:
    long = "x" * 500
    items = [ASKED, call(long), output(long)]
    assert prepare(items, MAKER)[1]["call_id"] == long
    shortened = prepare(items, None)
    assert len(shortened[1]["call_id"]) <= 40
    assert shortened[1]["call_id"] == shortened[2]["call_id"]
    assert prepare(items, None) == shortened


def test_tools_that_only_one_api_knows_go_to_their_maker_alone() -> None:
    searched = by(MAKER, {"type": "web_search_call", "id": "ws_1", "status": "completed"})
    custom = by(MAKER, {"type": "custom_tool_call", "call_id": "c", "name": "x", "input": "y"})
    answered = {"type": "custom_tool_call_output", "call_id": "c", "output": "z"}
    items = [ASKED, searched, custom, answered, said()]
    assert prepare(items, MAKER) == without_maker(items)
    assert prepare(items, None) == [ASKED, {"role": "assistant", "content": "hi"}]


MESSAGES: Items = [ASKED, said(1), ASKED, call(), output(), said(2), ASKED, said(3)]


@pytest.mark.parametrize(
    ("limit", "kept"), [(None, 8), (8, 8), (7, 6), (6, 6), (5, 2), (3, 2), (2, 2), (1, 2)]
)
def test_the_limit_keeps_the_newest_whole_messages(limit: int | None, kept: int) -> None:
    assert list(newest_messages(MESSAGES, limit)) == MESSAGES[-kept:]


@pytest.mark.parametrize(("messages", "kept"), [(1, 1), (4, 4), (5, 4), (40, 4)])
def test_the_newest_messages_that_fit_into_the_largest_history_are_kept(
    messages: int, kept: int
) -> None:
    each = LARGEST_HISTORY // 4 - 1000
    items = [one for n in range(messages) for one in (asked(n, each), call(), output(), said(n))]
    history = History(items)
    assert history.for_model(MAKER) == prepare(items[-4 * kept :], MAKER)
    assert history.left_out == 4 * (messages - kept)


def test_the_newest_message_is_kept_whatever_its_size() -> None:
    items = [ASKED, said(1), asked(2, LARGEST_HISTORY), call(), output(), said(2)]
    history = History(items)
    assert history.left_out == 2
    assert history.for_model(MAKER) == prepare(items[2:], MAKER)


def asked(number: int, size: int) -> dict[str, Any]:
    return {"role": "user", "content": f"{number} {'a' * size}"}


def test_ids_outside_of_the_limit_are_taken_too() -> None:
    assert "1" in History(MESSAGES, limit=1).call_ids()


def test_texts_alone_are_prompts_and_replies() -> None:
    items = [ASKED, thought(), call(), output(), said(), ASKED, said(2, ""), ASKED]
    assert History(items).texts() == [ASKED, {"role": "assistant", "content": "hi"}, ASKED, ASKED]


def _stored(seed: int) -> Items:
    chance = random.Random(seed)
    ids: list[Any] = ["", None, "call_0", "call_1", 7, "x" * 100]
    items: Items = []
    for _ in range(chance.randrange(25)):
        one = chance.choice(ids)
        maker = chance.choice([MAKER, CHAT])
        kinds: Items = [
            ASKED,
            thought(chance.randrange(3), maker),
            said(chance.randrange(3), chance.choice(["", "hi"]), maker),
            call(one, maker, arguments=chance.choice(["{}", "{", "[]", None])),
            output(one),
            {"type": "message", "role": "assistant", "content": None},
            {"type": "item_reference", "id": "x"},
        ]
        items.append(chance.choice(kinds))
    return items


def test_whatever_is_stored_what_is_sent_is_regular() -> None:
    for seed in range(200):
        for own in (MAKER, None):
            assert is_regular(prepare(_stored(seed), own)), seed


def _fastest(items: Items) -> float:
    times = []
    for _ in range(5):
        begun = time.process_time()
        prepare(items, MAKER)
        times.append(time.process_time() - begun)
    return min(times)


@pytest.mark.parametrize(
    "make",
    [
        lambda n: [ASKED, thought(n), call(f"c{n}"), output(f"c{n}"), said(n)],
        lambda n: [call(""), output("")],
        lambda n: [call("call_0")],
        lambda n: [thought(n)],
        lambda n: [call(f"call_{n + 5000}"), output(f"call_{n + 5000}"), call(""), output("")],
    ],
)
def test_the_time_grows_with_the_number_of_items(make: Any) -> None:
    few = [item for n in range(200) for item in make(n)]
    many = [item for n in range(2000) for item in make(n)]
    assert _fastest(many) < 40 * _fastest(few)
