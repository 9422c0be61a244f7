"""Columns that more than one table has."""

from sqlalchemy import BigInteger, String
from sqlalchemy.orm import Mapped, mapped_column


class Budgeted:
    """What may be spent on all that is below; None: as much as anybody likes. USD as decimal text.

    A float would not hold cents, and SQLite has no decimals.
    """

    budget_tokens: Mapped[int | None] = mapped_column(BigInteger)
    budget_usd: Mapped[str | None] = mapped_column(String(20))


class Counted:
    """Tokens; cached ones are a part of the input, reasoning a part of the output."""

    input_tokens: Mapped[int | None] = mapped_column(BigInteger)
    cached_tokens: Mapped[int | None] = mapped_column(BigInteger)
    output_tokens: Mapped[int | None] = mapped_column(BigInteger)
    reasoning_tokens: Mapped[int | None] = mapped_column(BigInteger)
