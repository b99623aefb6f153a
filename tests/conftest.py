"""What all tests share: the raw mode of `rawmode`, Hypothesis profiles, slow tests last."""

import os
import signal

import pytest
import rawmode  # noqa: F401  (registers the mode)
from hypothesis import HealthCheck, settings

settings.register_profile(
    "default", max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
settings.register_profile("thorough", settings.get_profile("default"), max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))

# What a shell starts in the background ignores interrupts, and so would the processes that tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items):
    """Run slow tests after the fast ones; within each, the random order stays."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is not None)
