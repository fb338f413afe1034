"""What the two command lines of the container engine share: options, and how states are worded."""

from __future__ import annotations

from collections.abc import Callable

from runbook.lab.container import Container

#: takes {"out": text} or {"err": text} for the caller's terminal
Send = Callable[[dict[str, str]], None]


def options(argv: list[str], valued: set[str]) -> tuple[dict[str, list[str]], list[str]]:
    """Split into options and the rest; ``-aq`` counts as ``-a -q``."""
    found: dict[str, list[str]] = {}
    rest: list[str] = []
    words = iter(argv)
    for word in words:
        if word == "--":
            rest.extend(words)
        elif word.startswith("--"):
            key, sign, value = word.partition("=")
            found.setdefault(key, []).append(value if sign else next(words, "") if key in valued else "")
        elif word.startswith("-") and len(word) > 1:
            if word[:2] in valued:
                found.setdefault(word[:2], []).append(word[2:] or next(words, ""))
            else:
                for letter in word[1:]:
                    found.setdefault(f"-{letter}", []).append("")
        else:
            rest.append(word)
    return found, rest


def status_text(container: Container) -> str:
    if container.status == "running":
        health = container.health()
        return "Up 2 seconds" + (f" ({'health: ' if health == 'starting' else ''}{health})" if health else "")
    if container.status == "restarting":
        return f"Restarting ({container.exit_code}) 1 second ago"
    if container.status == "created":
        return "Created"
    return f"Exited ({container.exit_code}) 5 seconds ago"


def ports_text(container: Container) -> str:
    if container.status != "running":
        return ""
    return ", ".join(
        f"{p.address}:{p.published}->{p.target}/tcp" if p.published else f"{p.target}/tcp"
        for p in container.service.ports
    )
