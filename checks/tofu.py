"""OpenTofu on this PC."""

from __future__ import annotations

from runbook.check import Finding, check
from runbook.context import Look
from runbook.errors import CouldNotLook
from runbook.tofu import program as tofu


@check("OpenTofu is installed", on="once")
async def installed(look: Look) -> Finding:
    """tofu, else terraform (or the site's program) is on the PATH and says its version. A stand-in
    serves in practice alone."""
    expected = look.site.tofu.program or "tofu, or terraform"
    try:
        program = await tofu.find(look)
    except CouldNotLook as error:
        return Finding(verdict="fail", expected=expected, observed=str(error))
    observed = f"{program.version} ({program.path})"
    if program.kind != "stand-in":
        return Finding(verdict="pass", expected=expected, observed=observed)
    if look.mode == "practice":
        return Finding(verdict="pass", expected=expected, observed=observed, simulated=True)
    return Finding(
        verdict="fail",
        expected=expected,
        observed=f"{observed}: a stand-in makes no machines",
        simulated=True,
    )
