"""Budgets: what a session and its project may spend, looked at before each call of the model."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import partial

from shared.database import Database, until_done
from shared.errors import Failure, FailureCode
from shared.prices import CURRENCY, Prices, in_digits
from shared.store import usage
from shared.store.records import counted
from shared.store.types import Call, Claim
from shared.store.usage import Usage
from worker.failures import OverBudget

_DATABASE_AWAY_S = 60


@dataclass(frozen=True)
class _Limit:
    """What a session or a project may spend."""

    name: str
    tokens: int | None
    usd: str | None


class Budget:
    """What one attempt may still spend.

    What all other attempts spent is read anew each time, as far as it is stored: runs at the same
    time learn of each other's calls a second or two later. A call that has begun is not cut off.
    """

    def __init__(self, claim: Claim, database: Database, prices: Prices) -> None:
        self._claim = claim
        self._database = database
        self._prices = prices
        self._session = _Limit("session", claim.session_budget_tokens, claim.session_budget_usd)
        self._project = _Limit("project", claim.project_budget_tokens, claim.project_budget_usd)

    async def check(self, calls: Sequence[Call]) -> None:
        """Let another call of the model begin, after these of the same attempt.

        Raises:
            OverBudget: a budget is used up, or it is unknown whether it is.
        """
        own = [_usage_of(call) for call in calls]
        for limit in (self._session, self._project):
            if limit.tokens is not None or limit.usd is not None:
                read = partial(self._others, limit)
                others = await until_done(read, limit_s=_DATABASE_AWAY_S)
                # in a thread: the first cost of a process takes half a second
                await asyncio.to_thread(self._compare, limit, [*others, *own])

    async def _others(self, limit: _Limit) -> Sequence[Usage]:
        claim = self._claim
        own = (claim.message_id, claim.attempt)
        async with self._database.read() as db:
            if limit is self._session:
                return await usage.of_session(db, claim.session_id, but=own)
            return await usage.of_project(db, claim.project_id, but=own)

    def _compare(self, limit: _Limit, spent: Sequence[Usage]) -> None:
        if unreported := {part.model for part in spent if part.unreported_calls}:
            raise _not_reported(limit.name, sorted(unreported))
        tokens = sum(part.input_tokens + part.output_tokens for part in spent)
        if limit.tokens is not None and tokens >= limit.tokens:
            raise _used_up(limit.name, f"{limit.tokens} tokens", f"{tokens}")
        if limit.usd is not None:
            cost = self._cost(limit, spent)
            if cost >= Decimal(limit.usd):
                raise _used_up(
                    limit.name, f"{limit.usd} {CURRENCY}", f"{in_digits(cost)} {CURRENCY}"
                )

    def _cost(self, limit: _Limit, spent: Sequence[Usage]) -> Decimal:
        used = {part.model for part in spent if part.input_tokens or part.output_tokens}
        unpriced = {name for name in used | {self._claim.model} if not self._prices.has(name)}
        if unpriced:
            raise _not_priced(limit.name, sorted(unpriced))
        costs = (self._prices.cost(part.model, part) for part in spent)
        return sum((cost for cost in costs if cost is not None), Decimal(0))


def budget_of(claim: Claim, database: Database, prices: Prices) -> Budget | None:
    """Return the budget of a claim; None: neither its session nor its project has one."""
    limits = (
        claim.session_budget_tokens,
        claim.session_budget_usd,
        claim.project_budget_tokens,
        claim.project_budget_usd,
    )
    return Budget(claim, database, prices) if any(limit is not None for limit in limits) else None


def _usage_of(call: Call) -> Usage:
    sums = {name: count or 0 for name, count in counted(call.usage, call.ended_at).items()}
    uncounted = call.usage is None
    return Usage(
        model=call.model,
        calls=1,
        uncounted_calls=int(uncounted),
        unreported_calls=int(uncounted and call.error is None),
        **sums,
    )


def _used_up(name: str, budget: str, spent: str) -> OverBudget:
    return OverBudget(
        Failure(
            FailureCode.BUDGET_EXCEEDED,
            f"The {name}'s budget of {budget} is used up: {spent} spent. Raise it with "
            f"PATCH /{name}s/{{id}}, then send the message again with a new key.",
            retryable=False,
        )
    )


def _not_reported(name: str, models: Sequence[str]) -> OverBudget:
    return OverBudget(
        Failure(
            FailureCode.USAGE_UNKNOWN,
            f"The {name} has a budget that cannot be held: the server of {', '.join(models)} does "
            f"not say what its calls use. Remove the budget with PATCH /{name}s/{{id}}, or name a "
            f"model whose usage is known in a new {name}.",
            retryable=False,
        )
    )


def _not_priced(name: str, models: Sequence[str]) -> OverBudget:
    return OverBudget(
        Failure(
            FailureCode.MODEL_NOT_PRICED,
            f"The {name} has a budget in {CURRENCY}, and no price is known of {', '.join(models)}. "
            "Add it to the file that VIBECODER_PRICES names, name another model, or set the "
            "budget in tokens.",
            retryable=False,
        )
    )
