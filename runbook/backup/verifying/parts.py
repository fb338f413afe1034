"""What the files of a backup hold, judged by kind: dumps, uploads, archives, settings, logs, relations."""

from __future__ import annotations

from runbook.backup import layout, manifest, ours
from runbook.backup.verifying import configuration, relations, uploads
from runbook.backup.verifying.configuration import Configuration
from runbook.backup.verifying.examine import Examined, Kind
from runbook.backup.verifying.findings import Aspect, Findings
from runbook.backup.verifying.source import Content
from runbook.units import size

#: what the reader of dumps says to whoever restores
_RESTORING = "; nothing restored"
_ASPECT: dict[Kind, Aspect] = {
    "text": "manifest",
    "dump": "dumps",
    "beside": "dumps",
    "settings": "archives",
    "logs": "logs",
    "archive": "archives",
    "gzip": "archives",
    "other": "manifest",
}


def judge(content: Content, domain: str, found: Findings) -> bool:
    """Is it a dump of this program's, with what the platform's lack?"""
    own = False
    for one in content.examined.values():
        aspect = _ASPECT[one.kind]
        if one.damage and one.name != manifest.NAME:
            found.add(aspect, "wrong", one.damage if one.name in one.damage else f"{one.name}: {one.damage}")
        if one.remark:
            found.add(aspect, "note", f"{one.name}: {one.remark}")
        if one.fact and not one.damage:
            found.add(aspect, "good", f"{one.name}: {one.fact}, read to its end")
        if one.kind == "dump" and one.dump and one.size:
            own = _dump(content, one, found) or own
    _databases(content, found)
    _uploads(content, found)
    _settings(content, domain, found)
    _logs(content, found)
    names = [one.names for one in content.examined.values() if one.names]
    remarks, fact = relations.judged(names)
    for text in remarks:
        found.add("relations", "doubt", text)
    found.add("relations", "unjudged" if "not judged" in fact else "good", fact)
    return own


def _dump(content: Content, one: Examined, found: Findings) -> bool:
    assert one.dump is not None
    beside = content.examined.get(ours.meta_name(one.name))
    for problem in one.dump.problems:
        if problem.kind == "stub" and beside:
            continue  # the contents lie beside it
        found.add(
            "dumps",
            "wrong" if problem.fatal else "doubt",
            f"{one.name}: {problem.text.replace(_RESTORING, '')}",
        )
    for remark in one.dump.remarks:
        if not (beside and remark.kind == "partitioned"):
            state = "note" if remark.kind == "replication" else "doubt"
            found.add("dumps", state, f"{one.name}: {remark.text}")  # type: ignore[arg-type]
    if not one.dump.fatal:
        found.add("dumps", "good", f"{one.name}: {one.dump.rows} documents, every row read")
    if beside is None:
        return False
    attached = content.examined.get(ours.attached_name(one.name))
    problems, remarks, fact = ours.judge(one.name, beside.text, one.dump, attached.dump if attached else None)
    for text in problems:
        found.add("dumps", "wrong", text)
    for text in remarks:
        found.add("dumps", "doubt", text)
    if fact and not problems:
        found.add("dumps", "good", fact)
    return True


def _databases(content: Content, found: Findings) -> None:
    dumps = content.dumps()
    if dumps and not content.ours and "_users" not in dumps:
        found.add(
            "dumps", "doubt", "no dump of _users: nobody could log in to CouchDB after a restore from it"
        )
    designs = {
        name: max(one.dump.designs for one in nodes.values() if one.dump) for name, nodes in dumps.items()
    }
    with_designs = ", ".join(f"{name} {count}" for name, count in designs.items() if count)
    if dumps:
        found.add("dumps", "good", f"design documents: {with_designs or 'none'}")


def _uploads(content: Content, found: Findings) -> None:
    copies = content.dumps().get(uploads.DATABASE)
    if copies is None:
        if content.dumps() and not content.ours:
            found.add(
                "uploads", "doubt", f"no dump of {uploads.DATABASE}: no user's upload is in this backup"
            )
        return
    for one in copies.values():
        files = one.uploads
        if files is None:
            continue
        if files.bad_count:
            names = ", ".join(files.bad) + (", …" if files.bad_count > len(files.bad) else "")
            text = (
                f"{one.name}: {files.bad_count} uploads cannot be decoded, their base64 is invalid: {names}"
            )
            found.add("uploads", "wrong", text)
        if files.lengths_count:
            names = ", ".join(files.lengths) + (", …" if files.lengths_count > len(files.lengths) else "")
            text = (
                f"{one.name}: {files.lengths_count} uploads have another length than noted with them: {names}"
            )
            found.add("uploads", "doubt", text)
        if files.without:
            text = f"{one.name}: {files.without} documents without data in base64; they were not judged"
            found.add("uploads", "unjudged", text)
        if not files.bad_count:
            found.add(
                "uploads", "good", f"{one.name}: {files.count} uploads, {size(files.bytes)}, all decodable"
            )


def _settings(content: Content, domain: str, found: Findings) -> None:
    if content.ours:
        found.add("settings", "good", "a dump of this program: databases alone, no settings and no logs")
        return
    archives = {one.name: one.settings for one in content.examined.values() if one.settings}
    if content.loose:
        archives["openedx-ha/" if content.id == "openedx-ha" else content.path.name] = content.loose
    if not archives and not any(one.kind == "settings" for one in content.examined.values()):
        found.add("settings", "doubt", "no configuration archive (config.tar.gz): the settings are not in it")
        return
    remarks, facts = configuration.judge(archives, domain)
    nodes = {name.partition("/")[0] for name in content.files if name.startswith(layout.NODE)}
    there = {one.name.partition("/")[0] for one in content.examined.values() if one.kind == "settings"}
    if nodes and there & nodes and (missing := sorted(nodes - there)):
        remarks.append(f"no configuration archive of {', '.join(missing)}")
    for text in remarks:
        found.add("settings", "doubt", text)
    for text in facts:
        found.add("settings", "good", text)
    if archives and not remarks:
        found.add("settings", "good", "compose file, .env, Caddyfile, LMS and Studio settings are in it")


def _logs(content: Content, found: Findings) -> None:
    if (
        content.dumps()
        and not content.ours
        and not any(one.kind == "logs" for one in content.examined.values())
    ):
        found.add("logs", "note", "no logs (logs.tar.gz) in it")


def settings_of(content: Content) -> list[Configuration]:
    """All there are."""
    found = [one.settings for one in content.examined.values() if one.settings]
    return [*found, content.loose] if content.loose else found
