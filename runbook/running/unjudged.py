"""What was done, and then not judged: the program was stopped between an act's end and its verdict."""

from __future__ import annotations

from runbook.record.state import RunState


def unjudged(state: RunState, step: str, host: str) -> str:
    """In words, when the newest act of that host in that step is on record as done, and neither a
    verdict nor a question to a person followed; "" otherwise. Then only the checks are left to do."""
    for attempt in reversed(state.steps[step].attempts):
        found = attempt.hosts.get(host)
        if found is None or not found.started_at:
            continue
        if attempt.decided:
            return ""
        if found.ended:
            done = found.outcome == "done"
            return "It was done before this program was stopped; it is not done again." if done else ""
        where = (step, attempt.number, host)
        jobs = [job for job in state.jobs.values() if (job.step, job.attempt, job.host) == where]
        if jobs and all(job.ended_at and job.exit_status == 0 for job in jobs):
            return "Its job ended with exit status 0 while this program was away; it was not run again."
        return ""
    return ""
