"""The arithmetic of docs/capacity.md is right, and the page says what it gives."""

import pytest

from tests.benchmarks import capacity
from tests.benchmarks.costs import Costs
from tests.benchmarks.limits import limits
from tests.benchmarks.simulation import Slice, simulate
from tests.benchmarks.sizing import cell_rate, first, size, slots

COSTS = Costs.read()


def test_the_page_says_what_the_arithmetic_gives() -> None:
    page = capacity.PAGE.read_text()
    assert capacity.filled(page, capacity.computed(COSTS)) == page


def test_slots_are_the_runs_at_once_and_three_deviations() -> None:
    assert slots(5) == 130  # 100 runs of 20 s, and three times ten


def test_ten_times_the_messages_make_ten_times_the_rows() -> None:
    few, many = (size(rate, COSTS, slots_each=600) for rate in (10, 100))
    assert few
    assert many
    assert many.stored_gb_day == pytest.approx(10 * few.stored_gb_day)


def test_no_number_of_api_processes_hears_of_everything() -> None:
    deaf = 1e6 / COSTS.heard_us
    assert size(deaf, COSTS, slots_each=600) is None


def test_a_limit_is_the_first_rate_that_passes_it() -> None:
    assert first(lambda rate: rate >= 1234) == 1234
    rates = [limit.rate for limit in limits(COSTS)]
    assert rates == sorted(rates)


def test_one_service_carries_what_its_redis_and_its_database_do() -> None:
    within = size(cell_rate(COSTS), COSTS, slots_each=600)
    assert within
    assert within.redis <= 0.6


def test_the_simulated_queue_is_as_long_as_theory_says() -> None:
    # a core that is half busy, served at random: who comes stays for twice the service time
    part = Slice(50, 1, 1, 1000, 1, api_s=1e-9, worker_s=1e-9, postgres_s=0.01, model_s=0.001)
    seen = simulate(part, warm_up_s=5, seconds=100)
    assert seen.postgres == pytest.approx(0.5, rel=0.05)
    assert seen.waited == 0
    assert sum(seen.added_s) / len(seen.added_s) == pytest.approx(0.02, rel=0.1)


def test_a_simulated_service_without_free_slots_lets_messages_wait() -> None:
    part = Slice(10, 1, 1, 5, 1, api_s=0.001, worker_s=0.001, postgres_s=0.001, model_s=1)
    assert simulate(part, warm_up_s=5, seconds=20).waited > 0.5
