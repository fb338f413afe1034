"""Machines in messages: what they are called, and each named once (most messages name theirs first,
others do not)."""

from __future__ import annotations


def named(host: str, text: str) -> str:
    """``text`` with its machine's name before it."""
    return text if text.startswith((f"{host}:", f"{host} ")) else f"{host}: {text}"


def unnamed(host: str, text: str) -> str:
    """``text`` for a place where the machine's name stands already."""
    return text.removeprefix(f"{host}:").lstrip() if text.startswith(f"{host}:") else text


def place(host: str) -> str:
    """A machine as a person calls it."""
    return "this PC" if host == "operator" else host
