"""Lines for people on a stream: wrapped where it is a terminal, as they are where it is not."""

from __future__ import annotations

import os
import textwrap
from typing import TextIO

from runbook.text import printable

#: a terminal narrower than this wraps by itself
_NARROWEST = 40


class Lines:
    """Once the stream is gone (a closed pipe, a terminal that hung up) nothing more is said."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self._gone = False

    def say(self, text: str, indent: int = 0, hang: int = 2) -> None:
        """Each line of ``text``, made harmless; what does not fit goes on ``hang`` further in. Paths,
        hashes and commands are never broken within."""
        for line in text.split("\n"):
            for part in self._wrapped(" " * indent + printable(line), indent + hang):
                self._put(part + "\n")

    def raw(self, text: str) -> None:
        """As it is, without a line end."""
        self._put(text)

    def _wrapped(self, line: str, hang: int) -> list[str]:
        width = self._width()
        if not width or len(line) <= width:
            return [line]
        return textwrap.wrap(
            line,
            width,
            subsequent_indent=" " * min(hang, width // 2),
            break_long_words=False,
            break_on_hyphens=False,
        )

    def _width(self) -> int:
        """In columns, as it is now; 0 where nothing is to be wrapped."""
        try:
            width = os.get_terminal_size(self.stream.fileno()).columns if self.stream.isatty() else 0
        except (OSError, ValueError):  # no file, or a closed one
            return 0
        return width if width >= _NARROWEST else 0

    def _put(self, text: str) -> None:
        if self._gone:
            return
        try:
            print(text, end="", file=self.stream, flush=True)
        except (OSError, ValueError):
            self._gone = True
