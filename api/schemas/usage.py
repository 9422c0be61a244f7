"""Schemas of usage: tokens and money of model calls."""

import datetime as dt
import re
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, ConfigDict, Field, StringConstraints

from api.schemas.common import TRACE_ID, Answer, Traced
from shared.prices import CURRENCY, Prices, in_digits
from shared.store.usage import Usage

EPOCH = dt.date(1970, 1, 1)

_USD = r"^[0-9]{1,9}(\.[0-9]{1,6})?$"


def _is_money(value: object) -> object:
    if isinstance(value, str) and re.fullmatch(_USD, value):
        return value
    raise ValueError('It must be dollars in a string like "25.00", with at most 6 decimals.')


def _is_number(value: object) -> object:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    raise ValueError("It must be a whole number of tokens.")


BudgetTokens = Annotated[int, Field(ge=0, le=10**15), BeforeValidator(_is_number)]
BudgetUsd = Annotated[str, StringConstraints(pattern=_USD), BeforeValidator(_is_money)]

BUDGET_TOKENS = Field(
    None,
    description="Input and output tokens that may be spent on it, from its beginning on, failed "
    "attempts included; null: no limit.",
    examples=[1_000_000],
)
BUDGET_USD = Field(
    None,
    description="US dollars that may be spent on it, as a decimal string, since numbers in JSON "
    "are not exact; null: no limit.",
    examples=["25.00"],
)

_COUNTS: dict[str, Any] = {
    "calls": 2,
    "uncounted_calls": 0,
    "input_tokens": 812,
    "cached_tokens": 0,
    "output_tokens": 96,
    "reasoning_tokens": 0,
}
_EXAMPLE: dict[str, Any] = {
    "days": [{"day": "2026-01-31", "model": "gpt-5.1", **_COUNTS, "cost": "0.001975"}],
    "totals": {**_COUNTS, "cost": "0.001975", "unpriced_calls": 0},
    "currency": "USD",
    "trace_id": TRACE_ID,
}


class _Counts(Answer):
    calls: int = Field(description="Calls of the model, repeated and failed ones included.")
    uncounted_calls: int = Field(
        description="Those of them of whose tokens the model's server said nothing: they failed, "
        "were cut off, or it does not count. With any, the tokens and the cost are not all."
    )
    input_tokens: int
    cached_tokens: int = Field(description="Input tokens that the server had in its cache.")
    output_tokens: int
    reasoning_tokens: int = Field(description="Output tokens of hidden reasoning.")


class _Row(Answer):
    day: dt.date = Field(description="In UTC; of a call, when it ended.")
    model: str = Field(description="As the model's server names it.", examples=["gpt-5.1"])


class DayUsageOut(_Counts, _Row):
    """The calls of one model on one day."""

    cost: str | None = Field(description="Decimal; null: the model's price is not known.")


class TotalUsageOut(_Counts):
    """All of them together."""

    cost: str = Field(description="Decimal; without the `unpriced_calls`.")
    unpriced_calls: int = Field(
        description="Calls of models whose price is not known: with any, `cost` is not all."
    )


class UsageOut(Traced):
    """Model calls of all attempts, lost and failed ones too, with what they cost by list price."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    days: list[DayUsageOut] = Field(description="By day and model.")
    totals: TotalUsageOut
    currency: Literal["USD"] = CURRENCY

    @classmethod
    def of(cls, found: Sequence[Usage], prices: Prices, *, trace_id: str) -> Self:
        """Show sums with today's prices."""
        costs = [prices.cost(part.model, part) for part in found]
        known = [cost for cost in costs if cost is not None]
        unpriced = (part.calls for part, cost in zip(found, costs, strict=True) if cost is None)
        return cls(
            days=[_day(part, cost) for part, cost in zip(found, costs, strict=True)],
            totals=TotalUsageOut(
                cost=in_digits(sum(known, Decimal(0))),
                unpriced_calls=sum(unpriced),
                **_totals(found),
            ),
            trace_id=trace_id,
        )


def _day(part: Usage, cost: Decimal | None) -> DayUsageOut:
    return DayUsageOut(
        day=EPOCH + dt.timedelta(days=part.day),
        model=part.model,
        cost=None if cost is None else in_digits(cost),
        **_totals([part]),
    )


def _totals(parts: Iterable[Usage]) -> dict[str, int]:
    found = list(parts)
    return {name: sum(getattr(part, name) for part in found) for name in _Counts.model_fields}
