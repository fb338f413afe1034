"""docker-compose files as Compose reads them: several files merged, variables filled in.

The two versions differ where recovery meets it: v1 (1.29) knows no ``!override`` and ``!reset``
tags, no top-level ``name:``; both *add* the ``ports`` of an override file to those of the first.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import yaml

from runbook.platform import dotenv

NAMES = {
    1: ("docker-compose.yml", "docker-compose.yaml", "compose.yml", "compose.yaml"),
    2: ("compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml"),
}
OVERRIDES = (
    "docker-compose.override.yml",
    "docker-compose.override.yaml",
    "compose.override.yml",
    "compose.override.yaml",
)
_VARIABLE = re.compile(r"\$(?:(\$)|(\w+)|\{(\w+)(?:(:?[-?+])([^}]*))?\})")


class ComposeError(Exception):
    """Compose would end with this message on stderr."""


class Port(msgspec.Struct, frozen=True):
    published: int  #: 0: not published
    target: int
    address: str = "0.0.0.0"


class Mount(msgspec.Struct, frozen=True):
    source: str  #: absolute path for a bind, name for a volume
    target: str
    bind: bool


class Service(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    container_name: str
    image: str
    environment: dict[str, str]
    ports: tuple[Port, ...]
    mounts: tuple[Mount, ...]
    depends_on: tuple[str, ...]
    restart: str
    profiles: tuple[str, ...]
    labels: dict[str, str]
    healthcheck: bool


class Project(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    folder: Path
    files: tuple[Path, ...]
    services: dict[str, Service]
    model: dict[str, Any]  #: the merged file, for `config`
    warnings: tuple[str, ...]

    def enabled(self, profiles: frozenset[str]) -> list[str]:
        return [
            n
            for n, s in self.services.items()
            if not s.profiles or profiles & set(s.profiles) or "*" in profiles
        ]


class _Reset(msgspec.Struct):
    value: Any


#: libyaml's, ten times as quick, where PyYAML was built with it
_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_Dumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


@cache
def _loader(version: int) -> Any:
    class Loader(_Base):  # type: ignore[misc]
        pass

    if version == 2:

        def replace(loader: Any, node: yaml.Node) -> _Reset:
            if isinstance(node, yaml.MappingNode):
                return _Reset(loader.construct_mapping(node, deep=True))
            if isinstance(node, yaml.SequenceNode):
                return _Reset(loader.construct_sequence(node, deep=True))
            return _Reset(None)

        Loader.add_constructor("!override", replace)
        Loader.add_constructor("!reset", lambda loader, node: _Reset(None))
    return Loader


def text(model: Any) -> str:
    """As ``config`` prints it."""
    return str(yaml.dump(model, Dumper=_Dumper, sort_keys=False, allow_unicode=True))


def find(cwd: Path, version: int) -> list[Path]:
    """The files Compose takes when none are named: from here upwards, with the override file."""
    for folder in (cwd, *cwd.parents):
        for name in NAMES[version]:
            if (folder / name).is_file():
                override = [folder / o for o in OVERRIDES if (folder / o).is_file()][:1]
                return [folder / name, *override]
    if version == 2:
        raise ComposeError("no configuration file provided: not found")
    raise ComposeError(
        "\nERROR: \n        Can't find a suitable configuration file in this directory or any\n"
        "        parent. Are you in the right directory?\n\n"
        f"        Supported filenames: {', '.join(NAMES[1])}\n        "
    )


def load(files: list[Path], name: str, environment: Mapping[str, str], version: int) -> Project:
    """Read, merge and fill in. Raises ComposeError as Compose words it."""
    folder = files[0].parent
    values = {**_dotenv(folder / ".env"), **environment}
    missing: list[str] = []
    merged: dict[str, Any] = {}
    for file in files:
        try:
            read = yaml.load(file.read_text(), Loader=_loader(version))
        except OSError:
            raise ComposeError(
                f"open {file}: no such file or directory"
                if version == 2
                else f"ERROR: .FileNotFoundError: [Errno 2] No such file or directory: '{file}'"
            ) from None
        except yaml.YAMLError as error:
            prefix = "" if version == 2 else f"ERROR: yaml error in {file}: "
            raise ComposeError(f"{prefix}{error}") from None
        if not isinstance(read, dict) or not isinstance(read.get("services", {}), dict):
            raise ComposeError(f"Top level object in '{file}' needs to be an object with services.")
        if version == 1 and merged and str(read.get("version", "1")) != str(merged.get("version", "1")):
            raise ComposeError(
                f"ERROR: Version mismatch: file {files[0]} specifies version {merged.get('version')} "
                f"but extension file {file} uses version {read.get('version')}"
            )
        merged = _merge(merged, _fill(read, values, missing))
    named = name or values.get("COMPOSE_PROJECT_NAME", "") or (merged.get("name", "") if version == 2 else "")
    named = _project_name(named or folder.resolve().name)
    services = {
        key: _service(key, value or {}, folder, named, version)
        for key, value in merged.get("services", {}).items()
    }
    return Project(
        name=named,
        folder=folder,
        files=tuple(files),
        services=services,
        model=merged,
        warnings=tuple(dict.fromkeys(missing)),
    )


def _project_name(text: str) -> str:
    return re.sub(r"[^-_a-z0-9]", "", text.lower())


def _dotenv(path: Path) -> dict[str, str]:
    try:
        return dotenv.parse(path.read_text())
    except OSError:
        return {}


def _fill(node: Any, values: Mapping[str, str], missing: list[str]) -> Any:
    if isinstance(node, dict):
        return {key: _fill(value, values, missing) for key, value in node.items()}
    if isinstance(node, list):
        return [_fill(value, values, missing) for value in node]
    if isinstance(node, _Reset):
        return _Reset(_fill(node.value, values, missing))
    if not isinstance(node, str):
        return node

    def one(found: re.Match[str]) -> str:
        if found[1]:
            return "$"
        name, sign, rest = found[2] or found[3], found[4] or "", found[5] or ""
        value = values.get(name)
        present = bool(value) if sign.startswith(":") else value is not None
        if sign.endswith("-"):
            return (value or "") if present else rest
        if sign.endswith("+"):
            return rest if present else ""
        if sign.endswith("?") and not present:
            raise ComposeError(f"required variable {name} is missing a value: {rest}")
        if value is None:
            missing.append(name)
        return value or ""

    return _VARIABLE.sub(one, node)


#: keys of a service that map names to values, also written as lists of NAME=VALUE
_MAPPINGS = ("environment", "labels", "depends_on", "healthcheck", "logging", "deploy", "build")
_ADDED = ("ports", "expose", "external_links", "dns", "dns_search", "tmpfs", "profiles")


def _merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    result = {**base}
    for key, value in over.items():
        if key in ("services", "volumes", "networks", "configs", "secrets"):
            section = dict(result.get(key) or {})
            for name, body in (value or {}).items():
                section[name] = _merge_service(section.get(name) or {}, body or {})
            result[key] = section
        else:
            result[key] = value
    return result


def _merge_service(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    result = {**base}
    for key, value in over.items():
        if isinstance(value, _Reset):
            if value.value is None:
                result.pop(key, None)
            else:
                result[key] = value.value
        elif key in _MAPPINGS and key in result:
            result[key] = {**_mapping(result[key]), **_mapping(value)}
        elif key in _ADDED and key in result:
            result[key] = [*result[key], *(item for item in value if item not in result[key])]
        elif key == "volumes" and key in result:
            byplace = {_mount_target(item): item for item in (*result[key], *value)}
            result[key] = list(byplace.values())
        else:
            result[key] = value
    return result


def _mapping(value: Any) -> dict[str, Any]:
    if isinstance(value, list):
        pairs = (str(item).partition("=") for item in value)
        return {key: text if sign else None for key, sign, text in pairs}
    return dict(value or {})


def _mount_target(item: Any) -> str:
    return (
        str(item.get("target"))
        if isinstance(item, dict)
        else str(item).split(":")[1 if ":" in str(item) else 0]
    )


def _service(name: str, body: dict[str, Any], folder: Path, project: str, version: int) -> Service:
    default = f"{project}_{name}_1" if version == 1 else f"{project}-{name}-1"
    environment: dict[str, str] = {}
    files = body.get("env_file") or []
    for file in [files] if isinstance(files, str) else files:
        environment |= _dotenv(folder / str(file))
    environment |= {key: "" if v is None else str(v) for key, v in _mapping(body.get("environment")).items()}
    return Service(
        name=name,
        container_name=str(body.get("container_name", default)),
        image=str(body.get("image", f"{project}_{name}")),
        environment=environment,
        ports=tuple(_port(item) for item in body.get("ports") or []),
        mounts=tuple(_mount(item, folder, project) for item in body.get("volumes") or []),
        depends_on=tuple(_mapping(body.get("depends_on"))),
        restart=str(body.get("restart", "no")),
        profiles=tuple(body.get("profiles") or ()),
        labels={key: str(value) for key, value in _mapping(body.get("labels")).items()},
        healthcheck="healthcheck" in body,
    )


def _port(item: Any) -> Port:
    if isinstance(item, dict):
        return Port(int(item.get("published") or 0), int(item["target"]), str(item.get("host_ip", "0.0.0.0")))
    text = str(item).split("/")[0]
    parts = text.rsplit(":", 2)
    try:
        if len(parts) == 1:
            return Port(0, int(parts[0]))
        return Port(int(parts[-2] or 0), int(parts[-1]), parts[0] if len(parts) == 3 else "0.0.0.0")
    except ValueError:
        raise ComposeError(f"Invalid port specification: {item!r}") from None


def _mount(item: Any, folder: Path, project: str) -> Mount:
    if isinstance(item, dict):
        source, target = str(item.get("source", "")), str(item.get("target", ""))
    else:
        source, _, rest = str(item).partition(":")
        target = rest.split(":")[0]
    if source.startswith(("/", "./", "../", "~", ".")):
        return Mount(str((folder / source).resolve()), target, True)
    return Mount(f"{project}_{source}", target, False)
