"""Passwords and session cookies as CouchDB keeps them."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable, Mapping
from typing import Any

Entropy = Callable[[int], str]  #: n random bytes in hex


def modern(version: str) -> bool:
    """Since 3.4 PBKDF2 runs over SHA-256 and 600,000 rounds; before, over SHA-1 and 10."""
    major, minor = version.split(".")[:2]
    return (int(major), int(minor)) >= (3, 4)


def rounds(version: str) -> int:
    return 600_000 if modern(version) else 10


def derive(password: str, salt: str, iterations: int, prf: str) -> str:
    return hashlib.pbkdf2_hmac(prf, password.encode(), salt.encode(), iterations).hex()


def admin_hash(password: str, version: str, iterations: int, entropy: Entropy) -> str:
    """A plain password as the [admins] section keeps it; one that is hashed already stays."""
    if password.startswith(("-pbkdf2", "-hashed-")):
        return password
    prf = "sha256" if modern(version) else "sha1"
    kind = "-pbkdf2:sha256-" if modern(version) else "-pbkdf2-"
    salt = entropy(16)
    return f"{kind}{derive(password, salt, iterations, prf)},{salt},{iterations}"


def admin_salt(stored: str) -> str:
    parts = stored.split(",")
    return parts[1] if len(parts) > 1 else ""


def admin_matches(stored: str, password: str) -> bool:
    kind, _, rest = stored[1:].partition("-")
    parts = rest.split(",")
    if kind.startswith("pbkdf2") and len(parts) == 3 and parts[2].isdigit():
        prf = kind.partition(":")[2] or "sha1"
        if prf not in hashlib.algorithms_guaranteed:
            return False
        return hmac.compare_digest(derive(password, parts[1], int(parts[2]), prf), parts[0])
    if kind == "hashed" and len(parts) == 2:
        found = hashlib.sha1((password + parts[1]).encode(), usedforsecurity=False).hexdigest()
        return hmac.compare_digest(found, parts[0])
    return False


def user_fields(fields: dict[str, Any], version: str, iterations: int, entropy: Entropy) -> dict[str, Any]:
    """A user document's body with its plain ``password`` replaced by a derived key."""
    password = fields["password"]
    rest = {key: value for key, value in fields.items() if key != "password"}
    salt = entropy(16)
    prf = "sha256" if modern(version) else "sha1"
    key = derive(password, salt, iterations, prf)
    if modern(version):
        head = {"password_scheme": "pbkdf2", "pbkdf2_prf": prf, "salt": salt}
        return head | {"iterations": iterations, "derived_key": key} | rest
    return rest | {
        "password_scheme": "pbkdf2",
        "iterations": iterations,
        "derived_key": key,
        "salt": salt,
    }


def user_matches(fields: Mapping[str, Any], password: str) -> bool:
    scheme = fields.get("password_scheme", "simple")
    salt = str(fields.get("salt", ""))
    if scheme == "pbkdf2":
        prf = {"sha": "sha1"}.get(fields.get("pbkdf2_prf", "sha1"), fields.get("pbkdf2_prf", "sha1"))
        iterations = fields.get("iterations")
        if prf not in hashlib.algorithms_guaranteed or not isinstance(iterations, int) or iterations < 1:
            return False
        found = derive(password, salt, iterations, str(prf))
        return hmac.compare_digest(found, str(fields.get("derived_key", "")))
    if scheme == "simple":
        found = hashlib.sha1((password + salt).encode(), usedforsecurity=False).hexdigest()
        return hmac.compare_digest(found, str(fields.get("password_sha", "")))
    return False


def cookie(name: str, secret: str, salt: str, moment: int) -> str:
    """The value of an AuthSession cookie."""
    head = f"{name}:{moment:X}"
    return base64.urlsafe_b64encode(head.encode() + b":" + _seal(head, secret, salt)).decode().rstrip("=")


def opened(value: str) -> tuple[str, int, bytes] | None:
    """Name, time and seal of a cookie, unproven; None when it is no cookie of ours."""
    try:
        raw = base64.urlsafe_b64decode(value + "=" * (-len(value) % 4))
        name, moment, seal = raw.split(b":", 2)
        return name.decode(), int(moment, 16), seal
    except ValueError:
        return None


def sealed(name: str, moment: int, seal: bytes, secret: str, salt: str) -> bool:
    return hmac.compare_digest(_seal(f"{name}:{moment:X}", secret, salt), seal)


def _seal(head: str, secret: str, salt: str) -> bytes:
    return hmac.new((secret + salt).encode(), head.encode(), hashlib.sha1).digest()
