"""Requests and replies, apart from sockets."""

from __future__ import annotations

import gzip
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote

from runbook.lab.couchdb import jsontext
from runbook.lab.couchdb.errors import HttpError, bad_request

JSON = "application/json"


@dataclass
class Request:
    method: str
    target: str  #: path and query as they came
    headers: Mapping[str, str]  #: names in lower case
    body: bytes = b""
    path: list[str] = field(init=False)  #: segments, decoded
    query: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        raw, _, query = self.target.partition("?")
        self.path = [unquote(part) for part in raw.split("/") if part]
        self.query = dict(parse_qsl(query, keep_blank_values=True))
        if self.headers.get("content-encoding", "").strip().lower() == "gzip":
            self.body = gzip.decompress(self.body)

    def flag(self, name: str, default: bool = False) -> bool:
        return self.query.get(name, "true" if default else "false") == "true"

    def number(self, name: str, default: int) -> int:
        """Raises HttpError 400 for anything but a whole number from 0 on."""
        text = self.query.get(name)
        if text is None:
            return default
        if not text.isascii() or not text.isdigit():
            reason = f"Invalid value for integer: {jsontext.text(text).decode()}"
            raise HttpError(400, "query_parse_error", reason)
        return int(text)

    def json_param(self, *names: str) -> Any:
        """A parameter holding JSON, under any of its names; None when absent."""
        for name in names:
            if name in self.query:
                return jsontext.value(self.query[name].encode())
        return None

    def need_json(self) -> None:
        if self.headers.get("content-type", "").partition(";")[0].strip().lower() != JSON:
            raise HttpError(415, "bad_content_type", "Content-Type must be application/json")

    def json(self) -> Any:
        self.need_json()
        return jsontext.value(self.body)

    def fields(self) -> dict[str, Any]:
        found = self.json()
        if not isinstance(found, dict):
            raise bad_request("Request body must be a JSON object")
        return found

    def allow(self, *methods: str) -> None:
        """Raises HttpError 405 unless the method is one of these (GET brings HEAD)."""
        allowed = [name for method in methods for name in (("GET", "HEAD") if method == "GET" else (method,))]
        if self.method not in allowed:
            raise HttpError(405, "method_not_allowed", f"Only {','.join(allowed)} allowed")


@dataclass
class Reply:
    status: int
    body: bytes | Iterator[bytes]
    headers: dict[str, str] = field(default_factory=dict)
    content_type: str = JSON


def ok(found: object, status: int = 200, **headers: str) -> Reply:
    return Reply(
        status, jsontext.line(found), {name.replace("_", "-"): text for name, text in headers.items()}
    )


def raw(found: bytes, status: int = 200, **headers: str) -> Reply:
    """JSON text as it stands, with its line end."""
    return Reply(status, found + b"\n", {name.replace("_", "-"): text for name, text in headers.items()})
