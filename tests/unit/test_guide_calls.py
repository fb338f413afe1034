"""Check calls are read, never run."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runbook.guide.calls import CheckCall, parse_call


def test_forms() -> None:
    assert parse_call("hosts.reachable") == CheckCall("hosts.reachable", "hosts.reachable", {})
    call = parse_call(" a.b(x='s', y=-2, z=1.5, t=True, on='host:vm2', within='5m', required=False) ")
    assert call.args == {"x": "s", "y": -2, "z": 1.5, "t": True}
    assert (call.on, call.within, call.required) == ("host:vm2", 300, False)
    assert call.text.startswith("a.b(") and call.text.endswith(")")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "not a check call"),
        ("a.b.c", "not a check call"),
        ("A.b", "not a check call"),
        ("__import__('os').system('true')", "not a check call"),
        ("a.b(x=__import__('os'))", "plain text, a number"),
        ("a.b(x=[1])", "plain text, a number"),
        ("a.b(x=f'{1}')", "plain text, a number"),
        ("a.b(x=-True)", "plain text, a number"),
        ("a.b(x=None)", "plain text, a number"),
        ("a.b(x=b'')", "plain text, a number"),
        ("a.b(x='${site.name}')", "no references"),
        ("a.b('x')", "need names"),
        ("a.b(**{})", r"\*\*"),
        ("a.b(x=1, x=2)", "given twice"),
        ("a.b(on='mars')", "each production"),
        ("a.b(on=1)", "each production"),
        ("a.b(required=1)", "True or False"),
        ("a.b(within=5)", "a duration"),
        ("a.b(within='soon')", "not a duration"),
        ("a.b" + "(" * 400, "not a check call"),
        ("-" * 900 + "1", "not a check call"),
        ("a.b(x='" + "y" * 1000 + "')", "1000 characters"),
        ("a.b(x='\x00')", "not a check call"),
    ],
)
def test_refusals(text: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        parse_call(text)


VALUES = st.one_of(
    st.booleans(),
    st.integers(-(10**9), 10**9),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=20).filter(lambda text: "${" not in text),
)
NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True).filter(
    lambda name: name not in ("on", "within", "required") and not __import__("keyword").iskeyword(name)
)


@settings(deadline=None)
@given(st.dictionaries(NAMES, VALUES, max_size=4))
def test_literals_come_back_as_they_are(args: dict[str, object]) -> None:
    text = ", ".join(f"{name}={value!r}" for name, value in args.items())
    assert parse_call(f"a.b({text})").args == args


@settings(deadline=None)
@given(st.text() | st.text(alphabet="a.b(x='1\\\"){}[]-,*:=\n\t#", max_size=30))
def test_any_text_is_a_call_or_a_value_error(text: str) -> None:
    try:
        parse_call(text)
    except ValueError as error:
        assert str(error)
