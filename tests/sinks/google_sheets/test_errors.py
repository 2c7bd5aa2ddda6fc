"""The errors that an operator must solve, with their fixes, and the failures that the sink repeats."""

from __future__ import annotations

import json
import time

import pytest
from pydantic import SecretStr

from connector.emulators.faults import Fault, FaultKind
from connector.emulators.google import EMAIL, GoogleEmulator
from connector.emulators.google.errors import invalid
from connector.sink import Delivered, Finding, Rejected, RetryLater, SinkBroken
from connector.testing import interview_id
from sinks.google_sheets.errors import FailureMeaning, answer_failure, token_failure
from tests.sinks.google_sheets.conftest import TAB, SheetHarness, person_of, scored


async def test_a_sheet_that_is_not_shared_says_with_whom_to_share_it(harness):
    harness.person.unshare(EMAIL)
    error = await harness.broken(person_of(1))
    assert error.reason == "the spreadsheet is not shared with the service account"
    assert error.fix == f"share the sheet with {EMAIL} as editor"


async def test_it_continues_when_the_sheet_is_shared(harness):
    harness.person.unshare(EMAIL)
    await harness.broken(person_of(1))
    harness.person.share(EMAIL)
    await harness.show(person_of(1))
    assert len(harness.records()) == 1


async def test_a_sheet_shared_as_viewer_says_to_make_it_editor(harness):
    harness.person.share_read_only(EMAIL)
    error = await harness.broken(person_of(1))
    assert error.reason == "the spreadsheet is shared read-only with the service account"
    assert error.fix == f"in the sheet, Share: make {EMAIL} an Editor"
    [ok, problem] = await harness.sink.check_connection()
    assert (ok.level, problem.message, problem.fix) == ("ok", error.reason, error.fix)


async def test_an_excel_file_in_drive_says_to_save_it_as_google_sheets(harness):
    harness.person.replace_by_office_file()
    error = await harness.broken(person_of(1))
    assert error.reason == "the file is an Excel workbook (.xlsx), which the Sheets API cannot open"
    assert "File, Save as Google Sheets" in error.fix
    [finding] = await harness.sink.check_connection()
    assert (finding.level, finding.message, finding.fix) == ("problem", error.reason, error.fix)


@pytest.mark.parametrize(("seconds", "side"), [(7200, "behind"), (-3600, "ahead")])
async def test_a_clock_that_differs_from_google_s_is_named_with_the_difference(harness, seconds, side):
    harness.google.tokens.wall = lambda: time.time() + seconds
    error = await harness.broken(person_of(1))
    assert error.reason == f"this machine's clock differs by {abs(seconds)} seconds from Google's ({side})"
    assert "set the clock" in error.fix
    assert "new JSON key" not in error.fix


@pytest.mark.parametrize("date", ["", "no date", "Mon, 27 Oct 2025 12:00:00 GMT"])
def test_a_refused_time_without_a_difference_to_show_still_names_the_clock(date):
    description = "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe."
    body = json.dumps({"error": "invalid_grant", "error_description": description}).encode()
    failure = token_failure(body, date, now=1_761_566_400 + 5, email=EMAIL)
    assert failure.reason == "Google refuses the time of the request: this machine's clock may be wrong"
    assert "new JSON key" not in failure.fix


async def test_an_unknown_spreadsheet_says_what_to_set(harness):
    harness.config = harness.config.model_copy(update={"spreadsheet": "nothere"})
    await harness.restart()
    error = await harness.broken(person_of(1))
    assert error.reason == "no spreadsheet has this id"


async def test_an_api_that_is_switched_off_says_where_to_switch_it_on(harness):
    harness.google.api_disabled = True
    error = await harness.broken(person_of(1))
    assert "switched off" in error.reason
    assert "Google Sheets API and press Enable" in error.fix


async def test_a_refused_key_says_to_make_a_new_one(harness):
    harness.google.tokens.refuse()
    error = await harness.broken(person_of(1))
    assert error.reason == "Google gives the service account no token"
    assert EMAIL in error.fix


async def test_a_revoked_token_is_renewed_in_the_same_call(harness):
    await harness.show(person_of(1))
    harness.google.tokens.revoke()
    await harness.show(scored(person_of(1), 4))
    assert harness.records()[interview_id(1)]["Score"] == 4


async def test_a_token_that_is_always_refused_needs_an_operator(harness):
    harness.google.faults.add(Fault(FaultKind.STATUS, "read", 2, 401, "{}"))
    error = await harness.broken(person_of(1))
    assert error.reason == "Google does not accept the service account's credentials"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ('{"error": {"status": "PERMISSION_DENIED", "message": "The caller"}}', "PERMISSION_DENIED: The caller"),
        ("<html>blocked by a proxy", "<html>blocked by a proxy"),
    ],
)
async def test_the_text_of_a_refusal_is_recorded(harness, body, words):
    harness.google.faults.add(Fault(FaultKind.STATUS, "read", 2, 403, body))
    await harness.broken(person_of(1))
    assert harness.context.replies == [(403, words)]


async def test_a_key_file_that_is_not_there_is_named_without_its_folder(harness, tmp_path):
    harness.config = harness.config.model_copy(update={"credentials_file": tmp_path / "absent.json"})
    await harness.restart()
    error = await harness.broken(person_of(1))
    assert error.reason == "the file absent.json cannot be read (No such file or directory)"


async def test_a_key_file_with_a_byte_order_mark_is_read(harness, tmp_path, key_file):
    harness.config = harness.config.model_copy(update={"credentials_file": tmp_path / "bom.json"})
    (tmp_path / "bom.json").write_bytes(b"\xef\xbb\xbf" + key_file.read_bytes())
    await harness.restart()
    assert harness.sink.validate() == []
    await harness.show(person_of(1))


@pytest.mark.parametrize("escaped", ["\\n", "\\\\n", "\\r\\n"])
async def test_a_key_with_escaped_line_ends_is_read(harness, key_file, escaped):
    key = json.loads(key_file.read_text())
    key["private_key"] = key["private_key"].replace("\n", escaped)
    update = {"credentials_file": None, "credentials": SecretStr("\ufeff" + json.dumps(key))}
    harness.config = harness.config.model_copy(update=update)
    await harness.restart()
    await harness.show(person_of(1))
    assert len(harness.records()) == 1


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("no json", "the service account's key is not JSON"),
        ("[]", "the service account's key is not JSON"),
        ('{"client_email": "a@b"}', "the service account's key lacks private_key, token_uri"),
        (
            '{"client_email": "a@b", "private_key": "x", "token_uri": "http://elsewhere.example/"}',
            "the token_uri of the service account's key is not safe",
        ),
        (
            '{"client_email": "a@b", "private_key": "x", "token_uri": "https://oauth2.googleapis.com/token"}',
            "the private key of the service account cannot be read",
        ),
    ],
)
async def test_an_unusable_key_is_reported_without_showing_it(harness, tmp_path, text, reason):
    file = tmp_path / "key.json"
    file.write_text(text)
    harness.config = harness.config.model_copy(update={"credentials_file": file})
    await harness.restart()
    error = await harness.broken(person_of(1))
    assert error.reason == reason


async def test_a_corrected_key_file_is_read_without_a_restart(harness, tmp_path, key_file):
    file = tmp_path / "key.json"
    file.write_text("no json")
    harness.config = harness.config.model_copy(update={"credentials_file": file})
    await harness.restart()
    await harness.broken(person_of(1))
    file.write_bytes(key_file.read_bytes())
    await harness.show(person_of(1))
    assert len(harness.records()) == 1


async def test_a_deleted_tab_is_not_made_again_without_a_decision(harness):
    await harness.show(person_of(1))
    harness.person.delete_tab(TAB)
    harness.context.clock.advance(60)
    error = await harness.broken(scored(person_of(1), 4))
    assert error.reason == 'the tab "Interviews" was deleted'
    assert harness.google.titles(harness.id) == ["Sheet1"]


async def test_a_tab_deleted_between_read_and_write_is_not_made_again_either(harness):
    await harness.show(person_of(1))
    harness.context.clock.advance(60)
    harness.google.before_write = lambda: TAB in harness.google.titles(harness.id) and harness.person.delete_tab(TAB)
    error = await harness.broken(scored(person_of(1), 4))
    assert error.reason == 'the tab "Interviews" was deleted'


async def test_what_was_written_before_the_break_is_reported_as_delivered(harness):
    people = [person_of(number, candidate_name="x" * 40_000) for number in range(1, 81)]
    writes = []

    def second_fails():
        writes.append(1)
        if len(writes) == 2:
            harness.person.unshare(EMAIL)

    harness.google.before_write = second_fails
    result = await harness.deliver(*people)
    done = [outcome for outcome in result.outcomes if outcome == Delivered()]
    rest = [outcome for outcome in result.outcomes if outcome != Delivered()]
    assert len(done) == len(harness.records()) == 44
    assert set(rest) == {RetryLater("the spreadsheet is not shared with the service account", counts=False)}


class RefusingGoogle(GoogleEmulator):
    """Refuses each batch with a word, for an unknown reason."""

    def __init__(self):
        super().__init__()
        self.word = b"poison"

    def _perform(self, request, method, action, raw):
        if self.word in raw:
            raise invalid("Invalid requests[7].updateCells: This is not what we like.")
        return super()._perform(request, method, action, raw)


@pytest.fixture
async def picky(tmp_path):
    with RefusingGoogle() as google:
        harness = SheetHarness(google, google.service_account_file(tmp_path / "key.json"))
        yield harness
        await harness.sink.close()


@pytest.mark.parametrize("place", [0, 5, 12])
async def test_a_row_that_google_does_not_take_is_singled_out_and_the_others_are_written(picky, place):
    people = [person_of(number) for number in range(1, 14)]
    people[place] = person_of(place + 1, candidate_name="poison")
    await picky.settle(*people)
    rejected = [outcome for outcome in picky.outcomes if isinstance(outcome, Rejected)]
    assert rejected == [Rejected("Google refused the request (INVALID_ARGUMENT)")]
    assert set(picky.records()) == {each.id for each in people} - {people[place].id}


async def test_an_update_that_google_does_not_take_is_singled_out_as_well(picky):
    people = [person_of(number) for number in range(1, 6)]
    await picky.show(*people)
    await picky.settle(
        person_of(3, candidate_name="poison"), *[scored(each, 4) for each in people if each != people[2]]
    )
    assert [outcome for outcome in picky.outcomes if isinstance(outcome, Rejected)] == [
        Rejected("Google refused the request (INVALID_ARGUMENT)")
    ]
    assert [record["Score"] for record in picky.records().values()] == [4, 4, None, 4, 4]


async def test_when_google_takes_nothing_at_all_no_row_is_given_up(picky):
    await picky.show(person_of(1))
    picky.google.word = b"hf.guard"
    with pytest.raises(SinkBroken) as caught:
        await picky.settle(person_of(2), person_of(3), rounds=20)
    picky.google.word = b"poison"
    assert caught.value.fix.startswith("look at the tab")
    await picky.settle(person_of(2), person_of(3))
    assert len(picky.records()) == 3


@pytest.mark.parametrize(
    ("status", "message", "meaning"),
    [
        (429, "", FailureMeaning.THROTTLED),
        (400, "Invalid requests[0]: metadata id already in use", FailureMeaning.CONFLICT),
        (400, "Unable to parse range: 'X'!1:1", FailureMeaning.CONFLICT),
        (400, "Invalid requests[3].updateCells: Range exceeds grid limits.", FailureMeaning.REFUSED),
        (400, "You are trying to edit a protected cell or object.", FailureMeaning.PROTECTED),
        (400, 'A sheet with the name "Protected" already exists.', FailureMeaning.CONFLICT),
        (400, "Unable to parse range: 'Protected'!1:1", FailureMeaning.CONFLICT),
        (400, "Range (Protected!Y1) exceeds grid limits. Max rows: 9, max columns: 9", FailureMeaning.REFUSED),
        (400, "This action would increase the number of cells in the workbook above the limit", FailureMeaning.BROKEN),
        (403, "Request had insufficient authentication scopes.", FailureMeaning.BROKEN),
        (404, "Requested entity was not found.", FailureMeaning.BROKEN),
        (500, "Internal error encountered.", FailureMeaning.UNCLEAR),
        (302, "", FailureMeaning.UNCLEAR),
    ],
)
def test_every_answer_has_a_meaning(status, message, meaning):
    body = json.dumps({"error": {"message": message}}).encode()
    failure = answer_failure(status, body, email=EMAIL)
    assert failure.meaning is meaning
    assert bool(failure.fix) == (meaning in {FailureMeaning.BROKEN, FailureMeaning.PROTECTED})


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"error": "x"}', b'{"error": {"details": 1}}'])
def test_an_answer_without_json_is_classified_by_its_status(body):
    assert answer_failure(503, body, email=EMAIL).meaning is FailureMeaning.UNCLEAR
    assert answer_failure(403, body, email=EMAIL).meaning is FailureMeaning.BROKEN


async def test_check_says_who_can_open_what(harness):
    [finding] = await harness.sink.check_connection()
    assert finding == Finding(
        "ok", f'{EMAIL} can open the spreadsheet "Hiring"; the tab "Interviews" is created with the first row'
    )
    assert harness.google.titles(harness.id) == ["Sheet1"]
    assert harness.google.tags(harness.id) == []


async def test_check_says_that_the_tab_exists(make_harness):
    [finding] = await make_harness(tabs=["interviews"]).sink.check_connection()
    assert finding.message.endswith('the tab "Interviews" exists')


async def test_check_says_that_each_position_gets_a_tab(make_harness):
    [finding] = await make_harness(worksheet="Hiring {position}").sink.check_connection()
    promise = 'each position gets a tab of its own, titled "Hiring {position}", when its first row is written'
    assert finding.message.endswith(promise)


async def test_check_notices_that_we_may_only_read(harness):
    harness.google.faults.add(Fault(FaultKind.STATUS, "write", status=403, body='{"error": {"message": "The caller"}}'))
    findings = await harness.sink.check_connection()
    assert [finding.level for finding in findings] == ["ok", "problem"]
    assert findings[1].fix == f"in the sheet, Share: make {EMAIL} an Editor"


async def test_check_of_an_unreachable_google_says_what_to_look_at(harness):
    harness.google.faults.add(Fault(FaultKind.REFUSE, "read", times=3))
    [finding] = await harness.sink.check_connection()
    assert finding.level == "problem"
    assert "api_url" in finding.fix


async def test_check_says_what_to_do(harness):
    harness.person.unshare(EMAIL)
    [finding] = await harness.sink.check_connection()
    assert (finding.level, finding.fix) == ("problem", f"share the sheet with {EMAIL} as editor")
