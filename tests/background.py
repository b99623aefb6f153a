"""Long commands of tests, run beside the tests by one process: this module as a script.

A test marked `background(seconds, job)` wants what a command gives. `job(folder, **parameters)` gives the
command, a `Job`, from an empty folder that the command may fill and from the test's parameters. The commands
of a session run from the moment that its tests are collected, one after the other, while other tests run:
those first that take most seconds, but before all of them, and before any test, those of markers that say
`before_tests=True`. The fixture `background` waits for the test's own and gives a `Done`. Tests with the same
job and parameters share one.

The tests' own process gets no thread and no handle from it, as tests count these. At the session's end, and
where the tests' process has gone, what runs is killed.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
POLL_SECONDS = 0.1
NICENESS = 5


@dataclass(frozen=True)
class Job:
    """A command, run at the root of the checkout, and what its environment has besides the session's own."""

    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Done:
    """What came of a job: its exit code, what it printed, and the folder that it was given."""

    code: int
    output: str
    errors: str
    folder: Path

    def json(self):
        """Give what the command printed, which is JSON."""
        assert self.code == 0, self.errors[-4000:]
        return json.loads(self.output)


def rank(item):
    """Sort tests without a job first, then those whose job begins first."""
    marker = item.get_closest_marker("background")
    return (True, not comes_before_tests(marker), -marker.args[0]) if marker else (False, True, 0)


def comes_before_tests(marker):
    """Say whether the session waits for a marker's job."""
    return marker.kwargs.get("before_tests", False)


class Background:
    """The jobs of a session, each in a folder, which has a file `code` when its command has ended."""

    def __init__(self, items):
        """Begin with the jobs of these tests."""
        self._place = Path(tempfile.mkdtemp())
        self._folders = {}
        for item in sorted((item for item in items if item.get_closest_marker("background")), key=rank):
            if self._key(item) not in self._folders:
                folder = self._place / f"{len(self._folders):03}"
                (folder / "own").mkdir(parents=True)
                job = item.get_closest_marker("background").args[1]
                parameters = item.callspec.params if hasattr(item, "callspec") else {}
                (folder / "job").write_text(json.dumps(asdict(job(folder / "own", **parameters))))
                self._folders[self._key(item)] = folder
        self._process = subprocess.Popen(
            [sys.executable, __file__, str(self._place), str(os.getpid())],
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )

    def _key(self, item):
        callspec = getattr(item, "callspec", None)
        return item.get_closest_marker("background").args[1], callspec.id if callspec else ""

    def wait_before_tests(self, items):
        """Wait for the jobs of those tests that ask for it."""
        for item in items:
            marker = item.get_closest_marker("background")
            if marker and comes_before_tests(marker):
                self.wait(item)

    def wait(self, item):
        """Wait for the end of a test's job."""
        folder = self._folders[self._key(item)]
        while not (folder / "code").exists():
            assert self._process.poll() is None, "the process that runs all jobs has ended"
            time.sleep(POLL_SECONDS)
        output, errors = ((folder / name).read_text(errors="replace") for name in ("output", "errors"))
        return Done(int((folder / "code").read_text()), output, errors, folder / "own")

    def stop(self):
        """Kill what runs, with all that it started; what waits never begins."""
        with suppress(ProcessLookupError):
            if hasattr(os, "killpg"):
                os.killpg(self._process.pid, signal.SIGKILL)
            else:
                self._process.kill()
        self._process.wait()
        shutil.rmtree(self._place, ignore_errors=True)


def work(place, parent):
    """Run the jobs of a place in the order of its folders, while the parent lives."""
    if hasattr(os, "nice"):
        os.nice(NICENESS)
    for folder in sorted(place.iterdir()):
        job = Job(**json.loads((folder / "job").read_text()))
        with (folder / "output").open("wb") as output, (folder / "errors").open("wb") as errors:
            process = subprocess.Popen(
                job.command,
                cwd=ROOT,
                env=os.environ | job.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
            )
            while process.poll() is None:
                if os.getppid() != parent:
                    shutil.rmtree(place, ignore_errors=True)
                    os.killpg(0, signal.SIGKILL)
                time.sleep(POLL_SECONDS)
        part = folder / "code.part"
        part.write_text(str(process.returncode))
        part.replace(folder / "code")


if __name__ == "__main__":
    work(Path(sys.argv[1]), int(sys.argv[2]))
