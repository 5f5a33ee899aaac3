"""The signal that work must stop and go back to the queue: the worker stops, or its time is up."""

import threading
import time
from dataclasses import dataclass, field


@dataclass(slots=True)
class StopSignal:
    """Checked between two steps of the work, from any thread. `deadline`: of time.monotonic()."""

    deadline: float | None = None
    _event: threading.Event = field(default_factory=threading.Event)

    def set(self) -> None:
        self._event.set()

    def is_set(self) -> bool:
        return self._event.is_set() or (self.deadline is not None and time.monotonic() >= self.deadline)
