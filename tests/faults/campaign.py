"""`python -m tests.faults.campaign --minutes N --seed S`: harm at random under load, then count.

Workers, API processes and Redis are killed while 50 clients with keys send and insist. Afterwards
every accepted message must have ended, once, in order, and be told the same by the database, the
session files and the clients. A violation prints the seed and the message's history.
"""

import argparse
import json
import random
import statistics
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from uuid import uuid4

from shared.tables import UNFINISHED, AttemptOutcome, MessageStatus
from tests.faults.chaos import Chaos
from tests.faults.cluster import Cluster
from tests.faults.invariants import Record, violations
from tests.faults.load import LoadedClient, open_sessions
from tests.faults.memories import stale_files, wrong_memories
from tests.faults.recoveries import recoveries
from tests.services import ROOT, PostgresServer, RedisServer, migrate
from tests.stub_process import StubOpenAI

WORKERS, APIS, CLIENTS, SESSIONS = 3, 2, 50, 40
_SAME_S = 0.5  # a kill takes a moment, from its beginning to the process' new start
EVIDENCE = ROOT / "validated_test_evidence" / "faults"


@dataclass(frozen=True)
class Figures:
    """What a campaign counted; times in seconds.

    `recovery` is from a worker's death to the moment at which another worker had its message;
    `alone`: nothing else was harmed in between. `answer` is from a client's first POST of a prompt
    to its end.
    """

    minutes: float
    seed: int
    harm: dict[str, int]
    cut_requests: int
    accepted: int
    completed: int
    failed: int
    lost: int
    doubled: int
    violations: int
    attempts_lost: int
    recovery_p50: float
    recovery_max: float
    recovery_alone_p50: float
    recovery_alone_max: float
    answer_p50: float
    answer_max: float
    stale_files_healed: int


def main() -> None:
    """Run a campaign; exit with 1 when anything was violated."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--minutes", type=float, default=2)
    parser.add_argument("--seed", type=int, default=None, help="of the harm and of the load")
    parser.add_argument("--evidence", action="store_true", help="write the figures")
    options = parser.parse_args()
    seed = random.randrange(1 << 31) if options.seed is None else options.seed
    print(f"campaign of {options.minutes:g} minutes, seed {seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="vibecoder-campaign-") as folder:
        figures, found = _run(Path(folder), options.minutes, seed)
    for sentence in found:
        print(f"\nVIOLATION (seed {seed}): {sentence}")
    print(_markdown(figures))
    if options.evidence:
        _write(figures)
    sys.exit(1 if found else 0)


def _run(folder: Path, minutes: float, seed: int) -> tuple[Figures, list[str]]:
    with (
        PostgresServer(folder) as postgres,
        RedisServer(folder) as redis,
        StubOpenAI(record=1) as stub,
    ):
        url = postgres.create_database()
        migrate(url)
        cluster = Cluster(folder, url, redis.url, stub, f"campaign-{uuid4().hex[:8]}")
        try:
            _start(cluster)
            return _harm(cluster, redis, minutes, seed)
        finally:
            cluster.close()


def _start(cluster: Cluster) -> None:
    services = [cluster.make_api() for _ in range(APIS)]
    everything = [*services, *(cluster.make_worker() for _ in range(WORKERS))]
    for service in everything:
        service.launch()
    for service in everything:
        service.wait_ready()


def _harm(
    cluster: Cluster, redis: RedisServer, minutes: float, seed: int
) -> tuple[Figures, list[str]]:
    urls = [api.url for api in cluster.apis]
    sessions = open_sessions(urls, SESSIONS)
    until = time.monotonic() + minutes * 60
    clients = [LoadedClient(n, urls, sessions, seed=seed, until=until) for n in range(CLIENTS)]
    chaos = Chaos(cluster, redis, seed=seed)
    for client in clients:
        client.start()
    chaos.run(until=until)
    for client in clients:
        client.join()
        if client.error:
            raise client.error
    return _judge(cluster, clients, chaos, minutes, seed)


def _judge(
    cluster: Cluster, clients: list[LoadedClient], chaos: Chaos, minutes: float, seed: int
) -> tuple[Figures, list[str]]:
    record = cluster.record()
    sent = [one for client in clients for one in client.client.sent]
    folders = [cluster.data(worker) for worker in cluster.workers]
    stale = len(stale_files(record, folders))
    found = violations(record, sent)
    found += wrong_memories(record, cluster.database_url, folders)
    found += [f"no end for a client: {one}" for client in clients for one in client.unended]
    pids = {worker.id: worker.pid for worker in record.workers.values()}
    killed = {one: chaos.killed[pid] for one, pid in pids.items() if pid in chaos.killed}
    recovered = recoveries(record, killed)
    every = [taken_at - killed_at for killed_at, taken_at in recovered] or [0.0]
    alone = [
        taken_at - killed_at
        for killed_at, taken_at in recovered
        if not any(killed_at + _SAME_S < time < taken_at for time in chaos.times)
    ] or [0.0]
    seconds = [one for client in clients for one in client.seconds]
    statuses = [message.status for message in record.messages.values()]
    figures = Figures(
        minutes=minutes,
        seed=seed,
        harm=dict(chaos.done),
        cut_requests=sum(one.cuts for one in sent),
        accepted=len(statuses),
        completed=statuses.count(MessageStatus.COMPLETED),
        failed=statuses.count(MessageStatus.FAILED),
        lost=sum(status in UNFINISHED for status in statuses),
        doubled=sum(len(one.message_ids) > 1 for one in sent) + len(statuses) - len(_keys(record)),
        violations=len(found),
        attempts_lost=sum(a.outcome == AttemptOutcome.LOST for a in record.attempts),
        recovery_p50=round(statistics.median(every), 2),
        recovery_max=round(max(every), 2),
        recovery_alone_p50=round(statistics.median(alone), 2),
        recovery_alone_max=round(max(alone), 2),
        answer_p50=round(statistics.median(seconds), 2),
        answer_max=round(max(seconds), 2),
        stale_files_healed=stale,
    )
    return figures, found


def _keys(record: Record) -> set[object]:
    return {(m.session_id, m.content) for m in record.messages.values()}


def _markdown(figures: Figures) -> str:
    rows = [f"| {name.replace('_', ' ')} | {value} |" for name, value in asdict(figures).items()]
    return "\n".join(["", "| figure | value |", "|---|---|", *rows])


def _write(figures: Figures) -> None:
    EVIDENCE.mkdir(parents=True, exist_ok=True)
    command = f"python -m tests.faults.campaign --minutes {figures.minutes:g} --seed {figures.seed}"
    what = f"{WORKERS} workers, {APIS} API processes, {CLIENTS} clients, {SESSIONS} sessions"
    title = f"# Fault campaign\n\n`{command}`: {what}, default settings.\n"
    (EVIDENCE / "campaign.json").write_text(json.dumps(asdict(figures), indent=2) + "\n")
    (EVIDENCE / "campaign.md").write_text(f"{title}{_markdown(figures)}\n")


if __name__ == "__main__":
    main()
