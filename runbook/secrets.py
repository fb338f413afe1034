"""Secrets: a value that cannot be printed, and references to where it lives."""

from __future__ import annotations


class Secret:
    """A password, token, key or cookie. Has no str, repr, pickle or comparison by value;
    ``reveal()`` is the one way to the text, called where it is handed to a program."""

    __slots__ = ("_value", "label")

    def __init__(self, value: str, label: str) -> None:
        self._value = value
        #: what a person may read instead: "couchdb.password from env COUCHDB_PASSWORD"
        self.label = label

    def reveal(self) -> str:
        return self._value

    def __repr__(self) -> str:
        return f"<secret {self.label}>"

    def __str__(self) -> str:
        raise TypeError("a secret is not text; reveal() it where it is handed over")

    def __format__(self, spec: str) -> str:
        raise TypeError("a secret is not text; reveal() it where it is handed over")

    def __reduce__(self) -> str:
        raise TypeError("a secret is never written")
