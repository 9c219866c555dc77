"""Systems under measurement as processes: started, watched for CPU and memory, stopped."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

ROOT = Path(__file__).resolve().parent.parent
SHARED = Path(os.environ.get("SHARED_DIR", ROOT.parent / "shared"))
PYTHON = sys.executable


class Process:
    """A process with its descendants. `cpu`: seconds used so far; `peak`: most bytes resident at once."""

    def __init__(
        self, command: Sequence[str], *, environment: Mapping[str, str] | None = None, cwd: Path = ROOT
    ) -> None:
        self._process = psutil.Popen(
            list(command), env={**os.environ, **(environment or {})}, cwd=cwd, stdout=subprocess.DEVNULL
        )
        self.peak = 0
        self._stopping = threading.Event()
        threading.Thread(target=self._watch, daemon=True).start()

    def _tree(self) -> list[psutil.Process]:
        try:
            return [self._process, *self._process.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def _watch(self) -> None:
        while not self._stopping.wait(0.1):
            resident = 0
            for process in self._tree():
                try:
                    resident += process.memory_info().rss
                except psutil.NoSuchProcess:
                    continue
            self.peak = max(self.peak, resident)

    @property
    def cpu(self) -> float:
        used = 0.0
        for process in self._tree():
            try:
                times = process.cpu_times()
            except psutil.NoSuchProcess:
                continue
            used += times.user + times.system + times.children_user + times.children_system
        return used

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._process.terminate()
        try:
            self._process.wait(40)
        except psutil.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def manage(environment: Mapping[str, str], *arguments: str) -> str:
    """What `manage.py` says."""
    done = subprocess.run(
        [PYTHON, "manage.py", *arguments],
        env={**os.environ, **environment},
        cwd=ROOT,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return done.stdout.strip()


def until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait for a condition; TimeoutError if it does not come."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds:g} s: {condition}")
        time.sleep(0.05)


def answers(url: str) -> bool:
    """Whether anything answers HTTP there."""
    try:
        urllib.request.urlopen(url, timeout=1).close()  # noqa: S310 (ours)
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True
