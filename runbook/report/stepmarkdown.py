"""Section 8 of the report: one step, with everything that was done and seen in it."""

from __future__ import annotations

import msgspec

from runbook.report import model
from runbook.report.words import block, checks_table, ended_in, facts, sized, table, took, when
from runbook.text import cell

#: of a plan's items and a note's data, which can be long; the JSON has all
_MOST = 40


def step_lines(step: model.Step) -> list[str]:
    words = [step.status, "" if step.verdict == "not ended" else f"verdict {step.verdict}", _how(step.how)]
    lines = [f"### Step {cell(step.id)}: {cell(step.title)}", ""]
    lines += facts(
        ("Result", f"{', '.join(dict.fromkeys(word for word in words if word))} ({step.label})"),
        *((("Reason", step.reason),) if step.reason else ()),
        *((("Decided by", step.by),) if step.by else ()),
        ("Action", f"{step.action}, on {step.on}"),
        *((("Inputs", _json(step.inputs)),) if step.inputs else ()),
        *((("Saved", _json(step.saved)),) if step.saved else ()),
        ("Time", _time(step)),
        ("SHA-256 of its text", step.sha256),
        *((("Looked at again on resuming", "; ".join(step.looked_back)),) if step.looked_back else ()),
    )
    for attempt in step.attempts:
        part = _attempt(attempt)
        lines += ["", *(part if part[-1] else part[:-1])]
    return [*lines, ""]


def _how(how: str) -> str:
    return {
        "acted": "by its action",
        "already": "the world already was so",
        "by_hand": "by hand",
        "checked": "by checks alone",
    }.get(how, how)


def _time(step: model.Step) -> str:
    ended = f"{when(step.ended)}, {took(step.seconds)}" if step.seconds is not None else "not ended"
    expected = f"; expected {step.expected}" if step.expected else ""
    limit = f"; limit {took(step.limit)} for a host and attempt" if step.limit else ""
    return f"{when(step.started)} to {ended}{expected}{limit}"


def _attempt(attempt: model.Attempt) -> list[str]:
    lines = [f"#### Attempt {attempt.number}, {when(attempt.started)}", ""]
    before = [check for check in attempt.checks if check.phase == "before"]
    after = [check for check in attempt.checks if check.phase != "before"]
    if before:
        lines += ["Before:", "", *checks_table(before), ""]
    if any(host.probe or host.plan or host.started for host in attempt.hosts):
        lines += _hosts(attempt.hosts)
    if attempt.commands:
        rows = [
            (when(ran.at), ran.host, ran.command, ended_in(ran.exit_status), took(ran.seconds))
            for ran in attempt.commands
        ]
        lines += ["Commands:", "", *table(("ended", "host", "command", "exit", "took"), rows), ""]
    for fact in attempt.facts:
        data = f" — {cell(_json(fact.data), limit=1000)}" if fact.data else ""
        lines.append(f"- {when(fact.at)}, {cell(fact.host)}: {cell(fact.text)}{data}")
    if attempt.facts:
        lines.append("")
    if after:
        lines += ["After:", "", *checks_table(after)]
    return lines


def _hosts(hosts: tuple[model.OnHost, ...]) -> list[str]:
    lines: list[str] = []
    for host in hosts:
        if host.plan:
            lines += [f"Plan for {cell(host.host)} (digest {host.digest[:16]}): {cell(host.plan)}"]
            lines += [f"This {cell(host.changes)}."] if host.changes else []
            items = list(host.items[:_MOST])
            if len(host.items) > _MOST:
                items.append(f"… and {len(host.items) - _MOST} more (the JSON report has them)")
            lines += ["", *block("\n".join(item.replace("\n", " ") for item in items))] if items else []
            lines.append("")
    rows = [
        (
            host.host,
            host.outcome,
            host.probe,
            f"{host.summary} {host.next}".strip(),
            when(host.started) if host.started else "",
            took(host.seconds) if host.seconds is not None else "",
            f"{host.output}, {sized(host.output_bytes)}, SHA-256 {host.output_sha256}" if host.output else "",
        )
        for host in hosts
    ]
    headers = ("host", "outcome", "found before", "what happened", "begun", "took", "output")
    return [*lines, *table(headers, rows), ""]


def _json(value: object) -> str:
    return msgspec.json.encode(value, order="sorted").decode()
