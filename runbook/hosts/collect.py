"""Output as it comes: all of it to the sink, the first ``limit`` bytes of each stream kept."""

from __future__ import annotations

from runbook.hosts.base import Completed, Sink


class Collected:
    """Bounded, whatever a command prints. A sink that fails is not called again; its error is
    kept in ``sink_error`` and raised by the one who runs the command, not inside the transport."""

    def __init__(self, sink: Sink | None, limit: int) -> None:
        self._sink, self._limit = sink, limit
        self._kept = {False: bytearray(), True: bytearray()}
        self._truncated = False
        self.sink_error: Exception | None = None

    def add(self, chunk: bytes, is_stderr: bool) -> None:
        kept = self._kept[is_stderr]
        room = self._limit - len(kept)
        kept += chunk[: max(room, 0)]
        self._truncated = self._truncated or len(chunk) > room
        if self._sink is not None and self.sink_error is None:
            try:
                self._sink(bytes(chunk))
            except Exception as error:
                self.sink_error = error

    def completed(self, exit_status: int | None) -> Completed:
        if self.sink_error is not None:
            raise self.sink_error
        return Completed(exit_status, bytes(self._kept[False]), bytes(self._kept[True]), self._truncated)
