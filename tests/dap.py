"""A client of the debug adapter protocol: what an editor says to a debugger, over pipes.

Source: the protocol's specification, "Base Protocol".
"""

import json
import os
import queue
import subprocess
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Self, cast

from tests.bounds import HANGS

Message = dict[str, object]


class DapClient:
    """A debug adapter as a process, while it is entered."""

    def __init__(self, *command: str | Path, home: Path) -> None:
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "HOME": str(home)},
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._input = self._process.stdin
        self._messages: queue.Queue[Message | None] = queue.Queue()
        self._seen: list[Message] = []
        self._sequence = 0
        self._thread = threading.Thread(target=self._read, args=[self._process.stdout])
        self._thread.start()

    def send(self, command: str, arguments: Mapping[str, object] | None = None) -> int:
        """Send a request; its number."""
        self._sequence += 1
        request = {"seq": self._sequence, "type": "request", "command": command}
        body = json.dumps({**request, "arguments": arguments or {}}).encode()
        self._input.write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        self._input.flush()
        return self._sequence

    def response(self, number: int) -> Message:
        """The body of the response to request *number*, which has succeeded."""
        found = self._wait("response", "request_seq", number)
        assert found["success"], found
        return cast("Message", found.get("body") or {})

    def ask(self, command: str, arguments: Mapping[str, object] | None = None) -> Message:
        return self.response(self.send(command, arguments))

    def event(self, name: str) -> Message:
        """The body of the next event *name*."""
        return cast("Message", self._wait("event", "event", name).get("body") or {})

    def wait(self) -> int:
        """Wait for its own end."""
        return self._process.wait(HANGS)

    def _wait(self, kind: str, key: str, value: object) -> Message:
        for message in self._seen:
            if message["type"] == kind and message[key] == value:
                self._seen.remove(message)
                return message
        while (message_ := self._messages.get(timeout=HANGS)) is not None:
            if message_["type"] == kind and message_[key] == value:
                return message_
            self._seen.append(message_)
        raise AssertionError(f"the adapter has ended before {kind} {value}; {self._seen}")

    def _read(self, stream: IO[bytes]) -> None:
        while header := stream.readline():
            length = int(header.partition(b":")[2]) if header.startswith(b"Content-Length") else 0
            while stream.readline().strip():
                pass
            self._messages.put(json.loads(stream.read(length)))
        self._messages.put(None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._input.close()
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        self._thread.join()
        assert self._process.stdout is not None
        self._process.stdout.close()


def attach(client: DapClient, arguments: Mapping[str, object], source: Path, line: int) -> None:
    """Attach as an editor does, with a breakpoint at *line*; return at the first stop."""
    client.ask("initialize", {"adapterID": "test", "linesStartAt1": True, "pathFormat": "path"})
    attached = client.send("attach", arguments)
    client.event("initialized")
    # GDB reads the program when it attaches: a breakpoint is not verified yet.
    asked = {"source": {"path": str(source)}, "breakpoints": [{"line": line}]}
    breakpoints = client.ask("setBreakpoints", asked)["breakpoints"]
    assert isinstance(breakpoints, list)
    assert len(breakpoints) == 1
    client.ask("configurationDone")
    client.response(attached)


def top_frame(client: DapClient, thread: object) -> Message:
    frames = client.ask("stackTrace", {"threadId": thread, "levels": 5})["stackFrames"]
    assert isinstance(frames, list)
    return cast("Message", frames[0])


def variables(client: DapClient, frame: Message) -> dict[str, str]:
    """Every variable of the scopes of *frame* that cost nothing: name and value."""
    found: dict[str, str] = {}
    scopes = client.ask("scopes", {"frameId": frame["id"]})["scopes"]
    assert isinstance(scopes, list)
    for scope in scopes:
        if scope["name"] in ("Arguments", "Locals"):
            asked = {"variablesReference": scope["variablesReference"]}
            each = client.ask("variables", asked)["variables"]
            assert isinstance(each, list)
            found |= {variable["name"]: variable["value"] for variable in each}
    return found
