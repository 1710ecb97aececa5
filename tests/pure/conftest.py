"""Both event loops that the stub may run on, for the tests of the server."""

import asyncio
from collections.abc import Callable, Mapping

import pytest
import uvloop

BOTH = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
SERVING = {"test_server.py", "test_stdio.py", "test_sliced.py", "test_library.py"}


def pytest_asyncio_loop_factories(
    item: pytest.Item,
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return BOTH if item.path.name in SERVING else {"asyncio": BOTH["asyncio"]}
