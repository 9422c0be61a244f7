"""A service as a child process: started, awaited, stopped, killed, and never left behind."""

import atexit
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from tests.services.forks import Forked

ROOT = Path(__file__).resolve().parents[2]
START_TIMEOUT_S = 120
STOP_TIMEOUT_S = 60


def free_port() -> int:
    """Return a loopback port that nothing listens on.

    It is not one of those that the system gives to outgoing connections: one of them could take
    it before the service does.
    """
    while True:
        port = secrets.choice(range(10_000, 32_000))
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def clean_environment(settings: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return this process's environment without settings of the service, and these instead."""
    foreign = ("VIBECODER_", "OPENAI_", "OTEL_", "PG", "CELERY_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    return (
        kept | {"NO_PROXY": "127.0.0.1,localhost", "PYTHONUNBUFFERED": "1"} | dict(settings or {})
    )


class Service:
    """A child process with a log; `command` and `ready` are what a kind of service adds."""

    started: ClassVar[list["Service"]] = []
    """Services that have been started, the present test's and those that still run."""

    logs: ClassVar[set[Path]] = set()
    """What all services of this run have written so far."""

    forked: ClassVar[bool] = False
    """Whether processes of the service are forked from one that has its libraries: in tests."""

    may_start: ClassVar[bool] = True
    """Whether the test that runs is one of those that start services."""

    module: ClassVar[str]
    """What `python -m` runs, unless `command` says something else."""

    stop_signal = signal.SIGTERM
    ready_every_s = 0.02
    """How often `ready` is asked; more seldom where asking takes time from who starts."""

    def __init__(self, directory: Path, *, name: str) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.name = name
        self.log = directory / f"{name}.log"
        self.process: subprocess.Popen[bytes] | Forked | None = None

    def command(self) -> list[str]:
        """Return the program and its arguments."""
        return [sys.executable, "-m", self.module]

    def environment(self) -> dict[str, str]:
        """Return the environment of the process."""
        return clean_environment()

    def ready(self) -> bool:
        """Tell whether it answers; an OSError means not yet."""
        raise NotImplementedError

    @property
    def pid(self) -> int:
        """Return the id of the running process."""
        assert self.process, f"{self.name} was not started"
        return self.process.pid

    @property
    def running(self) -> bool:
        """Tell whether the process lives."""
        return self.process is not None and self.process.poll() is None

    def start(self) -> Self:
        """Start the process and wait until it is ready."""
        self.launch()
        self.wait_ready()
        return self

    def launch(self) -> None:
        """Start the process without waiting."""
        assert Service.may_start, f"mark the test `services`: it starts {self.name}"
        assert not self.running, f"{self.name} already runs"
        if Service.forked and type(self).command is Service.command:
            environment = self.environment()
            self.process = Forked(self.module, cwd=ROOT, environment=environment, log=self.log)
        else:
            self.process = self._executed()
        Service.logs.add(self.log)
        if self not in Service.started:
            Service.started.append(self)

    def _executed(self) -> "subprocess.Popen[bytes]":
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [*tether(), *self.command()],
                cwd=ROOT,
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C reaches the tests, which then stop the service
            )

    def wait_ready(self) -> None:
        """Wait until it is ready; raise with the log if it ends or takes too long."""
        what = f"{self.name} to be ready"
        wait_until(self._ready_or_ended, what, timeout=START_TIMEOUT_S, every=self.ready_every_s)

    def _ready_or_ended(self) -> bool:
        if not self.running:
            code = self.process.returncode if self.process else None
            raise AssertionError(f"{self.name} ended with {code}:\n{self.output()}")
        try:
            return self.ready()
        except OSError:
            return False

    def send_signal(self, number: int) -> None:
        """Send a signal to the process alone: SIGSTOP, SIGCONT, ..."""
        os.kill(self.pid, number)

    def terminate(self) -> int | None:
        """Ask it to stop, wait, and return its exit code; kill it if it does not."""
        self.ask_to_stop()
        return self.wait_stopped()

    def ask_to_stop(self) -> None:
        """Ask it to stop, without waiting."""
        if self.running:
            self.send_signal(self.stop_signal)
            self.send_signal(signal.SIGCONT)

    def wait_stopped(self) -> int | None:
        """Wait until it has stopped and return its exit code; kill it if it does not."""
        if self.process and self.running:
            try:
                self.process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self.kill()
                raise AssertionError(f"{self.name} did not stop:\n{self.output()}") from None
        return self.process.returncode if self.process else None

    def kill(self) -> None:
        """End it with SIGKILL."""
        if self.process and self.running:
            self.process.kill()
            self.process.wait()

    def restart(self) -> None:
        """Stop it and start it again with what it stored."""
        self.terminate()
        self.start()

    def output(self, lines: int = 200) -> str:
        """Return the end of the log."""
        if not self.log.exists():
            return ""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.kill()
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.terminate()


def terminate_all(services: Iterable[Service]) -> None:
    """Stop services at the same time: together they take no longer than the slowest."""
    asked = list(services)
    for service in asked:
        service.ask_to_stop()
    for service in asked:
        service.wait_stopped()


def wait_until(
    condition: Callable[[], bool], what: str, *, timeout: float = 10, every: float = 0.02
) -> None:
    """Look every so many seconds until the condition holds; fail after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout} s for {what}")
        time.sleep(every)


def tether() -> Sequence[str]:
    """Return what makes a command end with this process, even one that is killed (Linux)."""
    program = shutil.which("setpriv")
    return (program, "--pdeathsig", "KILL") if program else ()


@atexit.register
def _kill_all() -> None:
    for service in Service.started:
        service.kill()
