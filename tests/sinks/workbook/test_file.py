"""The file is replaced in one step, not lost, and not overwritten while another program uses it."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import stat
import zipfile
from pathlib import Path

import openpyxl
import pytest

from connector.sink import Delivered, RateLimited, RetryLater, SinkBroken, Stage
from connector.testing import interview_id, make_delivery, make_interview, run_batch
from sinks.spreadsheet.columns import DEFAULT_COLUMNS
from sinks.workbook import child, file
from sinks.workbook.rewrite import rewrite
from sinks.workbook.state import RewriteRequest, Row, TableState
from tests.full_disk import full_disk
from tests.sinks.workbook.conftest import asked

WAITING = RetryLater("open in an office program", after=5.0, counts=False, pause_sink=True)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


async def test_missing_folders_are_made(make_workbook, tmp_path):
    workbook = make_workbook()
    workbook.use()
    workbook.path = tmp_path / "a" / "b" / "hiring.xlsx"
    workbook.use()
    await workbook.show(make_interview())
    assert names(workbook.path.parent) == ["hiring.xlsx"]


async def test_a_rewrite_keeps_the_files_mode(workbook):
    await workbook.show(make_interview())
    workbook.path.chmod(0o640)
    await workbook.show(make_interview(score=1))
    assert stat.S_IMODE(workbook.path.stat().st_mode) == 0o640


async def test_a_link_to_the_file_stays_a_link(workbook, tmp_path):
    real = tmp_path / "real.xlsx"
    workbook.path.symlink_to(real)
    await workbook.show(make_interview())
    await workbook.show(make_interview(score=1))
    assert workbook.path.is_symlink()
    assert workbook.column("Score") == [1]


@pytest.mark.parametrize("mark", ["~$interviews.xlsx", ".~lock.interviews.xlsx#"])
async def test_while_an_office_program_has_it_open_the_sink_waits(workbook, mark):
    await workbook.show(make_interview())
    before = workbook.path.read_bytes()
    (workbook.path.parent / mark).touch()
    result = await workbook.deliver(make_interview(score=1), make_interview(number=2))
    assert result.outcomes == [WAITING, WAITING]
    assert workbook.path.read_bytes() == before
    (workbook.path.parent / mark).unlink()
    await workbook.show(make_interview(score=1))
    assert workbook.column("Score") == [1]


@pytest.fixture(params=["~$interviews.xlsx", ".~lock.interviews.xlsx#"])
async def locked(workbook, request):
    """A workbook with a lock file beside it, as old as the sink's clock."""
    await workbook.show(make_interview())
    lock = workbook.path.parent / request.param
    lock.touch()
    os.utime(lock, (workbook.context.clock.now() / 1000,) * 2)
    workbook.lock = lock
    return workbook


async def test_a_lock_file_that_is_days_old_pauses_the_sink_after_some_minutes(locked):
    locked.context.clock.advance(3 * 24 * 3600)
    assert (await locked.deliver(make_interview(score=1))).outcomes == [WAITING]
    locked.context.clock.advance(5 * 60)
    with pytest.raises(SinkBroken, match="open in an office program: rewrites wait") as broken:
        await locked.deliver(make_interview(score=1))
    assert "remove the lock file" in broken.value.fix
    assert not broken.value.until_resumed
    assert (broken.value.reason, broken.value.fix) == file.locked_message(locked.path)


async def test_once_the_old_lock_file_is_gone_the_sink_resumes(locked):
    locked.context.clock.advance(3 * 24 * 3600)
    await locked.deliver(make_interview(score=1))
    locked.context.clock.advance(5 * 60)
    with pytest.raises(SinkBroken):
        await locked.deliver(make_interview(score=1))
    locked.lock.unlink()
    await locked.show(make_interview(score=1))
    assert locked.column("Score") == [1]


async def test_a_fresh_lock_file_makes_the_sink_wait_however_long_it_has_waited(locked):
    for _ in range(20):
        locked.context.clock.advance(3600)
        assert (await locked.deliver(make_interview(score=1))).outcomes == [WAITING]


async def test_a_user_who_opens_the_file_again_gets_the_whole_time(locked):
    locked.context.clock.advance(3 * 24 * 3600)
    await locked.deliver(make_interview(score=1))
    os.utime(locked.lock, (locked.context.clock.now() / 1000,) * 2)
    locked.context.clock.advance(3600)
    assert (await locked.deliver(make_interview(score=1))).outcomes == [WAITING]


async def test_rewrites_are_two_seconds_apart_and_the_first_comes_at_once(workbook):
    delivery = make_delivery(interview=make_interview(), state=True)
    await run_batch(workbook.sink, [delivery], workbook.context)
    with pytest.raises(RateLimited) as wait:
        await run_batch(workbook.sink, [delivery], workbook.context)
    assert wait.value.seconds == 2
    workbook.context.clock.advance(2)
    assert (await run_batch(workbook.sink, [delivery], workbook.context)).outcomes == [Delivered()]
    assert workbook.context.calls == {"rewrite": 2}


async def test_a_thousand_interviews_are_one_rewrite(workbook, capfd):
    await workbook.show(*(make_interview(number=number) for number in range(1, 1001)))
    assert workbook.context.calls == {"rewrite": 1}
    assert workbook.column("Interview ID") == [interview_id(number) for number in range(1, 1001)]
    assert capfd.readouterr() == ("", "")


async def test_the_pause_between_rewrites_grows_with_a_large_table(workbook):
    rows = {interview_id(number): 1 for number in range(1, 6_001)}
    workbook.context.notes["table"] = {"flush": 1, "zone": "UTC", "columns": [], "rows": rows}
    await workbook.deliver(make_interview())
    assert [1 / token.rate for token in workbook.context.taken] == [6.0]


async def test_what_stops_a_rewrite_in_a_child_process_is_reported_too(workbook):
    many = [make_interview(number=number) for number in range(1, 601)]
    workbook.path.write_bytes(b"broken")
    with pytest.raises(SinkBroken, match="cannot be read") as broken:
        await workbook.deliver(*many)
    assert "move it away" in broken.value.fix
    workbook.path.unlink()
    (workbook.path.parent / "~$interviews.xlsx").touch()
    assert (await workbook.deliver(*many)).outcomes == [WAITING] * 600


def test_a_child_process_gets_no_secrets_of_the_service(monkeypatch):
    monkeypatch.setenv("CONNECTOR_DEFAULTS__SLACK__TOKEN", "xoxb-secret")
    assert "xoxb-secret" not in str(child.child_environment())


async def test_beyond_its_limit_it_says_what_to_do_and_changes_nothing(workbook):
    await workbook.show(make_interview(number=1))
    with workbook.edit() as sheet:
        for number in range(2, 10_001):
            sheet.cell(number + 1, 12).value = interview_id(number)
    before = workbook.path.read_bytes()
    with pytest.raises(SinkBroken, match="10000") as broken:
        await workbook.deliver(make_interview(number=10_001))
    assert "google_sheets" in broken.value.fix
    assert workbook.path.read_bytes() == before


def test_a_save_by_a_user_during_the_rewrite_is_not_overwritten(tmp_path):
    path = tmp_path / "a.xlsx"
    path.write_bytes(b"read by us")
    before = file.file_version(path)
    path.write_bytes(b"saved by a user")
    with pytest.raises(file.InUseError, match="meanwhile"):
        file.replace_file(path, before, b"ours")
    assert path.read_bytes() == b"saved by a user"
    assert names(tmp_path) == ["a.xlsx"]


def test_an_office_program_that_opens_the_file_during_the_rewrite_keeps_its_version(tmp_path):
    path = tmp_path / "a.xlsx"
    path.write_bytes(b"old")
    before = file.file_version(path)
    (tmp_path / "~$a.xlsx").touch()
    with pytest.raises(file.InUseError, match="office"):
        file.replace_file(path, before, b"ours")
    assert path.read_bytes() == b"old"


def test_a_file_that_appeared_meanwhile_is_not_overwritten(tmp_path):
    path = tmp_path / "a.xlsx"
    path.write_bytes(b"theirs")
    with pytest.raises(file.InUseError):
        file.replace_file(path, None, b"ours")
    assert path.read_bytes() == b"theirs"


def test_a_failed_write_leaves_the_old_version_and_no_temporary_file(tmp_path):
    path = tmp_path / "a.xlsx"
    path.write_bytes(b"old")
    with full_disk(100), pytest.raises(OSError, match="too large"):
        file.replace_file(path, file.file_version(path), bytes(10_000))
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["a.xlsx"]


def test_what_a_crash_left_behind_is_removed_by_the_next_rewrite(tmp_path):
    path = tmp_path / "a.xlsx"
    (tmp_path / ".a.xlsx.0123.new").write_bytes(b"half of something")
    (tmp_path / ".other.xlsx.0123.new").write_bytes(b"not ours")
    path.write_bytes(b"old")
    file.replace_file(path, file.file_version(path), b"whole")
    assert names(tmp_path) == [".other.xlsx.0123.new", "a.xlsx"]
    assert path.read_bytes() == b"whole"


def test_an_erase_removes_what_a_crash_left_behind_also_without_a_row_to_remove(tmp_path):
    """The temporary file may hold the person whose row was not written yet."""
    (tmp_path / ".a.xlsx.0123.new").write_bytes(b"Ada")
    rows = {"i1": Row({column.field: None for column in DEFAULT_COLUMNS}, removed=True)}
    rewrite(RewriteRequest("book", tmp_path / "a.xlsx", "Interviews", DEFAULT_COLUMNS, "UTC", TableState(), rows))
    assert ".a.xlsx.0123.new" not in names(tmp_path)


def test_a_temporary_file_that_another_process_removed_is_written_again(tmp_path, monkeypatch):
    """Two processes may write two tabs of one file."""
    path = tmp_path / "a.xlsx"
    monkeypatch.setattr(file, "refuse_if_open", file.remove_leftovers)
    with pytest.raises(file.InUseError):
        file.replace_file(path, None, b"ours")


def test_of_two_rewrites_of_one_version_the_second_is_refused(tmp_path):
    path = tmp_path / "a.xlsx"
    path.write_bytes(b"old")
    before = file.file_version(path)
    file.replace_file(path, before, b"the first")
    with pytest.raises(file.InUseError):
        file.replace_file(path, before, b"the second")
    assert path.read_bytes() == b"the first"


async def test_a_child_process_imports_nothing_from_the_working_folder(workbook, tmp_path, monkeypatch):
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "openpyxl.py").write_text("raise SystemExit(1)")
    monkeypatch.chdir(folder)
    await workbook.show(*(make_interview(number=number) for number in range(1, 502)))
    assert len(workbook.column("Interview ID")) == 501


async def test_two_sinks_keep_two_tabs_of_one_file(make_workbook):
    one, two = make_workbook(worksheet="Sales"), make_workbook(worksheet="Support")
    await asyncio.gather(one.sink.open(), two.sink.open())
    for number in range(1, 6):
        await asyncio.gather(one.show(make_interview(number=number)), two.show(make_interview(number=number + 10)))
    await asyncio.gather(one.sink.close(), two.sink.close())
    for tab, first in (("Sales", 1), ("Support", 11)):
        keys = [row[-1] for row in one.sheet(tab).iter_rows(min_row=2, values_only=True)]
        assert keys == [interview_id(number) for number in range(first, first + 5)]
    assert one.sink.destination != two.sink.destination


@pytest.mark.parametrize(
    ("number", "reason", "fix"),
    [
        (errno.ENOSPC, "room", "make room"),
        (errno.EDQUOT, "room", "make room"),
        (errno.EACCES, "read or written", "right"),
        (errno.EROFS, "read or written", "right"),
        (errno.EIO, "Input/output error", "disk"),
    ],
)
def test_an_error_of_the_system_says_what_to_do(number, reason, fix):
    broken = file.broken_by(OSError(number, os.strerror(number), "/home/wayne/secret.xlsx"))
    assert reason in broken.reason
    assert fix in broken.fix
    assert "wayne" not in broken.reason + broken.fix


async def test_a_folder_that_is_a_file_breaks_the_sink_with_a_fix(workbook, tmp_path):
    (tmp_path / "file").touch()
    workbook.path = tmp_path / "file" / "hiring.xlsx"
    workbook.use()
    with pytest.raises(SinkBroken) as broken:
        await workbook.deliver(make_interview())
    assert broken.value.fix


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x03\x04 half a zip", b"\xd0\xcf\x11\xe0 encrypted"])
async def test_a_file_that_cannot_be_read_is_never_overwritten(workbook, content):
    workbook.path.write_bytes(content)
    with pytest.raises(SinkBroken, match="cannot be read") as broken:
        await workbook.deliver(make_interview())
    assert "move it away" in broken.value.fix
    assert workbook.path.read_bytes() == content


async def test_a_zip_that_is_no_workbook_is_never_overwritten(workbook):
    with zipfile.ZipFile(workbook.path, "w") as archive:
        archive.writestr("hello.txt", "hello")
    with pytest.raises(SinkBroken, match="cannot be read"):
        await workbook.deliver(make_interview())
    assert zipfile.ZipFile(workbook.path).namelist() == ["hello.txt"]


async def test_a_torn_workbook_is_never_overwritten(workbook):
    await workbook.show(make_interview())
    torn = workbook.path.read_bytes()[:-600]
    workbook.path.write_bytes(torn)
    with pytest.raises(SinkBroken, match="cannot be read"):
        await workbook.deliver(make_interview(score=1))
    assert workbook.path.read_bytes() == torn


async def test_once_the_file_is_repaired_the_sink_resumes(workbook):
    workbook.path.write_bytes(b"broken")
    with pytest.raises(SinkBroken):
        await workbook.deliver(make_interview())
    workbook.path.unlink()
    await workbook.show(make_interview())
    assert workbook.column("Interview ID") == [interview_id()]


async def test_a_call_that_timed_out_cannot_race_with_the_next(workbook):
    await workbook.sink.open()
    workbook.context.clock.advance(2)
    many = [make_delivery(interview=make_interview(number=number), state=True) for number in range(1, 301)]
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await run_batch(workbook.sink, many, workbook.context)
    await workbook.show(*(delivery.interview for delivery in many))
    await workbook.show(make_interview(number=1, stage=Stage.SHORTLISTED))
    await workbook.sink.close()
    assert len(workbook.column("Interview ID")) == 300
    assert workbook.column("Stage")[:2] == ["Shortlisted", "To evaluate"]


async def test_formulas_of_users_are_computed_when_the_file_is_opened(workbook):
    await workbook.show(make_interview())
    with workbook.edit() as sheet:
        sheet["N1"] = "=1+1"
        sheet.parent.calculation.fullCalcOnLoad = False
    await workbook.show(make_interview(score=1))
    assert openpyxl.load_workbook(workbook.path).calculation.fullCalcOnLoad


async def test_the_check_of_a_file_to_come_is_fine_and_makes_nothing(workbook, tmp_path):
    [finding] = await workbook.sink.check_connection()
    assert finding.level == "ok"
    assert names(tmp_path) == []


async def test_the_check_of_a_good_file_is_fine(workbook):
    await workbook.show(make_interview())
    [finding] = await workbook.sink.check_connection()
    assert (finding.level, finding.fix) == ("ok", "")


async def test_the_check_names_what_is_wrong_with_the_file(workbook):
    workbook.path.write_bytes(b"broken")
    [finding] = await workbook.sink.check_connection()
    assert finding.level == "problem"
    assert finding.fix


async def test_the_check_warns_of_a_mark_that_makes_rewrites_wait(workbook):
    await workbook.show(make_interview())
    (workbook.path.parent / "~$interviews.xlsx").touch()
    [good, warning] = await workbook.sink.check_connection()
    assert (good.level, warning.level) == ("ok", "warning")
    assert (warning.message, warning.fix) == file.locked_message(workbook.path)


async def test_the_check_names_a_folder_that_cannot_be_made(workbook, tmp_path):
    (tmp_path / "file").touch()
    workbook.path = tmp_path / "file" / "hiring.xlsx"
    workbook.use()
    [finding] = await workbook.sink.check_connection()
    assert finding.level == "problem"


async def test_a_file_that_libreoffice_saved_is_understood(workbook):
    """There a user renamed the column Phone and deleted the second of three rows. Saving made our number a fraction,
    showed our names, and added an empty drawing.
    """
    await workbook.show(*(make_interview(number=number) for number in (1, 2, 3)))
    shutil.copy(Path(__file__).with_name("saved_by_libreoffice.xlsx"), workbook.path)
    result = await workbook.show(make_interview(number=1, candidate_phone="+1"), make_interview(number=2, score=4))
    assert asked(result) == {}
    assert workbook.column("Interview ID") == [interview_id(1), interview_id(3)]
    assert workbook.column("Mobile") == ["+1", None]
