"""The decision column: makes it, reads the choices of users, and shows results as notes on its cells. Users own the
column and its cells. The sink writes only the header of a new column, its drop-down, and notes. One read returns the
ids and the choices of all tabs. The reply to a write of notes shows the interviews of these rows, because users may
sort meanwhile.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from connector.capabilities import CHOICES, DECIDED, decided_key
from connector.decision import DecisionRequest, Via
from connector.languages import Language, gettext_noop
from connector.sink import Context, Delivered, Delivery, FollowUp, Note, Outcome, RateLimited, RetryLater, Superseded
from sinks.google_sheets import api_requests
from sinks.google_sheets.api_replies import Grid, Spreadsheet
from sinks.google_sheets.api_requests import COLUMN_TAG, DECISION_TAG, Request
from sinks.google_sheets.config import GoogleSheetsConfig
from sinks.google_sheets.decision_rules import Choices, SeenTab, SettledChoice, labels, observe, read_choices
from sinks.google_sheets.errors import CallFailed, FailureMeaning, SheetsFailure
from sinks.google_sheets.repair import recall_rows
from sinks.google_sheets.sheet_view import TOP_ROWS, TabView, column_texts, read_view
from sinks.google_sheets.sheets_client import Calls, read_cells, read_decisions
from sinks.google_sheets.state import read_tab_note, tab_name
from sinks.google_sheets.write_planner import FixedTag, zone_of
from sinks.spreadsheet.columns import KEY, header_key

READ_DECISIONS = "read decisions"
"""Purpose of the follow-up that reads the column."""
SOON = timedelta(seconds=31)
"""Delay of the next read, while a value has to stay unchanged."""
WRITES_MAX = 3
"""Most writes of notes in one call: rows may move between each read and write."""
SAMPLE_ROWS = 10
"""Rows of a tab whose notes show whether it is a tab of this sink; users may have pasted other rows above them."""
WIDTH_PIXELS = 110
"""Width of the column."""
ACTOR = "sheet"
"""Who decided, in the audit log: the Sheets API does not say who edited a cell."""

DONE = {
    "shortlist": gettext_noop("Shortlisted in Hireflix. Decided in the sheet, {time}."),
    "discard": gettext_noop("Discarded in Hireflix. Decided in the sheet, {time}."),
    "back": gettext_noop("Back to evaluation in Hireflix. Decided in the sheet, {time}."),
}
STATES = {
    "done": gettext_noop("Hireflix showed this already, {time}."),
    "waiting": gettext_noop("Waits for Hireflix since {time}, and is tried again automatically for a day: {reason}."),
    "held": gettext_noop("Waits for a confirmation on the dashboard: many rows changed at once."),
    "unclear": gettext_noop("It is not clear whether this reached Hireflix: an operator must look. {time}."),
    "dropped": gettext_noop("Not done: an operator dropped it, {time}."),
    "refused": gettext_noop("Not done, {time}: {reason}."),
}
"""The notes on cells, by the state of the request; `DONE` are those of what was sent."""


class MarkedColumn(NamedTuple):
    """A tagged column: its place, the id of the tag, and its texts by row."""

    place: int
    tag: int
    texts: Sequence[str]


@dataclass(frozen=True, slots=True)
class DecisionTab:
    """A tab with ids as one reply shows it. `width` is the number of its columns. `decisions` is `None` without a
    decision column.
    """

    sheet_id: int
    title: str
    width: int
    zone: str
    keys: MarkedColumn
    decisions: MarkedColumn | None

    def rows(self) -> list[tuple[str, str]]:
        """Returns the interview and the text of the decision cell for each row with an id."""
        texts = self.decisions.texts if self.decisions is not None else ()
        return [
            (key, texts[row] if row < len(texts) else "")
            for row, text in enumerate(self.keys.texts)
            if (key := text.strip())
        ]

    def rows_of(self, interview_id: str) -> list[int]:
        """Returns the rows of an interview."""
        return [row for row, text in enumerate(self.keys.texts) if text.strip() == interview_id]


def read_tabs(book: Spreadsheet) -> list[DecisionTab]:
    """Returns the tabs with a key column."""
    found = []
    for tab in book.sheets:
        marked = _marked(tab.data)
        if (keys := marked.get(COLUMN_TAG)) is not None:
            own, zone = tab.properties, book.properties.time_zone
            width, decisions = own.grid_properties.column_count, marked.get(DECISION_TAG)
            found.append(DecisionTab(own.sheet_id, own.title, width, zone, keys, decisions))
    return found


def _marked(blocks: Sequence[Grid]) -> dict[str, MarkedColumn]:
    """Returns the leftmost column for each key of a tag."""
    found: dict[str, MarkedColumn] = {}
    for block in sorted(blocks, key=lambda each: each.start_column, reverse=True):
        if len(block.column_metadata) != 1:
            continue
        for tag in block.column_metadata[0].developer_metadata:
            is_key = tag.metadata_key == COLUMN_TAG and tag.metadata_value == KEY
            if is_key or tag.metadata_key == DECISION_TAG:
                found[tag.metadata_key] = MarkedColumn(block.start_column, tag.metadata_id, column_texts(block))
    return found


def note_keys(delivery: Delivery) -> list[str]:
    """Returns the notes that a call about decisions needs."""
    if delivery.purpose == DECIDED and delivery.follow_up is not None and delivery.interview is not None:
        return [decided_key(delivery.follow_up.subject, delivery.interview.id)]
    return [CHOICES]


@dataclass(slots=True)
class DecisionOutcomes:
    """The result of a call: outcomes by the id of the delivery, and the rest as in `Result`."""

    outcomes: dict[str, Outcome]
    notes: dict[str, Note | None]
    follow_ups: list[FollowUp]
    decisions: list[DecisionRequest]


class DecisionColumn:
    """One call of the decision column."""

    def __init__(
        self, name: str, config: GoogleSheetsConfig, calls: Calls, context: Context, own_tabs: set[int]
    ) -> None:
        """`own_tabs` are ids of tabs that are known to be those of this sink; those that are found are added."""
        self._name = name
        self._config = config
        self._calls = calls
        self._context = context
        self._own_tabs = own_tabs
        self._done = DecisionOutcomes({}, {}, [], [])
        self._choices = Choices(config.decision_column)

    async def run(self, deliveries: Sequence[Delivery], notes: Mapping[str, Note]) -> DecisionOutcomes:
        """Reads the column, and shows results on its cells. Failures become outcomes; it does not raise."""
        try:
            await self._run(deliveries, notes)
        except RateLimited as wait:
            self._otherwise(deliveries, RetryLater("no quota left", after=wait.seconds, counts=False))
        except CallFailed as error:
            self._otherwise(deliveries, self._failed(error))
        return self._done

    def _otherwise(self, deliveries: Sequence[Delivery], outcome: Outcome) -> None:
        for each in deliveries:
            self._done.outcomes.setdefault(each.id, outcome)

    def _failed(self, error: CallFailed) -> RetryLater:
        failure = error.failure
        if failure.meaning is FailureMeaning.THROTTLED:
            return RetryLater(failure.reason, after=self._calls.pause(error), counts=False)
        return RetryLater(failure.short or failure.reason, after=self._calls.asked(error))

    async def _run(self, deliveries: Sequence[Delivery], notes: Mapping[str, Note]) -> None:
        if not await self._context.interviews("", 1):
            self._otherwise(deliveries, Superseded("the sheet shows no interview"))
            return
        tabs = await self._read()
        reads = [each for each in deliveries if each.purpose == READ_DECISIONS]
        if reads and self._observe(tabs, read_choices(notes.get(CHOICES))):
            self._done.outcomes |= {each.id: Delivered() for each in reads}
        await self._show_results([each for each in deliveries if each.purpose == DECIDED], notes, tabs)
        if reads:
            await self._make_columns(tabs, reads)
            self._otherwise(reads, Superseded("nothing was decided"))  # after the last call that can fail

    async def _read(self) -> list[DecisionTab]:
        filters = [api_requests.keyed_filter(COLUMN_TAG, KEY), api_requests.keyed_filter(DECISION_TAG, "1")]
        tabs = await self._calls.fetch_and(read_decisions(filters), read_tabs)
        others = [tab for tab in tabs if tab.sheet_id not in self._own_tabs]
        if others:
            self._own_tabs |= await self._ids_of_own_tabs(others)
        return [tab for tab in tabs if tab.sheet_id in self._own_tabs]

    async def _ids_of_own_tabs(self, tabs: Sequence[DecisionTab]) -> set[int]:
        """Returns the ids of tabs of this sink, as far as the first rows of `tabs` name them. Other tabs are those of
        other sinks in the same spreadsheet.
        """
        names = {""}
        if self._config.per_position:
            samples = {id_ for tab in tabs for id_, _ in tab.rows()[:SAMPLE_ROWS]}
            names |= {note.tab for note in (await recall_rows(self._context, samples)).values()}
        notes = await self._context.get_notes([tab_name(name) for name in sorted(names)])
        ids = {read_tab_note(note).sheet_id for note in notes.values()}
        return {id_ for id_ in ids if id_ is not None}

    # decisions of users

    def _observe(self, tabs: Sequence[DecisionTab], before: Choices | None) -> int:
        """Requests the decisions that users made. Returns their number."""
        now = self._context.now()
        seen = [SeenTab(tab.sheet_id, tab.rows()) for tab in tabs if tab.decisions is not None]
        choices, decided = observe(before, self._config.decision_column, seen, now)
        self._done.decisions += [self._request(each) for each in decided]
        self._choices = choices
        if choices != before:
            self._keep(choices)
        if choices.fresh:
            self._done.follow_ups.append(FollowUp(READ_DECISIONS, after=SOON))
        return len(decided)

    def _keep(self, choices: Choices) -> None:
        self._done.notes[CHOICES] = choices.encode()

    def _request(self, choice: SettledChoice) -> DecisionRequest:
        at = _moment(choice.since, ZoneInfo(self._config.timezone))
        hold = f"{choice.rows} rows of {self._name} changed at once, before {at}" if choice.rows else ""
        return DecisionRequest(
            key=f"sheet:{self._name}:{choice.interview_id}:{choice.since}",
            interview_id=choice.interview_id,
            decision=choice.decision,
            actor=f"{ACTOR}:{self._name}",
            via=Via.SHEET,
            hold=hold,
        )

    # results on the cells

    async def _show_results(
        self, deliveries: Sequence[Delivery], notes: Mapping[str, Note], tabs: Sequence[DecisionTab]
    ) -> None:
        texts: dict[str, str] = {}
        shown: list[Delivery] = []
        zone = zone_of(tabs[0].zone if tabs else "")
        for each in deliveries:
            [name] = note_keys(each)
            interview, note = each.interview, notes.get(name)
            if interview is None or note is None:
                self._done.outcomes[each.id] = Superseded("there is nothing to show")
                continue
            texts[interview.id] = describe(note, zone, self._config.words)
            shown.append(each)
        there = await self._write_notes(texts, tabs) if texts else set()
        for each in shown:
            assert each.interview is not None
            self._done.notes |= dict.fromkeys(note_keys(each))  # after the write, because a retry needs them
            is_there = each.interview.id in there
            self._done.outcomes[each.id] = Delivered() if is_there else Superseded("no row has a decision cell")

    async def _write_notes(self, texts: Mapping[str, str], tabs: Sequence[DecisionTab]) -> set[str]:
        """Writes notes until each is at a row of its interview. Returns the interviews with a row."""
        there = {id_ for id_ in texts for tab in tabs if tab.decisions is not None and tab.rows_of(id_)}
        wrong: dict[tuple[int, int], str] = {}
        for _ in range(WRITES_MAX):
            placed = {
                (tab.sheet_id, row): (id_, text)
                for tab in tabs
                if tab.decisions is not None
                for id_, text in texts.items()
                for row in tab.rows_of(id_)
            }
            if not placed:
                return there
            cleared = {place: ("", "") for place in wrong if place not in placed}
            tabs = await self._write(tabs, placed | cleared)
            keys = {tab.sheet_id: tab.keys.texts for tab in tabs}
            wrong = {place: id_ for place, (id_, _) in placed.items() if _key_at(keys, place) != id_}
            if not wrong:
                return there
        raise CallFailed(_MOVING)

    async def _write(
        self, tabs: Sequence[DecisionTab], notes: Mapping[tuple[int, int], tuple[str, str]]
    ) -> list[DecisionTab]:
        """Writes notes. Returns the tabs as the reply shows them after the write."""
        requests: list[Request] = []
        by_id = {tab.sheet_id: tab for tab in tabs}
        concerned = [by_id[sheet_id] for sheet_id in dict.fromkeys(sheet_id for sheet_id, _ in notes)]
        for tab in concerned:
            assert tab.decisions is not None
            place, tag = tab.decisions.place, tab.decisions.tag
            requests += [
                *api_requests.hold_column(tab.sheet_id, place, "1", tag, DECISION_TAG),
                # without the column the tag would be put on the next one, whose texts would then be decisions
                *api_requests.prove_width(tab.sheet_id, tab.width, FixedTag.WIDTH.number(tab.sheet_id)),
                *(
                    api_requests.cell_note(tab.sheet_id, row, place, text)
                    for (sheet_id, row), (_, text) in notes.items()
                    if sheet_id == tab.sheet_id
                ),
            ]
        ranges = [
            api_requests.column_range(tab.title, column.place)
            for tab in concerned
            for column in (tab.keys, tab.decisions)
            if column is not None
        ]
        await self._calls.ready_to_write()
        return await self._calls.write(api_requests.batch_body(requests, ranges), read_tabs)

    # the column

    async def _make_columns(self, tabs: Sequence[DecisionTab], reads: Sequence[Delivery]) -> None:
        """Makes the column where it is missing. A column that users deleted is made again when its title is in a
        header.
        """
        choices = self._choices
        for tab in tabs:
            if tab.decisions is not None:
                continue
            view = await self._calls.fetch_and(
                read_cells([api_requests.top_filter(tab.sheet_id, TOP_ROWS)]),
                lambda book, id_=tab.sheet_id: read_view(book, id_, None, self._config.titles),  # type: ignore[misc]
            )
            if view is None:
                continue
            titled = self._titled(view)
            requests = self._column_requests(view, tab, titled, is_known=tab.sheet_id in choices.made)
            if not requests:
                continue
            await self._calls.ready_to_write()
            await self._calls.write(
                api_requests.batch_body(requests, [api_requests.top_range(tab.title, 1)]), lambda _: None
            )
            choices = replace(choices, made=choices.made | {tab.sheet_id})
            if titled is None:  # a new column is empty, so its first read need not be a baseline
                choices = replace(choices, tabs=choices.tabs | {tab.sheet_id})
            self._keep(choices)
            self._done.outcomes |= {each.id: Delivered() for each in reads}

    def _titled(self, view: TabView) -> int | None:
        """Returns the place of the first column of users that has the title."""
        title = header_key(self._config.decision_column)
        places = (at for at, text in enumerate(view.header) if header_key(text) == title and at not in view.tags)
        return next(places, None)

    def _column_requests(self, view: TabView, tab: DecisionTab, titled: int | None, *, is_known: bool) -> list[Request]:
        """Returns the requests that make the column, or mark the one that has its title; none when users deleted it, or
        the columns of the sink.
        """
        sheet_id, title = view.sheet_id, self._config.decision_column
        if titled is not None:
            place = titled
            held = api_requests.hold_column(sheet_id, tab.keys.place, KEY, tab.keys.tag)
            made = [*held, *api_requests.prove_width(sheet_id, view.width, FixedTag.WIDTH.number(sheet_id))]
        elif is_known or not view.tags:
            return []
        else:
            place = max([*view.tags, *(index for index, text in enumerate(view.header) if text.strip())]) + 1
            made = [
                api_requests.insert_columns(sheet_id, place, place + 1, inherit=place == view.width),
                api_requests.header_cells(sheet_id, view.header_row, place, [title]),
                api_requests.bold_header(sheet_id, view.header_row, place, place + 1),
                api_requests.column_width(sheet_id, place, WIDTH_PIXELS),
            ]
        marked = api_requests.tag_decisions(sheet_id, place, FixedTag.DECISIONS.number(sheet_id))
        return [*made, marked, api_requests.drop_down(sheet_id, view.header_row + 1, place, labels(self._config.words))]


_MOVING = SheetsFailure(FailureMeaning.UNCLEAR, "rows move while notes are written")


def _key_at(keys: Mapping[int, Sequence[str]], place: tuple[int, int]) -> str:
    """Returns the id in the row of a place, by the key columns of all tabs."""
    sheet_id, row = place
    texts = keys.get(sheet_id, ())
    return texts[row].strip() if row < len(texts) else ""


def describe(note: Mapping[str, Any], zone: tzinfo, words: Language) -> str:
    """Returns the note for a cell: the result with its time, or the reason."""
    text = STATES.get(note["state"], STATES["refused"])
    if note["state"] == "done" and note["changed"]:
        text = DONE.get(note["decision"], text)
    return words.gettext(text).format(time=_moment(note["at"], zone), reason=note["reason"])


def _moment(at: int, zone: tzinfo) -> str:
    return f"{datetime.fromtimestamp(at / 1000, tz=UTC).astimezone(zone):%Y-%m-%d %H:%M %Z}"
