"""What people read: settings without secrets, contacts, guides, documents, and the kit's own README."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from runbook.errors import SiteError
from runbook.guide import model as guide
from runbook.kit import known, plain, source
from runbook.kit.parts import Lack, Part, counted
from runbook.kit.plaintext import plain as plain_text
from runbook.secrets import describe
from runbook.site.model import Site
from runbook.text import printable

SETTINGS = "settings/runbook.toml"
CONTACTS = "CONTACTS.txt"
GUIDES = "guides"
DOCS = "docs"
README = "README.txt"


# ── settings ───────────────────────────────────────────────────────────────────────────────
def without_secrets(path: Path, secrets: Mapping[str, str]) -> str:
    """The text of a settings file. Raises SiteError when it holds a secret in plain, in a remark too."""
    text = path.read_text(encoding="utf-8-sig")
    if found := sorted({*plain.find(text), *known.find(text, secrets)}):
        problems = [(f"line {one.line}", f"{one.what} is written there in plain") for one in found]
        raise SiteError(str(path), problems)
    return text


def settings(site: Site | None, path: Path | None, into: Path, secrets: Mapping[str, str]) -> Part:
    """As they are: references stay, what they refer to does not come along."""
    if site is None or path is None:
        lack = Lack(
            "there is no runbook.toml", "`runbook site init` writes a first one; then make the kit again."
        )
        return Part(name="settings", words="none", lacks=(lack,))
    target = into / SETTINGS
    target.parent.mkdir()
    target.write_text(without_secrets(path, secrets), encoding="utf-8")
    bring = [f"{where}: {printable(describe(ref))}" for where, ref in known.references(site)]
    if site.machines.key:
        bring.append(f"machines.key: the private key {printable(site.machines.key)}")
    bring.append("a backup, if the backup VM is lost: `runbook backup list` says where they are")
    return Part(name="settings", words=f"{path}, secrets only as references", bring=tuple(bring))


# ── contacts, guides, documents ────────────────────────────────────────────────────────────
def contacts(site: Site | None, into: Path) -> Part:
    if site is None or not site.contacts:
        lack = Lack("nobody is named", "Write [[contacts]] tables in runbook.toml; then make the kit again.")
        return Part(name="contacts", words="none", lacks=(lack,))
    text = [f"Whom to call: {printable(site.name)}", ""]
    for one in site.contacts:
        fields = (
            ("", one.name),
            ("", one.role),
            ("phone", one.phone),
            ("email", one.email),
            ("when", one.when),
        )
        text += [
            f"  {label}: {printable(value)}" if label else printable(value)
            for label, value in fields
            if value
        ]
        text.append("")
    (into / CONTACTS).write_text("\n".join(text), encoding="utf-8")
    return Part(name="contacts", words=counted(len(site.contacts), "contact"))


def guides(into: Path) -> Part:
    """Each as Markdown with its includes filled in, and as plain text."""
    folder = into / GUIDES
    folder.mkdir()
    found = [guide.load(name) for name in guide.shipped()]
    for one in found:
        (folder / f"{one.name}.md").write_text(one.text, encoding="utf-8")
        (folder / f"{one.name}.txt").write_text(plain_text(one.text), encoding="utf-8")
    return Part(name="guides", words=f"{counted(len(found), 'guide')}, as Markdown and as plain text")


def docs(into: Path) -> Part:
    found = source.find().docs
    if not found:
        lack = Lack("they were not installed with the program", "The guides are complete without them.")
        return Part(name="docs", words="none", lacks=(lack,))
    (into / DOCS).mkdir()
    for path in found:
        (into / DOCS / path.name).write_bytes(path.read_bytes())
    return Part(name="docs", words=counted(len(found), "document"))


# ── the kit's own ──────────────────────────────────────────────────────────────────────────
def readme(site: Site | None, into: Path, version: str, now: datetime, *, state: bool) -> None:
    holds = (
        "state/ HOLDS SECRETS, as OpenTofu keeps them: whoever can read it can take over the machines.\n"
        "Keep this kit on an encrypted medium, locked away; remove state/ before you give it to anybody.\n"
        if state
        else "There are no secrets in this kit, as far as a program can tell.\n"
    )
    (into / README).write_text(
        f"""\
Recovery kit{f" of {printable(site.name)}" if site else ""}
made {now:%Y-%m-%d %H:%M} UTC by runbook {version}

1. Call: {CONTACTS}
2. Read what is to be done: guides/*.txt
3. Install, without a network:   sh install.sh
   It prints what to type next. It lays out a folder (~/runbook-recovery) with the program, OpenTofu
   and its providers, the infrastructure files with their state, and runbook.toml.
4. On another PC look through that runbook.toml: paths may be of the PC where the kit was made. With
   [tofu] folder = "infrastructure" it takes the folder beside it; program = "" takes the kit's
   OpenTofu. Then: runbook site check
5. What the kit lacks, and what you have to bring (passwords, keys, a backup): MISSING.txt

Has it changed since it was made?   sha256sum -c --quiet SHA256SUMS
Does it still install?              runbook kit verify FOLDER

{holds}""",
        encoding="utf-8",
    )
