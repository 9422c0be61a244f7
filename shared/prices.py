"""The cost of models, in USD: OpenAI's list prices, and over them the prices of the user's file.

Money is decimal, never a float. A model that neither of them has costs None: a wrong price would
be worse.
"""

import re
from dataclasses import dataclass
from decimal import Decimal
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Final, Protocol

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from shared.errors import SettingsError
from shared.settings import OFFLINE

CURRENCY: Final = "USD"
_PER = 1_000_000
_SNAPSHOT = re.compile(r"(.+)-\d{4}-\d{2}-\d{2}", re.ASCII)

_Money = Annotated[Decimal, Field(ge=0, allow_inf_nan=False)]


class Tokens(Protocol):
    """Numbers of tokens; cached ones are a part of the input, reasoning a part of the output."""

    @property
    def input_tokens(self) -> int:
        """Count the tokens that the model read."""

    @property
    def cached_tokens(self) -> int:
        """Count the input tokens that the server had in its cache."""

    @property
    def output_tokens(self) -> int:
        """Count the tokens that the model wrote."""


class _Price(BaseModel):
    """USD per million tokens; without `cached_input` cached tokens cost as much as others."""

    model_config = ConfigDict(extra="forbid")

    input: _Money
    cached_input: _Money | None = None
    output: _Money


_OWN: dict[str, _Price | None] = {OFFLINE: _Price(input=Decimal(0), output=Decimal(0))}


class _Table(BaseModel):
    """A file of prices; fields besides `models` are notes for people."""

    models: dict[str, _Price | None]


def in_digits(amount: Decimal) -> str:
    """Write an amount as it is, without an exponent or idle zeros."""
    return f"{amount.normalize():f}"


@dataclass(frozen=True)
class Prices:
    """The prices of models: the list prices, but for the models of `_own` (None: no price)."""

    _own: dict[str, _Price | None]

    def has(self, model: str) -> bool:
        """Tell whether a model has a price."""
        return self._price(model) is not None

    def cost(self, model: str, tokens: Tokens) -> Decimal | None:
        """Compute the exact cost of tokens; None: the model has no price.

        The first call in a process takes half a second: call it in a thread.
        """
        price = self._price(model)
        if price is None:
            return None
        cached = min(tokens.cached_tokens, tokens.input_tokens)
        reread = price.input if price.cached_input is None else price.cached_input
        read = (tokens.input_tokens - cached) * price.input + cached * reread
        return (read + tokens.output_tokens * price.output) / _PER

    def _price(self, model: str) -> _Price | None:
        """Look a model up; a dated snapshot costs as much as its base name in the user's file."""
        dated = _SNAPSHOT.fullmatch(model)
        for name in (model, dated[1] if dated else model):
            if name in self._own:
                return self._own[name]
        return _list_price(model)


def _list_price(model: str) -> _Price | None:
    # not above: it takes half a second and 27 MB, and few processes are ever asked for a cost
    genai_prices = import_module("genai_prices")
    try:
        found = genai_prices.calc_price(genai_prices.Usage(), model, provider_id="openai")
    except LookupError:
        return None
    price = found.model_price
    if price.input_mtok is None or price.output_mtok is None:  # not priced by tokens
        return None
    return _Price(
        input=_base(price.input_mtok),
        cached_input=_base(price.cache_read_mtok),
        output=_base(price.output_mtok),
    )


def _base(price: Any) -> Any:
    """Return the price of short prompts: a sum over many calls says nothing of their lengths."""
    return getattr(price, "base", price)


def load_prices(path: Path | None) -> Prices:
    """Read the user's file, if there is one.

    Raises:
        SettingsError: the file cannot be read, or is no table of prices.
    """
    return Prices(_OWN if path is None else _OWN | _read(path).models)


def _read(path: Path) -> _Table:
    try:
        return _Table.model_validate_json(path.read_bytes())
    except OSError as error:
        raise SettingsError(f"VIBECODER_PRICES={path} cannot be read: {error.strerror}.") from None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise SettingsError(
            f"VIBECODER_PRICES={path} is no table of prices: {place}: {first['msg']}. It must look "
            'like {"models": {"my-model": {"input": "1.25", "cached_input": "0.125", "output": '
            '"10"}}}, in USD per million tokens.'
        ) from None
