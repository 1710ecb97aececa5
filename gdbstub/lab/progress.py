"""Progress messages on stderr: a bar on a terminal, plain lines elsewhere.

A step is one line of text; nothing is measured.
"""

import sys
from typing import TYPE_CHECKING, Self, TextIO

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


class Steps:
    """Progress of one task of *total* steps; use as a context manager."""

    def __init__(self, title: str, total: int, stream: TextIO | None = None) -> None:
        """Prepare the messages of task *title*; the first ``step`` prints."""
        self.title = title
        self.total = total
        self.stream = stream or sys.stderr
        self.done = 0
        self._bar: Progress | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        if self.stream.isatty():
            # Importing rich costs a tenth of a second, so only those who see the bar pay.
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                TimeElapsedColumn(),
                console=Console(file=self.stream),
                transient=True,
            )
            self._task = self._bar.add_task(self.title, total=self.total)
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar:
            self._bar.stop()

    def step(self, text: str) -> None:
        """Begin the next step and show *text*."""
        if self._bar and self._task is not None:
            self._bar.update(self._task, completed=self.done, description=f"{self.title}: {text}")
        else:
            print(f"gdbstub: {self.title}: {text}", file=self.stream, flush=True)
        self.done += 1
