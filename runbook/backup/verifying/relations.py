"""Do enrolments and progress refer to users and courses that are in the backup?

Only documents of a known shape are judged: ``type`` course, user, enrolment or progress, and the names
in ``username`` and ``course``. Of others nothing is said.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

#: names held of each kind; beyond that nothing is judged
MOST = 250_000
NAMED = 5
_USER_ID = "org.couchdb.user:"
_REFERRING = frozenset(("enrolment", "enrollment", "progress"))


class Names(msgspec.Struct, kw_only=True):
    """What is there, and what is referred to: name -> how often."""

    users: set[str] = set()
    courses: set[str] = set()
    to_users: dict[str, int] = {}
    to_courses: dict[str, int] = {}
    referring: int = 0
    too_many: bool = False
    #: a value that JSON allows and nothing can hold
    strange: bool = False

    def add(self, other: Names) -> None:
        self.users |= other.users
        self.courses |= other.courses
        for mine, its in ((self.to_users, other.to_users), (self.to_courses, other.to_courses)):
            for name, count in its.items():
                mine[name] = mine.get(name, 0) + count
        self.referring += other.referring
        self.too_many = self.too_many or other.too_many
        self.strange = self.strange or other.strange


class _Document(msgspec.Struct, gc=False):
    type: object = None
    username: object = None
    course: object = None
    course_id: object = None


class _Row(msgspec.Struct, gc=False):
    id: str
    doc: _Document


_row, _rows = msgspec.json.Decoder(_Row), msgspec.json.Decoder(list[_Row])


class Judge:
    """A reader's watch. ``accounts``: the documents are CouchDB's own accounts, in ``_users``."""

    def __init__(self, accounts: bool) -> None:
        self.found, self._accounts = Names(), accounts

    def __call__(self, text: memoryview) -> None:
        found = self.found
        if found.too_many or found.strange:
            return
        try:
            rows = _rows.decode(text) if text[0] == ord("[") else [_row.decode(text)]
        except (ValueError, RecursionError):  # 1e400, for example
            self.found = Names(strange=True)
            return
        for row in rows:
            if not self._accounts:
                self._one(row.id, row.doc)
            elif row.id.startswith(_USER_ID):
                found.users.add(row.id.removeprefix(_USER_ID))
        if max(map(len, (found.users, found.courses, found.to_users, found.to_courses))) > MOST:
            self.found = Names(too_many=True)

    def _one(self, id: str, one: _Document) -> None:
        found = self.found
        if one.type == "course":
            found.courses.add(id)
        elif one.type == "user" and isinstance(one.username, str):
            found.users.add(one.username)
        elif isinstance(one.type, str) and one.type in _REFERRING:
            course = one.course if isinstance(one.course, str) else one.course_id
            found.referring += 1
            if isinstance(one.username, str):
                found.to_users[one.username] = found.to_users.get(one.username, 0) + 1
            if isinstance(course, str):
                found.to_courses[course] = found.to_courses.get(course, 0) + 1


def judged(names: Iterable[Names]) -> tuple[list[str], str]:
    """(what refers to nothing, in words; the fact about it)."""
    all = Names()
    for one in names:
        all.add(one)
    if all.too_many or max(len(all.users), len(all.courses)) > MOST * 3:
        return [], f"relations: not judged, there are more than {MOST} names"
    if all.strange:
        return [], "relations: not judged, some documents hold values that cannot be decoded"
    if not all.referring:
        return [], "relations: not judged, no enrolment or progress of a known shape is in it"
    remarks, checked = [], []
    for there, referred, what in (
        (all.users, all.to_users, "users"),
        (all.courses, all.to_courses, "courses"),
    ):
        if not referred or not there:
            continue
        checked.append(f"{len(there)} {what}")
        lost = {name: count for name, count in referred.items() if name not in there}
        if lost:
            shown = ", ".join(sorted(lost)[:NAMED]) + (", …" if len(lost) > NAMED else "")
            remarks.append(
                f"{sum(lost.values())} enrolments and progress documents refer to {len(lost)} {what} that "
                f"are not in this backup: {shown}"
            )
    if not checked:
        return [], "relations: not judged, no users and courses of a known shape are in it"
    good = "" if remarks else ", and all are there"
    return (
        remarks,
        f"relations: {all.referring} enrolments and progress refer to {' and '.join(checked)}{good}",
    )
