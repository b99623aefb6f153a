"""What all tests share: the raw mode of `rawmode`, Hypothesis profiles, slow tests last, jobs beside them."""

import os
import signal

import background as beside
import pytest
import rawmode  # noqa: F401  (registers the mode)
from hypothesis import HealthCheck, settings

JOBS = pytest.StashKey[beside.Background]()

settings.register_profile(
    "default", max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
settings.register_profile("thorough", settings.get_profile("default"), max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))

# What a shell starts in the background ignores interrupts, and so would the processes that tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items):
    """Run slow tests after the fast ones, those with a job beside them last; else the random order stays."""
    items.sort(key=lambda item: (item.get_closest_marker("slow") is not None, beside.rank(item)))


@pytest.hookimpl
def pytest_collection_finish(session):
    """Begin with the jobs of those tests that are to run."""
    wanted = any(item.get_closest_marker("background") for item in session.items)
    if wanted and not session.config.option.collectonly:
        jobs = session.config.stash[JOBS] = beside.Background(session.items)
        session.config.add_cleanup(jobs.stop)
        jobs.wait_before_tests(session.items)


@pytest.fixture
def background(request):
    """What came of the test's job."""
    return request.config.stash[JOBS].wait(request.node)
