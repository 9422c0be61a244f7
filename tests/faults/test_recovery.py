"""What a worker's death costs its client, with the settings as they are."""

from tests.faults.cluster import QUICK, Cluster
from tests.faults.prompts import add_agent, prompt

MOST_S = 10.0
TURN_S = "delay 1"


def test_a_worker_killed_in_the_middle_of_a_run_costs_its_client_at_most_10_s(
    cluster: Cluster,
) -> None:
    defaults = dict.fromkeys(QUICK, "")  # empty: as if it were not set
    client = cluster.client()
    killed = cluster.worker(**defaults)
    fresh = client.ask(client.session(), prompt(add_agent("helper"), TURN_S)).seconds
    session, text = client.session(), prompt(add_agent("helper"), TURN_S)
    asked = client.asking(session, text)
    cluster.model_called(text, 2)  # the second turn of two has begun
    killed.kill()
    cluster.worker(**defaults)  # is there long before the lease has run out
    answer = asked.result(60)
    cost = answer.seconds - fresh
    print(f"a fresh run took {fresh:.2f} s, this one {answer.seconds:.2f} s: {cost:.2f} s more")
    assert cluster.outcomes(answer.message_id) == ["lost", "completed"]
    assert cost <= MOST_S
    cluster.check(client)
