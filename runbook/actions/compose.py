"""compose.up: start services with docker-compose and watch until they are steady.

``up -d`` exiting 0 proves nothing (a service may die in a restart loop behind it), so the act ends
well only when the containers themselves have been steady for a while.
"""

from __future__ import annotations

import asyncio

from runbook.action import Outcome, Params, Plan, Probe
from runbook.context import Context, Look
from runbook.errors import ActionFailed, CouldNotLook
from runbook.hosts.base import Completed, Host
from runbook.platform import compose, docker, steady, watching
from runbook.platform.compose import Project, Service
from runbook.platform.docker import Container
from runbook.platform.steady import Standing, Watch
from runbook.platform.troubles import SERVICES, Trouble, explain, last_lines
from runbook.platform.watching import now
from runbook.units import Duration, duration, parse_duration

#: lines of a service's log that go into the output when it is not steady
_LOGGED = 20


class UpParams(Params, frozen=True, kw_only=True):
    """``services``: empty = all whose profile is on. ``once``: services that are meant to end with
    exit status 0. ``timeout``: until all are steady, after the start; ``start_timeout``: for pulling
    and starting. Steady is: unchanged for ``steady_for``, looked at every ``every``."""

    services: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    once: tuple[str, ...] = ()
    timeout: Duration = "10m"
    start_timeout: Duration = "30m"
    steady_for: Duration = "6s"
    every: Duration = "2s"


class Up:
    scope = "per_host"
    repeat = "probe_first"
    params = UpParams
    outputs = ()

    async def probe(self, look: Look, params: UpParams) -> Probe:
        """Satisfied when every wanted service is there, made from today's compose files, steady and
        not unhealthy."""
        project = await compose.find_project(look)
        wanted = await _wanted(look, project, params)
        watch = watching.watch(look.host, wanted, parse_duration(params.steady_for), once=params.once)
        end = now() + watch.window + 10
        async for standings in watching.looks(look.host, project.name, watch, parse_duration(params.every)):
            # only worth the window as long as nothing is seen to be wrong
            good = all(one.container and one.container.status in ("running", "exited") for one in standings)
            if not good or steady.overall(standings) != "waiting" or now() >= end:
                break
        old = await project.outdated(look.host, [one.container for one in standings if one.container])
        remark = f"; made from another configuration: {', '.join(old)}" if old else ""
        facts = ", ".join(_facts(standings)) or "no containers"
        return Probe(
            satisfied=steady.overall(standings) == "steady" and not old,
            summary=steady.describe(standings) + remark,
            evidence=f"docker inspect, project {project.name}: {facts}",
        )

    async def plan(self, look: Look, params: UpParams) -> Plan:
        project = await compose.find_project(look)
        known, every = await asyncio.gather(project.services(look.host), docker.containers(look.host, None))
        wanted = compose.wanted(known, params.services, params.exclude)
        if not wanted:
            raise ActionFailed("No service is left to start. Nothing was done.", next="Correct the step.")
        _refuse_taken_names(look.host, project, {name: known[name] for name in wanted}, every)
        argv = project.argv("up", "-d", *wanted)
        lines = (_service_line(look.host, name, known, project, every) for name in wanted)
        items = [f"in {project.folder}: {' '.join(argv)}", *await asyncio.gather(*lines)]
        if compose.WATCHTOWER in known:
            items.append("watchtower: left out, it would replace images during the recovery")
        others = sorted(
            one.name for one in every if not (one.project == project.name and one.service in wanted)
        )
        items.append(f"other containers here: {', '.join(others) or 'none'}")
        return Plan(
            summary=f"start {', '.join(wanted)} on {look.host.name} and watch until steady",
            items=tuple(items),
            changes=f"creates and starts the containers of {', '.join(wanted)}",
            data={"argv": argv, "folder": project.folder, "project": project.name, "services": list(wanted)},
        )

    async def act(self, context: Context, params: UpParams, plan: Plan) -> Outcome:
        host, voice, data = context.host, context.voice, plan.data
        wanted = tuple(data["services"])
        before = await docker.containers(host, data["project"])
        done = await voice.job(
            data["argv"],
            name=f"compose-up-{plan.digest()[:12]}",
            cwd=data["folder"],
            timeout=parse_duration(params.start_timeout),
        )
        window = parse_duration(params.steady_for)
        watch = watching.watch(host, wanted, window, once=params.once, before=before)
        if not done.ok:
            await _believe_the_world(context, watch, data["project"], done)
        standings = await _until_steady(context, watch, data["project"], params)
        voice.note(f"{host.name}: {steady.describe(standings)}", containers=_facts(standings))
        return Outcome(summary=steady.describe(standings))


async def _wanted(look: Look, project: Project, params: UpParams) -> tuple[str, ...]:
    try:
        return compose.wanted(await project.services(look.host), params.services, params.exclude)
    except ActionFailed as error:
        raise CouldNotLook(error.what, next=error.next) from None


def _facts(standings: list[Standing]) -> list[str]:
    return [
        f"{one.container.name} {one.container.status} restarts={one.container.restarts}"
        f" started={one.container.started} image={one.container.image}"
        for one in standings
        if one.container
    ]


async def _service_line(
    host: Host, name: str, known: dict[str, Service], project: Project, every: list[Container]
) -> str:
    """``lms: image lms:1.2 (here); a container is there; also starts couchdb``"""
    service = known[name]
    parts = []
    if service.image:
        here = await docker.IMAGE.ask(host, service.image)
        where = {True: "here", False: "to be pulled", None: "could not look whether it is here"}[here]
        tag = service.image.rpartition("/")[2].partition(":")[2]
        loose = "" if "@" in service.image or tag not in ("", "latest") else ", version NOT pinned"
        parts.append(f"image {service.image} ({where}{loose})")
    else:
        parts.append("image is built here")
    own = [one for one in every if one.project == project.name and one.service == name]
    parts.append("a container is there" if own else "container is new")
    if service.depends_on:
        parts.append(f"also starts {', '.join(service.depends_on)}")
    return f"{name}: {'; '.join(parts)}"


def _refuse_taken_names(
    host: Host, project: Project, services: dict[str, Service], every: list[Container]
) -> None:
    """Compose would fail on a container name that another project took; find it before."""
    names = {one.container_name for one in services.values() if one.container_name}
    for one in every:
        if one.name in names and one.project != project.name:
            owner = f"project {one.project} (in {one.folder})" if one.project else "no compose project"
            raise ActionFailed(
                f"{host.name}: the container name {one.name} is taken by a container of {owner},"
                f" {one.status}; project {project.name} cannot start its own. Nothing was changed.",
                next="If that is this platform under another project name, set platform.project in"
                " runbook.toml (another name makes fresh, empty volumes); else remove it:"
                f" docker rm -f {one.name}",
            )


async def _believe_the_world(context: Context, watch: Watch, project: str, done: Completed) -> None:
    """``up`` did not exit 0: an error, unless all that was wanted runs all the same."""
    host = context.host
    standings = await watching.look(host, project, watch)
    status = "an unknown outcome" if done.exit_status is None else f"exit status {done.exit_status}"
    if all(one.container and one.container.status == "running" for one in standings):
        context.voice.note(f"{host.name}: docker-compose up ended with {status}, but all wanted services run")
        return
    said = (done.stdout + done.stderr).decode(errors="replace")
    trouble = explain(said) or Trouble(f"It said: {last_lines(said, 3) or 'nothing'}", "Retry after mending.")
    raise ActionFailed(
        f"{host.name}: docker-compose up ended with {status}. {trouble.what}"
        f" Now: {steady.describe(standings)}. Containers that were started stay.",
        next=trouble.next,
    )


async def _until_steady(context: Context, watch: Watch, project: str, params: UpParams) -> list[Standing]:
    """Look until all are steady; ActionFailed with the cause when one fails or time is over, its last log
    lines in the output."""
    host, limit = context.host, parse_duration(params.timeout)
    began = now()
    async for standings in watching.looks(host, project, watch, parse_duration(params.every)):
        state = steady.overall(standings)
        if state == "steady":
            break
        if state == "failing":
            raise await _failure(context, standings, "")
        for one in standings:  # a cause that restarting cannot cure need not be waited for
            if one.container and one.restarts >= 2 and (await _logs(host, one.container))[1]:
                raise await _failure(context, [one], "")
        if now() - began >= limit:
            raise await _failure(context, standings, f" within {duration(limit)}")
        left = [one for one in standings if one.state != "steady"]
        steadied = len(standings) - len(left)
        which = "; ".join(f"{one.service} ({one.text})" for one in left)
        aside = f", {steadied} of {len(standings)} services are" if steadied else ""
        context.voice.waiting(f"{which} to be steady{aside}", limit)
    return standings


async def _logs(host: Host, container: Container) -> tuple[str, Trouble | None]:
    text = await docker.LOGS.ask(host, container.id)
    return text, explain(text, SERVICES)


def _shortened(text: str, most: int = 160) -> str:
    return text if len(text) <= most else f"{text[:most].rstrip()} …"


async def _failure(context: Context, standings: list[Standing], when: str) -> ActionFailed:
    """Names container, status, exit status, restarts and the known cause; without one, the last line that
    it logged. More of the log goes into the output."""
    host = context.host
    bad = [one for one in standings if one.state == "failing"] or [
        one for one in standings if one.state != "steady"
    ]
    found, next_ = [], []
    for one in bad:
        words = [f"{one.service} is not steady{when}: {one.text}."]
        if one.container:
            log, cause = await _logs(host, one.container)
            trouble = cause or explain(one.container.error)
            if trouble:
                words.append(trouble.what)
                next_.append(trouble.next)
            else:
                words.append(f"Its last line: {_shortened(last_lines(log, 1)) or 'none'}.")
            for line in log.splitlines()[-_LOGGED:]:
                context.voice.say(f"{one.container.name}: {line}")
            next_.append(f"Its last lines are in the output; all: docker logs {one.container.name}.")
        found.append(" ".join(words))
    next_.append("The containers were left as they are; mend the cause, then retry.")
    return ActionFailed(f"{host.name}: {'; '.join(found)}", next=" ".join(dict.fromkeys(next_)))
