"""The documents of the practice platform: courses, accounts, enrolments, progress, uploads.

All of it is made from one seed, so two labs of one day hold the same bytes.
"""

from __future__ import annotations

import base64
import hashlib
import random
from typing import Any

import msgspec

from runbook.lab.couchdb import auth_design, revisions

DATABASES = ("openedx_1", "openedx_2", "openedx_3", "edxapp_files", "_users", "_replicator")
ADMIN = "admin.practice"
ADMIN_EMAIL = "admin@learn.example.test"
ADMIN_PASSWORD = "practice-admin-password-Q4nb7"
COURSE = "course-v1:RunbookX+DR101+2026"
COURSE_TITLE = "Recovering a Platform at 3 a.m."
LEARNER = "zoe.muller"
LEARNER_NAME = "Zoë Müller-Łukasz"
#: the largest upload, in bytes before base64: over a fresh CouchDB's document limit afterwards
LARGE_UPLOAD = 6_900_000

_FIRST = (
    "Ada",
    "Björn",
    "Chloé",
    "Dmitri",
    "Élodie",
    "Fatima",
    "Grace",
    "Håkon",
    "Inês",
    "Jürgen",
    "Kateřina",
    "Li Wei",
    "Marie",
    "Noor",
    "Oğuz",
    "Paweł",
    "Quentin",
    "Renée",
    "Søren",
    "Tomáš",
)
_LAST = ("Abel", "Çelik", "Díaz", "Nagy", "Ōtani", "Petrov", "Sánchez", "Šimić", "Weiß", "Zhang")
_TOPICS = ("Databases", "Statistics", "Réseaux", "Linear Algebra", "Écriture", "Sustainability")

Row = tuple[str, bytes]
Document = dict[str, Any]


def row(identifier: str, body: Document, edits: int = 1, *, revision: str = "") -> Row:
    """One line of ``_all_docs?include_docs=true``, as CouchDB prints it, under its id."""
    digest = hashlib.md5(identifier.encode() + msgspec.json.encode(body), usedforsecurity=False).hexdigest()
    revision = revision or f"{edits}-{digest}"
    document = {"_id": identifier, "_rev": revision, **body}
    line = {"id": identifier, "key": identifier, "value": {"rev": revision}, "doc": document}
    return identifier, msgspec.json.encode(line)


def accounts(seed: random.Random) -> list[Document]:
    people: list[Document] = [
        {"username": ADMIN, "email": ADMIN_EMAIL, "name": "Practice Admin", "is_staff": True},
        {"username": LEARNER, "email": "zoe@example.test", "name": LEARNER_NAME, "is_staff": False},
    ]
    for number in range(260):
        name = f"{seed.choice(_FIRST)} {seed.choice(_LAST)}"
        people.append(
            {
                "username": f"learner{number:04}",
                "email": f"learner{number:04}@example.test",
                "name": name,
                "is_staff": False,
            }
        )
    for person in people:
        person["date_joined"] = f"2025-{seed.randint(1, 12):02}-{seed.randint(1, 28):02}T09:00:00Z"
    return people


def platform_rows(index: int, people: list[Document], seed: random.Random) -> list[Row]:
    """``openedx_<index>``: every VM has the accounts and the demo course, and courses of its own."""
    courses = [(COURSE, COURSE_TITLE)]
    courses += [(f"course-v1:Practice+{t[:4].upper()}{index}+2026", f"{t} {index}") for t in _TOPICS]
    rows: list[Row] = []
    for identifier, title in courses:
        body = {
            "type": "course",
            "display_name": title,
            "org": "RunbookX",
            "about": f"What to do when everything is gone: {title}.",
        }
        rows.append(row(identifier, body, seed.randint(1, 9)))
        for block in range(30):
            data = {
                "type": "block",
                "course": identifier,
                "kind": seed.choice(("html", "problem", "video")),
                "order": block,
                "display_name": f"Unit {block + 1} – {title}",
                "data": "<p>Lorem ipsum. </p>" * seed.randint(3, 20),
            }
            rows.append(row(f"block.{identifier}.{block:03}", data, seed.randint(1, 5)))
    for person in people:
        rows.append(row(f"user.{person['username']}", {"type": "user", **person}))
        rows.append(row(f"email.{person['email']}", {"type": "email", "username": person["username"]}))
    for number in range(350):
        who, (course, _) = seed.choice(people), seed.choice(courses)
        enrolment = {"username": who["username"], "course": course, "mode": "audit", "is_active": True}
        rows.append(row(f"enrolment.{number:05}", {"type": "enrolment", **enrolment}))
    for number in range(500):
        who, (course, _) = seed.choice(people), seed.choice(courses)
        score = {
            "username": who["username"],
            "course": course,
            "score": round(seed.random(), 3),
            "step": number,
        }
        rows.append(row(f"progress.{number:05}", {"type": "progress", **score}, seed.randint(1, 3)))
    view = {"map": "function (doc) { if (doc.type === 'enrolment') { emit(doc.course, doc.username); } }"}
    rows.append(row("_design/enrolments", {"language": "javascript", "views": {"by_course": view}}, 2))
    rows.append(row("Über uns", {"type": "page", "title": "Über uns", "body": "Praxis-Labor"}))
    return rows


def upload_rows(seed: random.Random) -> list[Row]:
    """Uploads are documents whose ``data`` is the whole file in base64."""
    files: list[tuple[str, str, int]] = [
        ("Übung 3 – Lösung.pdf", "application/pdf", 180_000),
        ("課題レポート.pdf", "application/pdf", 90_000),
        ("notes 📎 week 4.txt", "text/plain", 4_000),
        ("lecture-recording.mp4", "video/mp4", LARGE_UPLOAD),
        ("zero bytes.txt", "text/plain", 0),
    ]
    files += [(f"submission-{n:03}.pdf", "application/pdf", seed.randint(2_000, 40_000)) for n in range(30)]
    rows = []
    for name, kind, size in files:
        data = base64.b64encode(seed.randbytes(size)).decode()
        rows.append(row(name, {"content_type": kind, "data": data, "size": size}))
    return rows


def user_rows(people: list[Document], seed: random.Random) -> list[Row]:
    """``_users``: what can log in, after the design document that every server makes itself. Only
    the admin's password is known to anybody."""
    design = {"language": auth_design.LANGUAGE, "validate_doc_update": auth_design.VALIDATE}
    members = msgspec.json.encode(design)[1:-1]
    rows = [row(auth_design.ID, design, revision=f"1-{revisions.next_hash(False, 0, None, members)}")]
    for person in people:
        name = str(person["username"])
        salt = f"{seed.getrandbits(128):032x}"
        password = ADMIN_PASSWORD if name == ADMIN else f"{seed.getrandbits(64):x}"
        key = hashlib.pbkdf2_hmac("sha1", password.encode(), salt.encode(), 10).hex()
        roles = ["staff"] if person["is_staff"] else []
        body = {
            "name": name,
            "type": "user",
            "roles": roles,
            "password_scheme": "pbkdf2",
            "iterations": 10,
            "derived_key": key,
            "salt": salt,
        }
        rows.append(row(f"org.couchdb.user:{name}", body))
    return rows


def replicator_rows() -> list[Row]:
    """One that is over, and one that would start at once if it were restored unasked."""
    done = {
        "source": "http://10.0.1.11:5984/openedx_2",
        "target": "http://10.0.1.10:5984/openedx_2_copy",
        "_replication_state": "completed",
        "_replication_state_time": "2026-01-15T08:00:00Z",
    }
    again = {
        "source": "http://10.0.1.10:5984/openedx_1",
        "target": "https://archive.example.test/openedx_1",
        "continuous": True,
    }
    return [row("copy-of-openedx-2", done, 3), row("archive-openedx-1", again)]


def everything() -> dict[str, list[Row]]:
    """Rows of every database, ids in the byte order of their UTF-8, as CouchDB lists them."""
    seed = random.Random(20261101)
    people = accounts(seed)
    found = {f"openedx_{n}": platform_rows(n, people, seed) for n in (1, 2, 3)}
    found |= {
        "edxapp_files": upload_rows(seed),
        "_users": user_rows(people, seed),
        "_replicator": replicator_rows(),
    }
    return {name: sorted(rows, key=lambda one: one[0].encode()) for name, rows in found.items()}
