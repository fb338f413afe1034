"""Looks at the whole of runbook.toml against its types and forms, collecting every problem.

(msgspec's own decoding stops at the first.) No message repeats what stands where a secret
belongs: people paste passwords there.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import msgspec
from msgspec import inspect as kinds

from runbook.site.forms import RULES, speaks_of_secret

#: (key, what is wrong with the expected form)
Found = list[tuple[str, str]]

REFERENCE = (
    'secrets go by reference, one of { env = "NAME" }, { file = "path" }, '
    '{ env_file = "path", key = "NAME" }, { command = ["program", "argument"] }, { ask = "what for" }'
)
_WORDS: dict[type, str] = {
    kinds.StrType: "text in quotes",
    kinds.IntType: "a whole number",
    kinds.BoolType: "true or false",
}
_PYTHON: dict[type, type] = {kinds.StrType: str, kinds.IntType: int, kinds.BoolType: bool}


class Walk:
    """``secret`` is the type of a secret's reference; ``resolve`` makes a path absolute."""

    def __init__(self, secret: type, resolve: Callable[[str], str]) -> None:
        self.secret, self.resolve = secret, resolve
        self.found: Found = []

    def problems(self, data: Mapping[str, Any], of: type[msgspec.Struct]) -> Found:
        self.value(data, kinds.type_info(of), "")
        return self.found

    def wrong(self, key: str, text: str) -> None:
        self.found.append((key, text))

    def value(self, value: Any, kind: kinds.Type, key: str) -> None:
        match kind:
            case kinds.StructType() if kind.cls is self.secret:
                self.reference(value, kind, key)
            case kinds.StructType():
                self.table(value, kind, key)
            case kinds.UnionType():
                self.either(value, [part for part in kind.types if not isinstance(part, kinds.NoneType)], key)
            case kinds.VarTupleType():
                if not isinstance(value, list):
                    self.wrong(key, "expected a list, [ … ]")
                    return
                for at, item in enumerate(value):
                    self.value(item, kind.item_type, f"{key}[{at}]")
            case kinds.DictType():
                self.entries(value, kind, key)
            case _:
                self.plain(value, kind, key)

    def table(self, value: Any, kind: kinds.StructType, key: str) -> None:
        if not isinstance(value, dict):
            self.wrong(key, f"expected a table, [{key}]")
            return
        fields = {field.encode_name: field for field in kind.fields}
        for name, item in value.items():
            if name in fields:
                self.value(item, fields[name].type, _join(key, name))
            else:
                near = get_close_matches(name, fields, 1)
                hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(fields)}"
                self.wrong(_join(key, name), f"unknown key; {hint}")
        for name, field in fields.items():
            if field.required and name not in value:
                here, text = _join(key, name), "is missing"
                if isinstance(field.type, kinds.StructType):
                    text += f"; {REFERENCE}" if field.type.cls is self.secret else f": the table [{here}]"
                self.wrong(here, text)

    def either(self, value: Any, types: list[kinds.Type], key: str) -> None:
        """One type, or text or a secret's reference."""
        text = next((part for part in types if isinstance(part, kinds.StrType)), None)
        self.value(value, text if text and isinstance(value, str) else types[-1], key)

    def entries(self, value: Any, kind: kinds.DictType, key: str) -> None:
        if not isinstance(value, dict):
            self.wrong(key, f"expected a table, [{key}]")
            return
        for name, item in value.items():
            here = _join(key, name)
            if isinstance(item, str) and speaks_of_secret(key, name):
                where = "put it into [tofu.secrets]: " if key == "tofu.variables" else ""
                self.wrong(here, f"plain text is refused here; {where}{REFERENCE}")
            else:
                self.value(item, kind.value_type, here)

    def plain(self, value: Any, kind: kinds.Type, key: str) -> None:
        wanted = _PYTHON[type(kind)]
        if type(value) is not wanted:  # a bool is no number here
            self.wrong(key, f"expected {_WORDS[type(kind)]}")
            return
        rule = RULES.get(re.sub(r"\[\d+\]", "[]", key))
        try:
            if rule:
                rule(value)
        except ValueError as error:
            self.wrong(key, str(error))

    def reference(self, value: Any, kind: kinds.StructType, key: str) -> None:
        if not isinstance(value, dict):
            self.wrong(key, REFERENCE)
            return
        before = len(self.found)
        self.table(value, kind, key)
        if len(self.found) > before:
            return
        if tuple(sorted(value)) not in {("env",), ("file",), ("env_file", "key"), ("command",), ("ask",)}:
            self.wrong(key, f"give exactly one form: {REFERENCE}")
        elif any(not part for part in value.values()) or (value.get("command") or ["x"])[0] == "":
            self.wrong(key, f"may not be empty; {REFERENCE}")
        elif "file" in value:
            self.mode(Path(self.resolve(value["file"])), key)

    def mode(self, path: Path, key: str) -> None:
        """A file that others may read holds no secret. One that is not there yet is not judged."""
        try:
            mode = stat.S_IMODE(path.stat().st_mode)
        except (OSError, ValueError):
            return
        if mode & 0o077:
            self.wrong(key, f"{path} has mode {mode:04o}; others must not read it: chmod 600 {path}")


def _join(key: str, name: str) -> str:
    return f"{key}.{name}" if key else name
