"""Are Docker and docker-compose there, and are the platform's services steady?"""

from __future__ import annotations

from collections.abc import Iterable

from runbook.check import Finding, check
from runbook.context import Look
from runbook.errors import ActionFailed, CouldNotLook
from runbook.platform import compose, docker, watching
from runbook.platform.docker import Container
from runbook.platform.steady import LOOKS, describe, overall
from runbook.units import Duration, duration, parse_duration


@check("Docker and compose work here", on="step")
async def installed(look: Look) -> Finding:
    """docker-compose of either version, one the engine can work with; the daemon answers."""
    expected = "docker-compose 1 or 2 and an engine that fits it"
    found = await compose.detect(look.host)
    if found is None:
        return Finding(
            verdict="fail",
            expected=expected,
            observed="neither 'docker compose' nor 'docker-compose' is there",
        )
    try:
        engine = await docker.ENGINE.ask(look.host)
    except CouldNotLook as error:  # the daemon's silence is the answer to this question
        return Finding(verdict="fail", expected=expected, observed=error.what, evidence=error.next)
    fatal, remark = compose.misfit(found, engine)
    return Finding(
        verdict="fail" if fatal else "warn" if remark else "pass",
        expected=expected,
        observed=f"{found}, engine {engine.version}" + (f"; {remark}" if remark else ""),
    )


@check("The compose file is where it should be", on="step")
async def file_found(look: Look) -> Finding:
    expected = "a compose file in the unpacked platform"
    try:
        folder, files = await compose.find_files(look)
    except CouldNotLook as error:
        return Finding(verdict="fail", expected=expected, observed=error.what)
    return Finding(verdict="pass", expected=expected, observed=f"{folder}: {', '.join(files)}")


@check("Services are steady", on="step")
async def steady(
    look: Look, services: str = "", over: Duration = "6s", once: str = "", exclude: str = ""
) -> Finding:
    """Running, with the same start time and restart count over the whole of ``over``, and not
    unhealthy. What was seen before in this run counts: what is the same since needs no new window,
    and a restart since is a remark.

    ``services``: names with commas; empty = every service of the compose file whose profile is on,
    but Watchtower and those in ``exclude``: one without a container is missed."""
    project, wanted = await _project(look, services, exclude)
    if not wanted:
        return _nothing(project)
    window = parse_duration(over)
    watch = watching.watch(look.host, wanted, window, once=_list(once))
    began, looks = watching.now(), 0
    async for standings in watching.looks(look.host, project.name, watch, window / (LOOKS - 1)):
        state, looks = overall(standings), looks + 1
        if state != "waiting" or (looks >= LOOKS and watching.now() - began >= window):
            break
    remark = _watchtower(watch.containers)
    remarked = remark or any(one.restarts for one in standings)
    return Finding(
        verdict="fail" if state != "steady" else "warn" if remarked else "pass",
        expected=f"{', '.join(wanted)}: running unchanged for {duration(window)}",
        observed="; ".join(filter(None, [describe(standings), remark])),
        evidence=f"docker inspect, project {project.name}; looks of this check: {looks}",
    )


@check("Services are healthy", on="step")
async def healthy(look: Look, services: str = "", exclude: str = "") -> Finding:
    """What Docker's own health checks say now; a service without one can only be seen running.
    ``services`` and ``exclude`` as for steady."""
    project, wanted = await _project(look, services, exclude)
    if not wanted:
        return _nothing(project)
    found = await docker.containers(look.host, project.name)
    remark = _watchtower(found)
    words, bad, blind = [remark] if remark else [], False, bool(remark)
    for name in wanted:
        own = [one for one in found if one.service == name]
        for one in own:
            said = one.health or "no health check"
            words.append(f"{name} {one.status}, {said}{f': {one.health_says}' if one.health_says else ''}")
            bad |= one.status != "running" or one.health not in ("", "healthy")
            blind |= not one.health
        if not own:
            words.append(f"{name} no container")
            bad = True
    return Finding(
        verdict="fail" if bad else "warn" if blind else "pass",
        expected=f"{', '.join(wanted)}: running and healthy",
        observed="; ".join(words),
    )


def _nothing(project: compose.Project) -> Finding:
    text = f"none of the services in {project.folder}/{project.files[0]} is meant"
    return Finding(verdict="fail", expected="at least one service to look at", observed=text)


def _list(names: str) -> list[str]:
    return [name.strip() for name in names.split(",") if name.strip()]


def _watchtower(containers: Iterable[Container]) -> str:
    """A remark when it is at work."""
    awake = any(one.service == compose.WATCHTOWER and one.status == "running" for one in containers)
    return "watchtower is running: it may replace images at any time" if awake else ""


async def _project(look: Look, services: str, exclude: str) -> tuple[compose.Project, tuple[str, ...]]:
    """The project, and the services asked about."""
    project = await compose.find_project(look)
    known = await project.services(look.host)
    try:
        return project, compose.wanted(known, _list(services), _list(exclude))
    except ActionFailed as error:
        raise CouldNotLook(error.what, next=error.next) from None
