"""What the POSIX shell does for us on any host: start a command so that it can be ended, end it,
and look. The texts are constants; every value reaches them as an argument, never as text.
"""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any, TypeVar

T = TypeVar("T")
_working: set[asyncio.Task[Any]] = set()

#: alive PGID: is any process of the group left that is more than a zombie?
#: /proc where there is one (it also shows processes of other users), else a signal 0.
ALIVE = r"""
alive() {
  if [ -r /proc/self/stat ]; then
    for f in /proc/[0-9]*/stat; do
      { read -r s < "$f"; } 2>/dev/null || continue
      set -- "$1" ${s##*) }
      [ "$4" = "$1" ] || continue
      case $2 in Z|X|x) ;; *) return 0 ;; esac
    done
    return 1
  fi
  kill -0 -- "-$1" 2>/dev/null
}
pause() { sleep 0.1 2>/dev/null || sleep 1; }
"""

#: END PGID TENTHS: TERM the group, give it TENTHS/10 seconds, then KILL; says what it saw last.
END = (
    ALIVE
    + r"""
signal() { kill -s "$1" -- "-$2" 2>/dev/null || sudo -n kill -s "$1" -- "-$2" 2>/dev/null; }
await() { n=0; while alive "$1"; do [ "$n" -lt "$2" ] || return 1; n=$((n+1)); pause; done; }
alive "$1" || { echo gone; exit 0; }
signal TERM "$1"
await "$1" "$2" || { signal KILL "$1"; await "$1" 30; }
if alive "$1"; then echo running; else echo gone; fi
"""
)

#: BEGIN NONCE FOLDER COMMAND…: goes to the folder, says "NONCE PGID" (what came before on stdout
#: is the login shell's chatter), and waits for the nonce on stdin. Only then the command begins:
#: a connection lost before is known to have run nothing.
BEGIN = r"""
cd "$HOME" 2>/dev/null
cd -- "$2" 2>/dev/null || { printf '%s -\n' "$1"; exit 0; }
group=$$
leader() { set -- ${s##*) }; group=$3; }
{ read -r s < /proc/$$/stat; } 2>/dev/null && leader
nonce=$1; shift 2
[ "$group" = $$ ] || set -- setsid "$@"
printf '%s %s\n' "$nonce" $$
read -r go && [ "$go" = "$nonce" ] || exit 0
exec "$@"
"""


def from_home(path: str) -> str:
    """``~/x`` and ``~`` as paths that start at home (where every command starts)."""
    return "." if path == "~" else path.removeprefix("~/") or "."


def with_env(argv: Sequence[str], env: Mapping[str, str] | None) -> list[str]:
    """``env A=b …``: most SSH servers drop variables sent any other way. Never secrets."""
    return ["env", *(f"{name}={value}" for name, value in env.items()), *argv] if env else list(argv)


def begin_line(nonce: str, argv: Sequence[str], *, cwd: str | None, env: Mapping[str, str] | None) -> str:
    """The command line for the login shell, quoted so that any shell hands it on unread."""
    folder = from_home(cwd or ".")
    return "exec " + shlex.join(["sh", "-c", BEGIN, "runbook", nonce, folder, *with_env(argv, env)])


def end_argv(group: int, grace: float) -> list[str]:
    return ["sh", "-c", END, "runbook", str(group), str(max(1, int(grace * 10)))]


def read_end(stdout: bytes) -> bool | None:
    """True gone, False still running, None when it did not say."""
    return {b"gone": True, b"running": False}.get(stdout.strip())


async def unhurried(work: Coroutine[Any, Any, T]) -> T:
    """Await it; cancelled, it still goes on to its end in the background."""
    task = asyncio.ensure_future(work)
    _working.add(task)
    task.add_done_callback(_working.discard)
    return await asyncio.shield(task)
