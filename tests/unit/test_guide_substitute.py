"""References in parameters are filled in, with their types; secrets stay out of reach."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runbook.errors import UseError
from runbook.guide.substitute import substitute
from runbook.site.model import CouchDB, Platform, SecretRef, Site, Tofu

SITE = Site(
    name="here",
    platform=Platform(domain="edx.example.org"),
    couchdb=CouchDB(password=SecretRef(env="A"), cookie=SecretRef(env="B"), secret=SecretRef(ask="C")),
    tofu=Tofu(variables={"region": "fsn1"}, var_files=("a", "b")),
)
SAVED = {"deploy": {"ips": ["203.0.113.1", "203.0.113.2"], "paid": True, "table": {"a": 1}}}


@pytest.mark.parametrize(
    ("given", "becomes"),
    [
        ("${site.platform.domain}", "edx.example.org"),
        ("${site.couchdb.q}", 8),
        ("${site.tofu.var_files}", ["a", "b"]),
        ("${site.tofu.variables.region}", "fsn1"),
        ("${steps.deploy.ips}", ["203.0.113.1", "203.0.113.2"]),
        ("${steps.deploy.table}", {"a": 1}),
        ("q=${site.couchdb.q}, ${steps.deploy.paid}", "q=8, true"),
        ("point ${site.name} at ${steps.deploy.ips}", "point here at 203.0.113.1, 203.0.113.2"),
        ("$${site.name} $${ $ {", "${site.name} ${ $ {"),
        (["${site.name}", {"k": "${site.couchdb.q}"}, 3], ["here", {"k": 8}, 3]),
        (True, True),
    ],
)
def test_values(given: object, becomes: object) -> None:
    assert substitute({"x": given}, SITE, SAVED) == {"x": becomes}


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("${site.couchdb.password}", "secrets are not reachable"),
        ("${site.couchdb.password.env}", "secret"),
        ("${site.tofu.secrets.token}", "secrets are not reachable"),
        ("${site.__class__.__name__}", "site has no"),
        ("${site.couchdb}", "table"),
        ("${site.nope}", "site has no"),
        ("${site.machines.backup}", "table"),
        ("${site.tofu.variables.nope}", "not set"),
        ("${steps.deploy.nope}", "saved no 'nope'"),
        ("${steps.nope.x}", "saved no 'x'"),
        ("a ${steps.deploy.table}", "table"),
        ("${env.HOME}", "a reference is"),
        ("${", "a reference is"),
    ],
)
def test_refusals(given: str, told: str) -> None:
    with pytest.raises(UseError, match=told):
        substitute({"x": given}, SITE, SAVED)


def test_what_comes_in_is_not_looked_at_again() -> None:
    saved = {"a": {"b": "${site.name} $${"}}
    assert substitute({"x": "${steps.a.b}", "y": "<${steps.a.b}>"}, SITE, saved) == {
        "x": "${site.name} $${",
        "y": "<${site.name} $${>",
    }


@given(st.text(alphabet="${}site.name\n ab", max_size=30))
def test_any_text(text: str) -> None:
    try:
        assert isinstance(substitute({"x": text}, SITE, SAVED)["x"], str)
    except UseError as error:
        assert error.what
