"""The signal that work must stop and go back to the queue, because the worker stops or the time is up."""

import threading
import time
from dataclasses import dataclass, field


@dataclass(slots=True)
class StopSignal:
    """The work checks it between two steps, from any thread. `deadline` is an instant of time.monotonic()."""

    deadline: float | None = None
    _event: threading.Event = field(default_factory=threading.Event)

    def set(self) -> None:
        self._event.set()

    def is_set(self) -> bool:
        return self._event.is_set() or (self.deadline is not None and time.monotonic() >= self.deadline)
