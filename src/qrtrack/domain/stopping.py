"""When work must stop and go back to the queue: the worker is stopping, or the time that was given is up."""

import threading
import time
from dataclasses import dataclass, field


@dataclass(slots=True)
class StopSignal:
    """Read between two steps of the work, from any thread. `deadline` is in seconds of time.monotonic()."""

    deadline: float | None = None
    _event: threading.Event = field(default_factory=threading.Event)

    def set(self) -> None:
        self._event.set()

    def is_set(self) -> bool:
        return self._event.is_set() or (self.deadline is not None and time.monotonic() >= self.deadline)
