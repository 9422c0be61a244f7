"""The session files wiped, cut in half, replaced or on a full disk: the model sees it all still."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.client import Client
from tests.faults.cluster import Cluster
from tests.faults.prompts import add_agent, prompt
from tests.services import WorkerProcess, wait_until

Spoiling = Callable[[Path, Path], None]


def wipe(folder: Path, _earlier: Path) -> None:
    shutil.rmtree(folder)


def wipe_but_the_notes(folder: Path, _earlier: Path) -> None:
    for path in folder.glob("*.db*"):
        path.unlink()


def lose_the_notes(folder: Path, _earlier: Path) -> None:
    for path in folder.glob("*.note"):
        path.unlink()


def cut_in_the_middle(folder: Path, _earlier: Path) -> None:
    for path in folder.glob("*.db"):
        os.truncate(path, path.stat().st_size // 2)


def overwrite_the_middle(folder: Path, _earlier: Path) -> None:
    for path in folder.glob("*.db"):
        with path.open("r+b") as file:
            file.seek(path.stat().st_size // 2)
            file.write(os.urandom(4096))


def put_nonsense_in_their_place(folder: Path, _earlier: Path) -> None:
    for path in folder.glob("*.db"):
        path.write_bytes(b"not a database" * 1000)


def replace_by_older_ones(folder: Path, earlier: Path) -> None:
    shutil.copytree(earlier, folder, dirs_exist_ok=True)


def replace_by_those_of_others(folder: Path, _earlier: Path) -> None:
    first, second = sorted(folder.glob("*.db"))[:2]
    content = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(content)


SPOILED = [
    wipe,
    wipe_but_the_notes,
    lose_the_notes,
    cut_in_the_middle,
    overwrite_the_middle,
    put_nonsense_in_their_place,
    replace_by_older_ones,
    replace_by_those_of_others,
]


def are_written(cluster: Cluster, sessions: list[str]) -> bool:
    """Tell whether the files of these sessions are as the database says."""
    return not any(path.name.startswith(tuple(sessions)) for path in cluster.stale())


@pytest.fixture(scope="module")
def conversations(shared_cluster: Cluster) -> Iterator[tuple[Cluster, WorkerProcess]]:
    """Give a worker that all tests here spoil."""
    yield shared_cluster, shared_cluster.worker()
    shared_cluster.kill_workers()


@pytest.mark.parametrize("spoil", SPOILED, ids=lambda spoil: spoil.__name__)
def test_spoiled_files_are_made_anew_from_the_database(
    conversations: tuple[Cluster, WorkerProcess], tmp_path: Path, spoil: Spoiling
) -> None:
    cluster, worker = conversations
    client, folder = cluster.client(), cluster.data(worker)
    sessions = [client.session() for _ in range(2)]
    for session in sessions:
        assert client.ask(session, prompt(add_agent("helper"))).status == 200
    wait_until(lambda: are_written(cluster, sessions), "the files to be written")
    shutil.copytree(folder, tmp_path / "earlier")
    for session in sessions:
        assert client.ask(session, prompt("say " + "x" * 9000)).status == 200
    wait_until(lambda: are_written(cluster, sessions), "the files to be written")
    worker.kill()  # while a file is open, SQLite knows much of it by heart
    spoil(folder, tmp_path / "earlier")
    worker.start()
    for session in sessions:
        sees_everything(cluster, client, session)
    cluster.check(client)


def test_files_that_vanish_while_the_model_talks_come_back(
    conversations: tuple[Cluster, WorkerProcess],
) -> None:
    cluster, worker = conversations
    client = cluster.client()
    session = client.session()
    assert client.ask(session, prompt(add_agent("helper"))).status == 200
    text = prompt("delay 1")
    asked = client.asking(session, text)
    cluster.model_called(text)
    shutil.rmtree(cluster.data(worker))
    assert asked.result(30).body["reply"].startswith("echo 5: ")
    sees_everything(cluster, client, session)
    cluster.check(client)


def sees_everything(cluster: Cluster, client: Client, session: str) -> None:
    """Ask, and compare what the model was sent with the database."""
    remembered = [item["item"] for item in client.get(f"/sessions/{session}/items")]
    text = prompt()
    assert client.ask(session, text).status == 200
    (call,) = cluster.stub.requests(text)
    *before, own = call["body"]["input"]
    assert [bare(item) for item in before] == [bare(item) for item in remembered]
    assert own["content"] == text


def bare(item: dict[str, object]) -> dict[str, object]:
    """Return an item without the note of its maker, which is stored and not sent."""
    return {
        name: value for name, value in item.items() if value is not None and name != "provider_data"
    }


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """Give a folder on a disk of 256 kB."""
    if os.geteuid() != 0:
        pytest.skip("a full disk needs a tmpfs, and mounting one needs root")
    folder = tmp_path / "tiny"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    if subprocess.run(mount, check=False, capture_output=True).returncode != 0:
        pytest.skip("a full disk needs a tmpfs, and this system does not let one be mounted")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_on_a_full_disk_messages_are_answered_from_memory_in_ram(
    cluster: Cluster, tiny_disk: Path
) -> None:
    cluster.kill_workers()  # none with a larger disk
    worker = cluster.worker(VIBECODER_DATA_DIR=str(tiny_disk))
    client = cluster.client()
    session = client.session()
    assert client.ask(session, prompt("say " + "x" * 20_000)).status == 200
    filler = tiny_disk / "filler"
    with pytest.raises(OSError, match="No space left"):
        filler.write_bytes(b"x" * (1 << 20))
    for _ in range(3):
        sees_everything(cluster, client, session)
    other = client.session()  # which has no file yet, and finds no room for one
    for _ in range(2):
        sees_everything(cluster, client, other)
    assert "memory file" in worker.output()
    filler.unlink()
    for one in (session, other):
        sees_everything(cluster, client, one)
    wait_until(lambda: not cluster.stale(), "the files to be written again")
    cluster.check(client)
