"""Both event loops that the stub may run on, for the tests of the server; hypothesis's profile."""

import asyncio
from collections.abc import Callable, Mapping

import pytest
import uvloop
from hypothesis import HealthCheck, settings

BOTH = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
SERVING = {"test_server.py", "test_stdio.py", "test_cooperative.py", "test_library.py"}

# How long an example takes says how busy the machine is. For this ring alone: the lab, where others
# run, has no hypothesis.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


def pytest_asyncio_loop_factories(
    item: pytest.Item,
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return BOTH if item.path.name in SERVING else {"asyncio": BOTH["asyncio"]}
