"""What models cost, in USD: a small table of list prices, and what the user says instead.

Money is decimal, never a float. A model that is not in the table has no price: a wrong one would
be worse.
"""

import re
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Final, Protocol

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from shared.errors import SettingsError

CURRENCY: Final = "USD"
_LIST_PRICES = Path(__file__).with_name("prices.json")
_PER = 1_000_000
_SNAPSHOT = re.compile(r"(.+)-\d{4}-\d{2}-\d{2}", re.ASCII)

_Money = Annotated[Decimal, Field(ge=0, allow_inf_nan=False)]


class Tokens(Protocol):
    """What was used; cached tokens are a part of the input, reasoning a part of the output."""

    @property
    def input_tokens(self) -> int:
        """Count what the model read."""

    @property
    def cached_tokens(self) -> int:
        """Count what of it the server had in its cache."""

    @property
    def output_tokens(self) -> int:
        """Count what the model wrote."""


class _Price(BaseModel):
    """USD per million tokens; without `cached_input` cached tokens cost as much as others."""

    model_config = ConfigDict(extra="forbid")

    input: _Money
    cached_input: _Money | None = None
    output: _Money


class _Table(BaseModel):
    """A file of prices; what it says besides `models` is for people."""

    models: dict[str, _Price | None]


def in_digits(amount: Decimal) -> str:
    """Write an amount as it is, without an exponent or idle zeros."""
    return f"{amount.normalize():f}"


@dataclass(frozen=True)
class Prices:
    """The prices of models by name; None: that very model has none."""

    _models: dict[str, _Price | None]

    def has(self, model: str) -> bool:
        """Tell whether a model has a price."""
        return self._price(model) is not None

    def cost(self, model: str, tokens: Tokens) -> Decimal | None:
        """Say what tokens of a model cost, exactly; None: it has no price."""
        price = self._price(model)
        if price is None:
            return None
        cached = min(tokens.cached_tokens, tokens.input_tokens)
        reread = price.input if price.cached_input is None else price.cached_input
        read = (tokens.input_tokens - cached) * price.input + cached * reread
        return (read + tokens.output_tokens * price.output) / _PER

    def _price(self, model: str) -> _Price | None:
        """Look a model up; a dated snapshot that is not listed costs what its base name does."""
        if model in self._models:
            return self._models[model]
        dated = _SNAPSHOT.fullmatch(model)
        return self._models.get(dated[1]) if dated else None


def load_prices(path: Path | None) -> Prices:
    """Read the list prices, and over them the user's file, if there is one.

    Raises:
        SettingsError: the file cannot be read, or is no table of prices.
    """
    listed = _read(_LIST_PRICES).models
    return Prices(listed if path is None else listed | _read(path).models)


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
