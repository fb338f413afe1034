"""What one machine prints, live. Scrolling up stops following; End follows again."""

from __future__ import annotations

from collections.abc import Mapping

from textual import events
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Log, Static

from runbook.record.state import AttemptState
from tui.bridge import KEPT_LINES, HostOutput
from tui.paper import tone
from tui.words import HOST, plural, where

#: fewer lines than this get a smaller pane
LITTLE = 6


class LiveLog(Log):
    """``follow``: new lines pull the view to the end; scrolling up ends that."""

    follow = True

    def action_scroll_up(self) -> None:
        self.follow = False
        super().action_scroll_up()

    def action_page_up(self) -> None:
        self.follow = False
        super().action_page_up()

    def action_scroll_home(self) -> None:
        self.follow = False
        super().action_scroll_home()

    def action_scroll_end(self) -> None:
        self.to_end()

    def to_end(self) -> None:
        self.follow = True
        self.scroll_end(animate=False, immediate=True, x_axis=False)

    def on_resize(self, event: events.Resize) -> None:
        if self.follow:
            self.call_after_refresh(self.to_end)


class OutputPane(Vertical):
    """One Log for the machine that is looked at; the others wait in the bridge's bounded buffers."""

    def __init__(self) -> None:
        super().__init__(id="output")
        self.host = ""
        self._chosen = False
        self._seen = 0
        self._header_shown = ("", "")
        self._source: Mapping[str, HostOutput] = {}
        #: the step's machines in their order, those that have printed nothing included
        self._order: list[str] = []

    def compose(self) -> ComposeResult:
        yield Static(id="machines", markup=False)
        yield LiveLog(max_lines=KEPT_LINES, id="log")

    @property
    def log_widget(self) -> LiveLog:
        return self.query_one(LiveLog)

    def feed(self, source: Mapping[str, HostOutput], attempt: AttemptState | None) -> None:
        """Called ten times a second: what came since goes into the Log in one batch."""
        if source is not self._source:  # another step
            self._source, self._chosen = source, False
            self._switch("")
        self._order = list(dict.fromkeys([*(attempt.hosts if attempt else ()), *source]))
        names = [name for name in self._order if name in source]
        if names and not self._chosen:
            self._switch(self._telling(names, attempt))
        kept = source.get(self.host)
        if kept is not None and kept.total > self._seen and self.log_widget.follow:
            self.log_widget.write_lines(kept.since(self._seen), scroll_end=False)
            self._seen = kept.total
            self.follow()
        self.set_class(kept is not None and kept.total < LITTLE, "-little")
        header = self._header(names, attempt)
        if (header.plain, self.host) != self._header_shown:
            self._header_shown = (header.plain, self.host)
            self.query_one("#machines", Static).update(header)

    def choose(self, number: int) -> None:
        name = self._order[number - 1] if 0 < number <= len(self._order) else ""
        if name in self._source:
            self._chosen = True
            self._switch(name)

    def follow(self) -> None:
        self.log_widget.to_end()

    def _telling(self, names: list[str], attempt: AttemptState | None) -> str:
        """The machine to show unasked: one in trouble, else the one shown, else one at work."""

        def at(*states: str) -> list[str]:
            return [n for n in names if attempt and n in attempt.hosts and attempt.hosts[n].status in states]

        running = at("running")
        kept = [self.host] if self.host in (running or names) else []
        return (at("failed", "unknown", "cancelled") or kept or running or names)[0]

    def _switch(self, host: str) -> None:
        if host == self.host:
            return
        self.host, self._seen = host, 0
        log = self.log_widget
        log.clear()
        kept = self._source.get(host)
        if kept is not None:
            log.write_lines(kept.since(0), scroll_end=False)
            self._seen = kept.total
        self.follow()

    def _header(self, names: list[str], attempt: AttemptState | None) -> Content:
        parts: list[tuple[str, str]] = []
        for name in names:
            number = self._order.index(name) + 1
            host = attempt.hosts.get(name) if attempt else None
            mark = HOST[host.status] if host else HOST["running"]
            shown = f" {number} {where(name)[:30]} {mark} "
            parts += [(shown, "bold reverse" if name == self.host else ""), (" ", "")]
        kept = self._source.get(self.host)
        if kept is None:
            return Content.assemble(*parts)
        new = kept.total - self._seen
        count = f"{new:,} new: End" if new else plural(kept.total, "line")
        return Content.assemble((count, tone("warning" if new else "muted")), " ", *parts)
