"""Prices: exact, by name or by a snapshot's base name, and none rather than a wrong one."""

from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import pytest

from shared.errors import SettingsError
from shared.prices import load_prices


@dataclass
class Used:
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0


MILLION = Used(input_tokens=1_000_000)


def test_a_cost_is_exact_and_cached_tokens_are_a_part_of_the_input() -> None:
    used = Used(input_tokens=1001, cached_tokens=1, output_tokens=3)
    # 1000 * 1.25 + 1 * 0.125 + 3 * 10, for a million each
    assert load_prices(None).cost("gpt-5.1", used) == Decimal("0.001280125")


def test_more_cached_than_read_tokens_cost_nothing_less_than_nothing() -> None:
    cost = load_prices(None).cost("gpt-4.1", Used(input_tokens=10, cached_tokens=1000))
    assert cost == Decimal("0.000005")


def test_the_built_in_model_costs_nothing() -> None:
    assert load_prices(None).cost("offline", MILLION) == 0


@pytest.mark.parametrize(
    ("model", "cost"),
    [
        ("gpt-4.1", "2"),
        ("gpt-4.1-2025-04-14", "2"),
        ("gpt-4.1-mini-2025-04-14", "0.4"),
        ("gpt-4.1-turbo", None),
        ("gpt-4.1-2025-04", None),
        ("gpt-4.1-2025-04-14-2025-04-14", None),
        ("ft:gpt-4.1-2025-04-14:us::1", None),
        ("gpt-4o-2024-08-06", "2.5"),
        ("gpt-4o-2024-05-13", "5"),
        ("", None),
    ],
)
def test_a_snapshot_costs_what_its_base_name_does_and_what_is_unknown_has_no_price(
    model: str, cost: str | None
) -> None:
    prices = load_prices(None)
    assert prices.has(model) == (cost is not None)
    assert prices.cost(model, MILLION) == (None if cost is None else Decimal(cost))


def test_a_file_adds_prices_replaces_them_and_takes_them_away(tmp_path: Path) -> None:
    file = tmp_path / "prices.json"
    file.write_text(
        '{"note": "ours", "models": {"mine": {"input": 0.1, "output": "1"}, "gpt-5": null, '
        '"gpt-4.1": {"input": "3", "output": 4}}}'
    )
    prices = load_prices(file)
    mine = Used(input_tokens=1_000_000, cached_tokens=500_000)
    assert prices.cost("mine", mine) == Decimal("0.1"), "cached as dear as not"
    assert prices.cost("gpt-4.1", MILLION) == 3
    assert prices.cost("gpt-4.1-2025-04-14", MILLION) == 3
    assert not prices.has("gpt-5")
    assert prices.has("gpt-5.1")


def test_a_price_that_rises_with_the_prompt_is_that_of_short_prompts() -> None:
    cost = load_prices(None).cost("gpt-5.4", MILLION)
    assert cost == load_prices(None).cost("gpt-5.4-2026-03-05", MILLION)
    assert cost == Decimal("2.5")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "cannot be read: No such file"),
        ("{", "is no table of prices: the file: "),
        ("[]", "is no table of prices: the file: "),
        ('{"prices": {}}', "models: Field required"),
        ('{"models": {"a": {"input": 1}}}', "models.a.output: Field required"),
        ('{"models": {"a": {"input": -1, "output": 1}}}', "models.a.input: "),
        ('{"models": {"a": {"input": "NaN", "output": 1}}}', "models.a.input: "),
        ('{"models": {"a": {"input": 1, "output": 1, "cached": 1}}}', "models.a.cached: "),
    ],
)
def test_a_wrong_file_is_refused_with_a_sentence(
    tmp_path: Path, content: str | None, says: str
) -> None:
    file = tmp_path / "prices.json"
    if content is not None:
        file.write_text(content)
    with pytest.raises(SettingsError) as refused:
        load_prices(file)
    assert str(refused.value).startswith(f"VIBECODER_PRICES={file} ")
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)
