"""Tiers against their schedule: a simulated schedule passes at every minute, and every loss is named."""

from __future__ import annotations

import argparse
import json
import shutil
from calendar import monthrange
from datetime import UTC, date, datetime, time, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runbook.backup import growth, keeping, layout
from runbook.backup.calendars import Days, Months, Weeks, weeks
from runbook.backup.cli import retention as command
from runbook.backup.retention import AT, KEEP, TAKES, Held, Tier, judge
from runbook.context import Look
from runbook.errors import CouldNotLook
from runbook.site.model import Backup
from tests.unit.backups import make_backup
from tests.unit.doubles import FakeClock, ScriptedHost, make_look, make_site
from tests.unit.here import Here

DATES = st.dates(date(2024, 1, 1), date(2031, 12, 31))
ZONES = st.integers(-12 * 4, 14 * 4).map(lambda quarters: timezone(timedelta(minutes=15 * quarters)))
MINUTES = st.datetimes(datetime(2024, 6, 1), datetime(2031, 12, 31))
TIERS = tuple(KEEP)


class Schedule:
    """What the platform's script leaves: a copy of the day's daily each ``weekday``, and each ``month_day``
    of the month (31: its last); names as ``date`` makes them."""

    def __init__(self, zone: timezone, weekday: int = 6, month_day: int = 1, week: str = "%G-week%V") -> None:
        self.zone, self.weekday, self.month_day, self.week = zone, weekday, month_day, week

    def held(self, tier: str, now: datetime, *, begun: bool = False) -> list[Held]:
        """As of ``now``, of a schedule that runs for years. ``begun``: today's is there from its start."""
        local = now.astimezone(self.zone)
        days, day = [], local.date()
        while len(days) < KEEP[tier]:
            starts = datetime.combine(day, AT, self.zone)
            if self._makes(tier, day) and local >= starts + (timedelta(0) if begun else TAKES):
                days.append(day)
            day -= timedelta(days=1)
        return [self.one(tier, day) for day in days]

    def _makes(self, tier: str, day: date) -> bool:
        return tier == "daily" or (
            day.weekday() == self.weekday
            if tier == "weekly"
            else day.day == min(self.month_day, monthrange(day.year, day.month)[1])
        )

    def one(self, tier: str, day: date) -> Held:
        form = {"daily": "%Y%m%d", "weekly": self.week, "monthly": "%Y-%m"}[tier]
        made = datetime.combine(day, time(1, 0, 7), self.zone)
        return Held(id=day.strftime(form), made=made, bytes=1000)


def schedules() -> st.SearchStrategy[Schedule]:
    forms = st.sampled_from(["%G-week%V", "%Y-week%U", "%Y-week%V"])
    return st.builds(Schedule, ZONES, st.integers(0, 6), st.sampled_from([1, 2, 15, 28, 31]), forms)


def judged(tier: str, held: list[Held], now: datetime, plan: Schedule) -> Tier:
    return judge(tier, held, now, plan.zone)


# ── calendars ──────────────────────────────────────────────────────────────────────────────
@given(DATES, st.sampled_from([Days(), Months(), Weeks(), Weeks(sunday=True)]))
def test_names_and_numbers_are_the_same_thing(day: date, calendar: Days | Months | Weeks) -> None:
    number = calendar.of(day)
    assert calendar.first(number) <= day < calendar.first(number + 1)
    assert calendar.number(calendar.name(number), None) == number
    assert calendar.number(calendar.name(number), calendar.first(number)) == number


@given(DATES)
def test_weeks_as_date_counts_them(day: date) -> None:
    iso, sunday = Weeks(), Weeks(sunday=True)
    assert iso.number(day.strftime("%G-week%V"), None) == iso.of(day)
    assert iso.number(day.strftime("%Y-week%V"), day) == iso.of(day)
    assert sunday.number(day.strftime("%Y-week%U"), None) == sunday.of(day)
    if day.strftime("%V") == "53":
        assert iso.number(day.strftime("%Y-week%V"), None) == iso.of(day)  # in January, of the year before


@pytest.mark.parametrize(
    "id",
    ["", "2026-week60", "2026-week", "20261301", "2026-13", "0001-week01", "٢٠٢٦-11", "2026-11\n", "x" * 99],
)
def test_other_names_are_of_no_period(id: str) -> None:
    for calendar in (Days(), Months(), Weeks(), Weeks(sunday=True)):
        assert calendar.number(id, None) is None
        assert calendar.number(id, date(2026, 11, 1)) is None


def test_the_manifests_tell_which_weeks_they_are() -> None:
    wednesdays = [date(2026, 11, 4) + timedelta(weeks=n) for n in range(4)]
    assert not weeks((day.strftime("%G-week%V"), day) for day in wednesdays).sunday
    assert weeks((day.strftime("%Y-week%U"), day) for day in wednesdays).sunday
    assert not weeks([("2026-week47", None)]).sunday


# ── a schedule that runs ───────────────────────────────────────────────────────────────────
@given(MINUTES, schedules(), st.sampled_from(TIERS), st.booleans())
def test_a_schedule_that_runs_passes_at_every_minute(
    at: datetime, plan: Schedule, tier: str, begun: bool
) -> None:
    now = at.replace(tzinfo=plan.zone)
    found = judged(tier, plan.held(tier, now, begun=begun), now, plan)
    assert (found.verdict, found.remarks()) == ("pass", [])
    assert found.keep - 1 <= found.found <= found.keep


@given(MINUTES, schedules(), st.sampled_from(TIERS), st.data())
def test_one_that_is_lost_is_named(at: datetime, plan: Schedule, tier: str, data: st.DataObject) -> None:
    now = at.replace(tzinfo=plan.zone)
    held = plan.held(tier, now)
    lost = data.draw(st.integers(1, len(held) - 2))  # neither the newest nor the oldest
    gone = held.pop(lost)
    found = judged(tier, held, now, plan)
    assert found.verdict == "warn" and found.lacking
    assert len(found.gaps) == 1
    if tier != "weekly" or plan.week == "%G-week%V":  # a week over New Year has two names
        assert found.gaps == (gone.id,)


@given(MINUTES, schedules(), st.sampled_from(TIERS), st.data())
def test_one_that_is_not_whole_is_named(at: datetime, plan: Schedule, tier: str, data: st.DataObject) -> None:
    now = at.replace(tzinfo=plan.zone)
    held = plan.held(tier, now)
    cut = data.draw(st.integers(1, len(held) - 1))
    held[cut] = Held(id=held[cut].id, made=None, whole=False)
    found = judged(tier, held, now, plan)
    assert found.unfinished == (held[cut].id,) and found.lacking


@given(MINUTES, schedules(), st.sampled_from(TIERS))
def test_a_schedule_that_stopped_is_late(at: datetime, plan: Schedule, tier: str) -> None:
    then = at.replace(tzinfo=plan.zone)
    held = plan.held(tier, then)
    later = (
        then
        + {
            "daily": timedelta(days=1, hours=1),
            "weekly": timedelta(days=8, hours=1),
            "monthly": timedelta(days=33),
        }[tier]
    )
    found = judged(tier, held, later, plan)
    assert found.verdict == "fail" and found.late and found.late != found.newest


@given(MINUTES, schedules(), st.sampled_from(TIERS), st.lists(st.text(max_size=12), max_size=5))
def test_whatever_lies_there_it_is_judged(at: datetime, plan: Schedule, tier: str, names: list[str]) -> None:
    now = at.replace(tzinfo=plan.zone)
    found = judged(tier, [Held(id=name, made=now) for name in names], now, plan)
    assert found.verdict in ("warn", "fail") and "\n".join(found.remarks())


# ── the edges of a night ───────────────────────────────────────────────────────────────────
ZONE = timezone(timedelta(hours=1))
PLAN = Schedule(ZONE)


def night(hour: int, minute: int) -> datetime:
    return datetime(2026, 11, 24, hour, minute, tzinfo=ZONE)


@pytest.mark.parametrize(("hour", "minute", "late"), [(0, 57, ""), (1, 59, ""), (2, 0, "20261124")])
def test_one_due_in_minutes_or_begun_within_the_hour_is_no_gap(hour: int, minute: int, late: str) -> None:
    held = PLAN.held("daily", night(0, 30))
    assert held[0].id == "20261123"
    found = judge("daily", held, night(hour, minute), ZONE)
    assert found.late == late
    pruned = judge("daily", held[:-1], night(hour, minute), ZONE)
    assert pruned.late == late and (pruned.verdict == "pass") is (not late)


def test_one_being_made_is_told_as_such_for_an_hour() -> None:
    half = [Held(id="20261124", made=None, whole=False), *PLAN.held("daily", night(0, 30))[:6]]
    found = judge("daily", half, night(1, 30), ZONE)
    assert (found.verdict, found.running) == ("pass", "20261124")
    found = judge("daily", half, night(2, 30), ZONE)
    assert (found.verdict, found.late, found.unfinished) == ("fail", "20261124", ("20261124",))


def test_the_day_is_the_backup_vms_day() -> None:
    held = PLAN.held("daily", night(12, 0))
    auckland = timezone(timedelta(hours=13))
    assert judge("daily", held, night(12, 0), ZONE).verdict == "pass"
    assert judge("daily", held, night(18, 0), auckland).late == "20261125"


def test_older_than_the_schedule_keeps() -> None:
    held = [*PLAN.held("daily", night(12, 0)), PLAN.one("daily", date(2026, 11, 17))]
    assert judge("daily", held, night(12, 0), ZONE).surplus == ()  # find -mtime +7 leaves it
    held += [PLAN.one("daily", date(2026, 11, 16)), PLAN.one("daily", date(2026, 11, 15))]
    found = judge("daily", held, night(12, 0), ZONE)
    assert (found.verdict, found.surplus, found.lacking) == ("warn", ("20261115",), False)


def test_a_copy_of_something_old() -> None:
    held = PLAN.held("daily", night(12, 0))
    held[0] = Held(id=held[0].id, made=held[3].made)
    found = judge("daily", held, night(12, 0), ZONE)
    assert found.verdict == "fail" and found.stale.endswith("its manifest is of 2026-11-21")
    held[0] = Held(id=held[0].id, made=held[1].made)
    assert "20261123 is of the same moment" in judge("daily", held, night(12, 0), ZONE).stale
    monthly = PLAN.held("monthly", night(12, 0))
    monthly[0] = Held(id="2026-11", made=datetime(2026, 8, 1, 1, tzinfo=UTC))
    assert "2026-08-01" in judge("monthly", monthly, night(12, 0), ZONE).stale


def test_a_young_tier_and_an_empty_one() -> None:
    found = judge("monthly", PLAN.held("monthly", night(12, 0))[:2], night(12, 0), ZONE)
    assert (found.verdict, found.found, found.lacking) == ("warn", 2, False)
    assert found.remarks() == ["not as deep as it should be: nothing before 2026-10 is there"]
    assert judge("weekly", [], night(12, 0), ZONE).remarks() == ["no whole backup is in it"]


def test_a_clock_that_went_back() -> None:
    held = PLAN.held("daily", night(12, 0))
    found = judge("daily", held, night(12, 0) - timedelta(days=3), ZONE)
    assert found.future == ("20261122", "20261123", "20261124") and found.verdict == "warn"


# ── growth ─────────────────────────────────────────────────────────────────────────────────
def grown(tier: str, step: int, base: int = 1_000_000) -> list[Held]:
    held = PLAN.held(tier, night(12, 0))
    start = date(2025, 1, 1)
    return [
        Held(id=one.id, made=one.made, bytes=base + step * (one.made.date() - start).days)
        for one in held
        if one.made
    ]


@given(st.integers(0, 10_000))
def test_growth_is_what_it_was(step: int) -> None:
    held = [*grown("daily", step), *grown("monthly", step)]
    assert growth.per_day(held) == pytest.approx(step)
    odd = Held(id="x", made=night(12, 0), bytes=10**12)
    assert growth.per_day([*held, odd]) == pytest.approx(step, abs=step * 0.01 + 1)


@given(st.integers(0, 5000), st.integers(0, 10**9), st.integers(0, 10**8))
def test_more_room_never_ends_sooner(step: int, free: int, more: int) -> None:
    tiers = {tier: grown(tier, step) for tier in TIERS}
    one, other = growth.days_left(tiers, free), growth.days_left(tiers, free + more)
    assert other is None or (one is not None and other >= one)


def test_the_disk_is_full_when_a_new_one_has_no_room() -> None:
    tiers = {tier: grown(tier, 0) for tier in TIERS}
    assert growth.days_left(tiers, 1_000_000) is None  # the same size for ever: one more at a time fits
    assert growth.days_left(tiers, 999_999) == 1
    assert growth.days_left({"daily": grown("daily", 0)[:1]}, 3_500_000) == 4  # tiers that fill up
    assert growth.days_left({}, 0) is None
    assert growth.per_day([]) is None


# ── on the backup VM ───────────────────────────────────────────────────────────────────────
CRONTAB = "0 1 * * * /backup/scripts/openedx-backup.sh daily\n0 2 * * 0 /backup/scripts/x weekly\n"


class Vm(Here):
    def __init__(self, root: Path) -> None:
        super().__init__("backup", root / "home")
        self.backups = root / "backup"
        self.databases: tuple[str, ...] = ()
        self.program("crontab", f"cat '{self.home}/crontab'")
        self.program("grep", "exit 1")
        self.program("date", "echo +0100")
        self.crontab(CRONTAB)
        now = FakeClock().now()
        for tier in TIERS:
            for one in PLAN.held(tier, now):
                make_backup(
                    self.backups / tier / one.id,
                    nodes=["10.0.1.10"],
                    made=one.made.isoformat() if one.made else "",
                )

    def crontab(self, text: str) -> None:
        (self.home / "crontab").write_text(text)

    def look(self) -> Look:
        settings = Backup(remote=str(self.backups), schedule="backup", databases=self.databases)
        site = make_site(backup=settings)
        return make_look(ScriptedHost("operator"), self, site=site, clock=FakeClock())

    async def judge(self) -> keeping.Retention:
        return await keeping.look(self.look(), self)


@pytest.fixture
def vm(tmp_path: Path) -> Vm:
    return Vm(tmp_path)


async def test_all_is_well(vm: Vm) -> None:
    found = await vm.judge()
    assert found.verdict == "pass", command.text(found)
    assert [(one.found, one.keep) for one in found.tiers] == [(7, 7), (4, 4), (12, 12)]
    text = command.text(found)
    assert all(len(line) <= 80 for line in text.splitlines())
    assert "+0100; weeks of ISO 8601" in text and found.room.free


async def test_a_manifest_without_a_zone_is_by_the_clock_of_the_vm(vm: Vm) -> None:
    folder = vm.backups / "daily/20261124"
    manifest = json.loads((folder / "backup_manifest.json").read_text())
    manifest["backup_date"] = "2026-11-24T01:00:07"
    (folder / "backup_manifest.json").write_text(json.dumps(manifest))
    newest = (await layout.find_remote(vm, str(vm.backups)))[0]
    held = keeping._held(newest, (), timezone(timedelta(hours=-8)))
    assert held.made == datetime(2026, 11, 24, 9, 0, 7, tzinfo=UTC)


async def test_an_archive_counts_as_its_day(vm: Vm) -> None:
    shutil.rmtree(vm.backups / "daily/20261122")
    assert (await vm.judge()).tiers[0].gaps == ("20261122",)
    (vm.backups / "daily/20261122.tar.gz").write_bytes(b"x")
    assert (await vm.judge()).tiers[0].verdict == "pass"


async def test_expected_databases_are_asked_of_the_dailies_alone(vm: Vm) -> None:
    vm.databases = ("_users", "new")
    for folder in (vm.backups / "daily").iterdir():
        shutil.copy(folder / "node-10.0.1.10/_users.json", folder / "node-10.0.1.10/new.json")
    assert (await vm.judge()).verdict == "pass"
    (vm.backups / "daily/20261124/node-10.0.1.10/new.json").unlink()
    assert (await vm.judge()).tiers[0].late == "20261124"


@pytest.mark.parametrize(
    ("crontab", "verdict", "words"),
    [
        ("", "fail", "no cron entry makes backups"),
        ("#runbook-frozen# 0 1 * * * /backup/x daily\n", "fail", "stopped by a recovery"),
        (CRONTAB + "#runbook-frozen# 0 3 1 * * /backup/x monthly\n", "fail", "stopped by a recovery"),
        ("30 4 * * * /backup/x daily\n", "warn", "none of which is every day at 01:00"),
    ],
)
async def test_cron_entries(vm: Vm, crontab: str, verdict: str, words: str) -> None:
    vm.crontab(crontab)
    found = await vm.judge()
    assert found.schedule.verdict == found.verdict == verdict and words in found.schedule.words


@pytest.mark.parametrize("said", ["", "CET", "+9900", "+01", "+0100\n+0200", "\x1b[31m"])
async def test_a_vm_that_does_not_tell_its_zone(said: str) -> None:
    host = ScriptedHost("backup").on("date", said)
    assert await keeping.time_zone(host) == (UTC, "not told by the backup VM, UTC taken")


async def test_zones() -> None:
    for said, minutes in (("+0530\n", 330), ("-0930\n", -570), ("+0000\n", 0)):
        zone, words = await keeping.time_zone(ScriptedHost("backup").on("date", said))
        assert zone.utcoffset(None) == timedelta(minutes=minutes) and words == said.strip()


async def test_what_cannot_be_looked_at_is_unknown(vm: Vm) -> None:
    vm.program("crontab", "echo 'crontab: not allowed' >&2; exit 1")
    vm.program("df", "echo nonsense")
    found = await vm.judge()
    assert (found.schedule.verdict, found.room.verdict, found.verdict) == ("unknown",) * 3
    assert "not allowed" in command.text(found)


async def test_no_backups_to_list(vm: Vm) -> None:
    (vm.backups).rename(vm.backups.with_name("gone"))
    with pytest.raises(CouldNotLook, match="cannot be listed"):
        await vm.judge()


async def test_the_json_says_what_follows(vm: Vm) -> None:
    shutil.rmtree(vm.backups / "weekly")
    found = await vm.judge()
    told = json.loads(command.as_json(command._told(found)))
    assert told["verdict"] == "fail" and told["tiers"][1]["remarks"] == ["no whole backup is in it"]


def test_a_machine_that_is_not_known_exits_with_4(tmp_path: Path) -> None:
    from runbook.workbench import Workbench

    settings = make_site()
    machines = type(settings.machines)(production=settings.machines.production)
    bench = Workbench(tmp_path, site=make_site(machines=machines), clock=FakeClock())
    with pytest.raises(CouldNotLook) as caught:
        command.run(argparse.Namespace(bench=bench, from_run="", json=False))
    assert caught.value.exit_code == 4
