"""Secrets written out: found in settings and in OpenTofu's files, and taken out of the latter."""

from __future__ import annotations

import pytest

from runbook.kit import plain


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ('password = "hunter2"', "password"),
        ("# was: couchdb_password = 'hunter2'", "couchdb_password"),
        ('headers = { "X-Api-Key" = "hunter2" }', "X-Api-Key"),
        ('url = "https://admin:hunter2@10.0.1.10:5984"', "a login in an address"),
        ("-----BEGIN OPENSSH PRIVATE KEY-----", "a private key"),
        ("token = <<EOT", "token"),
        ('secret = """', "secret"),
    ],
)
def test_a_secret_in_plain_is_found_and_its_value_not_told(text: str, what: str) -> None:
    found = plain.find(f"harmless\n{text}")
    assert [(one.line, one.what) for one in found] == [(2, what)]


@pytest.mark.parametrize(
    "text",
    [
        'password = { env = "COUCHDB_PASSWORD" }',
        'cookie = { env_file = "docker/.env", key = "COUCHDB_COOKIE" }',
        '#   { file = "path" }   a file of mode 0600',
        'token = "${var.hcloud_token}"',
        "token = var.hcloud_token",
        'password_file = "~/secret.txt"',
        'secret = ""',
        'url = "http://10.0.1.10:5984"',
    ],
)
def test_what_only_refers_to_a_secret_is_none(text: str) -> None:
    assert plain.find(text) == []


@pytest.mark.parametrize("text", ["DB_PASSWORD=hunter2", "password: hunter2", "export API_TOKEN='hunter2'"])
def test_without_quotes_where_a_format_needs_none(text: str) -> None:
    assert plain.find(text, bare=True)


@pytest.mark.parametrize("text", ["DB_PASSWORD=$1", "password: {{ password }}", "password: see the store"])
def test_a_reference_without_quotes_is_none(text: str) -> None:
    assert plain.find(text, bare=True) == []


def test_a_values_file_keeps_all_but_the_secrets() -> None:
    text = 'hcloud_token = "hunter2"\nadmin = "hunter3"\npin_secret = 1234\ndomain_name = "x.example.org"\n'
    clean, found = plain.without(text, {"admin"}, values=True)
    assert clean is not None and "hunter" not in clean and "1234" not in clean
    assert clean.endswith('\ndomain_name = "x.example.org"\n')
    assert [one.what for one in found] == ["hcloud_token", "admin", "pin_secret"]


def test_code_stays_code() -> None:
    text = """\
variable "odd" {
  sensitive = true
  default   = "hunter2"
}
variable "n" { default = 3 }
variable "api_token" { default = "hunter3" }
locals { password = "hunter4" }
provider "x" { token = var.odd }
"""
    clean, found = plain.without(text, plain.variables(text), values=False)
    assert clean is not None and "hunter" not in clean
    assert 'variable "n" { default = 3 }' in clean and "token = var.odd" in clean
    assert clean.count("null") == 3
    assert [one.line for one in found] == [3, 6, 7]


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("hcloud_token = <<EOT\nhunter2\nEOT\n", True),
        ('secrets = {\n  a = "hunter2"\n}\n', True),
        ("locals {\n  password = <<EOT\nhunter2\nEOT\n}\n", False),
        ('variable "api_token" {\n  default = {\n    a = "hunter2"\n  }\n}\n', False),
    ],
)
def test_what_goes_over_lines_is_left_out_whole(text: str, values: bool) -> None:
    clean, found = plain.without(text, set(), values=values)
    assert clean is None and found


def test_a_variable_is_known_as_sensitive_by_its_own_block() -> None:
    text = 'variable "n" { default = 3 }\nvariable "t" {\n  sensitive = true\n}\n'
    text += 'variable "z" { sensitive = true }'
    assert plain.variables(text) == {"t", "z"}
