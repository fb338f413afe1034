"""No secret is written, in whatever form and however the output is cut."""

from __future__ import annotations

import base64
import html
import json
from itertools import pairwise
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runbook.redact import Redactor

SECRET = 'c4nary/"päss" +word\'&<x>'


def redactor(value: str = SECRET, label: str = "couchdb.password") -> Redactor:
    made = Redactor()
    made.learn(value, label)
    return made


def forms(value: str) -> dict[str, str]:
    raw = value.encode()
    return {
        "plain": value,
        "json": json.dumps({"password": value}),
        "json, not ASCII": json.dumps({"password": value}, ensure_ascii=False),
        "quote": quote(value),
        "quote, all": quote(value, safe=""),
        "quote, lower case": quote(value, safe="").replace("%22", "%22").lower(),
        "quote_plus": quote_plus(value),
        "html": html.escape(value),
        "shell": "'" + value.replace("'", "'\"'\"'") + "'",
        "base64": base64.b64encode(raw).decode(),
        "base64, URL": base64.urlsafe_b64encode(raw).decode(),
        "basic 1": base64.b64encode(b"a:" + raw).decode(),
        "basic 2": base64.b64encode(b"ab:" + raw).decode(),
        "basic 3": base64.b64encode(b"admin1:" + raw).decode(),
    }


@pytest.mark.parametrize("form", forms(SECRET))
def test_every_form_is_found(form: str) -> None:
    text = f"before {forms(SECRET)[form]} after"
    clean = redactor().text(text)
    assert "[secret couchdb.password]" in clean
    assert clean.startswith("before ") and clean.endswith(" after")
    assert "nary" not in clean and "Y2Fu" not in clean


@given(
    st.text("abc=:\"' \n", min_size=1, max_size=12),
    st.text("abc=:\"' \n", max_size=60),
    st.lists(st.integers(0, 80)),
    st.sampled_from(["password", "b", "ab", "admin"]),
)
def test_a_stream_writes_what_the_whole_would(secret: str, text: str, cuts: list[int], weak: str) -> None:
    found = Redactor()
    found.learn(secret, "one")
    found.learn(weak, "weak")
    raw = (text + secret + text + weak + text).encode()
    stream = found.stream()
    borders = [0, *sorted(min(cut, len(raw)) for cut in cuts), len(raw)]
    parts = [stream.feed(raw[a:b]) for a, b in pairwise(borders)]
    assert b"".join([*parts, stream.flush()]) == found.raw(raw)


def test_a_stream_holds_back_only_what_could_begin_a_secret() -> None:
    stream = redactor("hunter2-and-more", "p").stream()
    assert stream.feed(b"no secret here\n") == b"no secret here\n"
    assert stream.feed(b"login with hunt") == b"login with "
    assert stream.feed(b"ing") == b"hunting"
    assert stream.feed(b" hunter2-and-m") == b" "
    assert stream.feed(b"ore.") == b"[secret p]."
    assert stream.flush() == b""


def test_a_secret_learnt_while_a_stream_is_open_counts_at_once() -> None:
    found = Redactor()
    stream = found.stream()
    assert stream.feed(b"tok-123456 ") == b"tok-123456 "
    found.learn("tok-123456", "token")
    assert stream.feed(b"tok-123456 ") == b"[secret token] "


@given(st.text(min_size=4, max_size=30), st.text(max_size=30))
def test_redacting_twice_changes_nothing(secret: str, around: str) -> None:
    found = redactor(secret, "db.password from env PASSWORD")
    once = found.text(around + secret + around)
    assert found.text(once) == once


def test_default_passwords_are_redacted_as_values_only() -> None:
    found = redactor("password", "couchdb.password")
    for text in (
        "Permission denied (publickey,password).",
        "usage: --password-stdin",
        '{"password": "*"}',
        "wrong password",
    ):
        assert found.text(text) == text
    mark = "[secret couchdb.password]"
    for before, after in (
        ("COUCHDB_PASSWORD=", "\n"),
        ('{"password": "', '"}'),
        ("http://admin:", "@127.0.0.1:5984/"),
        ("password: ", "\n"),
        ("PASSWORD='", "'"),
    ):
        assert found.text(f"{before}password{after}") == f"{before}{mark}{after}"
    basic = base64.b64encode(b"admin:password").decode()
    assert basic not in found.text(f"Authorization: Basic {basic}")


def test_short_secrets_do_not_destroy_texts() -> None:
    found = redactor("abc", "pin")
    assert found.text("abcdef abc") == "abcdef abc"
    assert found.text("PIN=abc PIN=abcd") == "PIN=[secret pin] PIN=abcd"


def test_a_short_login_is_found_as_a_pair() -> None:
    found = Redactor()
    found.learn_login("admin", "abc", "login")
    assert "abc" not in found.text("curl -u admin:abc http://x")
    basic = base64.b64encode(b"admin:abc").decode()
    assert basic[:-2] not in found.text(basic)


def test_every_line_of_a_key_is_a_secret() -> None:
    rows = [base64.b64encode(bytes([n]) * 48).decode() for n in range(1, 20)]
    key = "-----BEGIN OPENSSH PRIVATE KEY-----\n" + "\n".join(rows) + "\n-----END OPENSSH PRIVATE KEY-----\n"
    found = redactor(key, "key")
    for shown in (
        key,
        key.replace("\n", "\r\n    "),
        json.dumps(key),
        base64.b64encode(key.encode()).decode(),
    ):
        clean = found.text(shown)
        assert not any(row[:20] in clean for row in rows)
        assert base64.b64encode(rows[3].encode()).decode()[4:40] not in clean


def test_data_of_any_shape() -> None:
    found = redactor("s3cret", "x")
    assert found.data({"a s3cret": ["s3cret", {"n": 1, "t": ("s3cret", None, 1.5)}]}) == {
        "a [secret x]": ["[secret x]", {"n": 1, "t": ["[secret x]", None, 1.5]}]
    }


def test_nothing_learnt_changes_nothing() -> None:
    found = Redactor()
    found.learn("", "empty")
    assert found.text("any \udcff") == "any \udcff"
    assert found.stream().feed(b"any") == b"any"
