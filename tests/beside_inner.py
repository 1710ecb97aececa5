"""The other side of ``beside.py``: a pytest that is told which of its tests to run, and when.

It is loaded with ``-p``. A line on standard input is a list of node ids, of one module; the
fixtures of the session are kept from one to the next.
"""

import json
import os
from typing import Final

import pytest

from tests import reports

# As it is before pytest captures it.
_ASKED: Final = os.fdopen(os.dup(0))


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool:
    """Run the tests of each line, with the lab started before the first one comes."""
    from tests.conftest import shared_lab  # not before pytest has, which rewrites its assertions

    shared_lab(session.config)
    items = {item.nodeid: item for item in session.items}
    for line in _ASKED:
        asked = [items[nodeid] for nodeid in json.loads(line)]
        # After the last one any other module: so the session's fixtures are kept.
        others = (item for item in session.items if item.path != asked[-1].path)
        following = [*asked[1:], next(others, None)]
        for item, nextitem in zip(asked, following, strict=True):
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=nextitem)
        reports.say_end()
    return True
