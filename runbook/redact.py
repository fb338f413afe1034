"""Secrets out of everything that is written: one Redactor a run, used by every writer.

A learnt secret is found as it is and as programs like to re-write it: JSON-escaped, URL-encoded,
HTML-escaped, shell-quoted, and in Base64 at any of the three alignments (so also inside
``Authorization: Basic …`` with whatever user name). It is replaced by ``[secret <label>]``.

**Weak secrets.** A secret of fewer than 4 characters, or one of the well-known defaults
("password", "admin", …), is also an ordinary word: replacing it everywhere would destroy every
text and protect nothing. Such a value is replaced only where it stands as a value:
``KEY=password``, ``"key": "password"``, ``key: password`` at the line's end,
``user:password@host``. Its Base64 forms of 8 characters or more are replaced everywhere.

Known limit: a Base64 form is cut to the characters which depend on the secret alone, so up to two
characters at its ends stay; they hold some bits of its first or last byte.
"""

from __future__ import annotations

import base64
import html
import json
import re
from bisect import bisect_left
from collections.abc import Callable
from itertools import pairwise
from typing import Any
from urllib.parse import quote, quote_plus

from runbook.secrets import Secret

#: values that everybody knows; see "weak secrets" above
# fmt: off
_DEFAULTS = frozenset((
    "admin", "administrator", "changeme", "couchdb", "default", "example", "false", "guest",
    "letmein", "monster", "none", "null", "openedx", "openedxsecret", "passwd", "password",
    "postgres", "root", "secret", "test", "true", "user",
))
# fmt: on
_SHORTEST = 4
_SHORTEST_BASE64 = 8
#: longer forms are looked for in pieces, which bounds what a stream holds back
_LONGEST = 512
#: what may stand before and after a weak secret used as a value
_BEFORE = rb"(?:(?<=[=:])|(?<=[=:]['\"])|(?<=[=:] ['\"]))"
_AFTER = rb"(?![0-9A-Za-z_])"
_BEFORE_YAML = rb"(?<=: )"
_AFTER_YAML = rb"(?=[\r\n]|\Z)"
_CONTEXT = 3  # bytes the longest look-behind needs


class Redactor:
    """Knows the secrets of a run. Learning is safe while other threads redact."""

    def __init__(self) -> None:
        self._forms: dict[bytes, bytes] = {}  # what to find -> its mark
        self._weak: dict[bytes, bytes] = {}
        self._matcher = _Matcher({}, {})

    def learn(self, value: str, label: str) -> Secret:
        """From now on ``value`` is written as ``[secret label]``. Empty values are ignored."""
        mark = f"[secret {label}]".encode("utf-8", "replace")
        # of a key file every line is a secret of its own: programs re-wrap and indent them
        parts = [part.strip() for part in value.splitlines()]
        parts = [part for part in parts if len(part) >= 16] if len(parts) > 1 else parts
        forms, weak = dict(self._forms), dict(self._weak)
        for part in {value.strip(), *parts} - {""}:
            ordinary = len(part) < _SHORTEST or part.lower() in _DEFAULTS
            for form in _plain_forms(part):
                (weak if ordinary else forms).setdefault(form, mark)
            for form in _base64_forms(part):
                forms.setdefault(form, mark)
        # marks are found too, and left alone: redacting twice changes nothing
        forms[mark] = mark
        self._forms, self._weak = forms, weak
        self._matcher = _Matcher(forms, weak)
        return Secret(value, label)

    def learn_login(self, user: str, password: str, label: str) -> None:
        """A password and its user: also ``user:password`` as one, for short passwords."""
        self.learn(password, label)
        if user and password:
            self.learn(f"{user}:{password}", label)

    def raw(self, raw: bytes) -> bytes:
        return self._matcher.whole(raw)

    def text(self, text: str) -> str:
        """``text`` without the secrets."""
        raw = text.encode("utf-8", "surrogatepass")
        clean = self._matcher.whole(raw)
        return text if clean is raw else clean.decode("utf-8", "surrogatepass")

    def data(self, value: Any) -> Any:
        """The same for every string in nested lists and dicts, keys included."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {self.data(key): self.data(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.data(item) for item in value]
        return value

    def stream(self) -> RedactingStream:
        """For output that comes in chunks: whole secrets are found across their borders."""
        return RedactingStream(lambda: self._matcher)


class RedactingStream:
    """Gives out what can be no part of a secret any more; holds back less than the longest form."""

    def __init__(self, matcher: Callable[[], _Matcher]) -> None:
        self._matcher = matcher
        self._before = b""  # the bytes given out last, for what looks behind
        self._held = b""

    def feed(self, chunk: bytes) -> bytes:
        return self._go(chunk, end=False)

    def flush(self) -> bytes:
        """What was held back; call it once after the last chunk."""
        return self._go(b"", end=True)

    def _go(self, chunk: bytes, *, end: bool) -> bytes:
        text = self._before + self._held + chunk
        start = len(self._before)
        clean, upto = self._matcher().part(text, start, end)
        self._before, self._held = text[max(upto - _CONTEXT, 0) : upto], text[upto:]
        return clean


class _Matcher:
    """All forms as one pattern (the longest first), and whether an end could begin one."""

    def __init__(self, forms: dict[bytes, bytes], weak: dict[bytes, bytes]) -> None:
        self._marks = {**weak, **forms}
        pieces = [re.escape(form) for form in sorted(forms, key=lambda form: (-len(form), form))]
        for form in sorted(weak, key=lambda form: (-len(form), form)):
            word = re.escape(form)
            pieces += [_BEFORE + word + _AFTER, _BEFORE_YAML + word + _AFTER_YAML]
        self._pattern = re.compile(b"|".join(pieces)) if pieces else None
        self._weak = frozenset(weak)
        self._sorted = sorted(self._marks)
        self._longest = max(map(len, self._marks), default=0)
        self._heads = {form[:length] for form in self._sorted for length in (1, 2)}

    def whole(self, text: bytes) -> bytes:
        """``text`` redacted; the very same object when no form is in it."""
        if self._pattern is None or not self._present(text):
            return text
        return self._pattern.sub(lambda found: self._marks[found[0]], text)

    def part(self, text: bytes, start: int, end: bool) -> tuple[bytes, int]:
        """(redacted, position up to which ``text`` is done). Before the end, stops where a form
        might have begun. Equal to whole() over the joined text, however it is cut."""
        open_at = [] if end else self._open(text, start)
        if self._pattern is None or not self._present(text):
            stop = open_at[0] if open_at else len(text)
            return text[start:stop], stop
        done: list[bytes] = []
        at = start
        while True:
            stop = next((position for position in open_at if position >= at), len(text))
            found = self._pattern.search(text, at)
            if found is None or found.start() >= stop:
                done.append(text[at:stop])
                return b"".join(done), stop
            done += (text[at : found.start()], self._marks[found[0]])
            at = found.end()

    def _present(self, text: bytes) -> bool:
        """In long text, looking for each form is far faster than a pattern of hundreds of branches."""
        if self._pattern is not None and len(text) < 500:
            return self._pattern.search(text) is not None
        return any(form in text for form in self._sorted)

    def _open(self, text: bytes, start: int) -> list[int]:
        """Positions whose rest of ``text`` is the beginning of a form (or a whole weak one, whose
        next byte decides)."""
        positions = []
        for position in range(max(start, len(text) - self._longest), len(text)):
            if text[position : position + 2] not in self._heads:
                continue
            rest = text[position:]
            place = bisect_left(self._sorted, rest)
            if rest in self._weak:
                positions.append(position)
                continue
            if place < len(self._sorted) and self._sorted[place] == rest:
                place += 1
            if place < len(self._sorted) and self._sorted[place].startswith(rest):
                positions.append(position)
        return positions


def _plain_forms(value: str) -> set[bytes]:
    lower = re.compile(r"%[0-9A-F]{2}")
    urls = {quote(value, safe=""), quote(value), quote_plus(value)} if _encodable(value) else set()
    forms = {
        value,
        json.dumps(value)[1:-1],
        json.dumps(value, ensure_ascii=False)[1:-1],
        html.escape(value),
        value.replace("'", "'\"'\"'"),
        *urls,
        *(lower.sub(lambda code: code[0].lower(), url) for url in urls),
    }
    return {piece for form in forms for piece in _pieces(form.encode("utf-8", "surrogatepass"))}


def _base64_forms(value: str) -> set[bytes]:
    """The characters of Base64 text that depend on the value alone, for each alignment."""
    raw = value.encode("utf-8", "surrogatepass")
    forms = set()
    for offset in range(3):
        coded = base64.b64encode(b"\0" * offset + raw)
        first = (offset * 8 + 5) // 6
        core = coded[first : (offset + len(raw)) * 8 // 6]
        if len(core) >= _SHORTEST_BASE64:
            forms |= {core, core.translate(bytes.maketrans(b"+/", b"-_"))}
    return {piece for form in forms for piece in _pieces(form)}


def _pieces(form: bytes) -> list[bytes]:
    """A form longer than the limit, in pieces of like size."""
    count = -(-len(form) // _LONGEST)
    borders = [len(form) * index // count for index in range(count + 1)]
    return [form[a:b] for a, b in pairwise(borders)]


def _encodable(value: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in value)
