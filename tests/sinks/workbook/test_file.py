"""The file as a file: replaced in one step, never lost, never taken from somebody's hands."""

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

from connector.sink import Delivered, RetryLater, SinkBroken, Stage, Wait
from connector.testing import interview_id, make_delivery, make_interview, run_batch
from sinks.workbook import child, files

WAITING = RetryLater("open in an office program", after=5.0, counts=False, lane=True)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


async def test_missing_folders_are_made(make_desk, tmp_path):
    desk = make_desk()
    desk.use()
    desk.path = tmp_path / "a" / "b" / "hiring.xlsx"
    desk.use()
    await desk.show(make_interview())
    assert names(desk.path.parent) == ["hiring.xlsx"]


async def test_a_rewrite_keeps_the_files_mode(desk):
    await desk.show(make_interview())
    desk.path.chmod(0o640)
    await desk.show(make_interview(score=1))
    assert stat.S_IMODE(desk.path.stat().st_mode) == 0o640


async def test_a_link_to_the_file_stays_a_link(desk, tmp_path):
    real = tmp_path / "real.xlsx"
    desk.path.symlink_to(real)
    await desk.show(make_interview())
    await desk.show(make_interview(score=1))
    assert desk.path.is_symlink()
    assert desk.column("Score") == [1]


@pytest.mark.parametrize("mark", ["~$interviews.xlsx", ".~lock.interviews.xlsx#"])
async def test_while_an_office_program_has_it_open_the_sink_waits(desk, mark):
    await desk.show(make_interview())
    before = desk.path.read_bytes()
    (desk.path.parent / mark).touch()
    result = await desk.deliver(make_interview(score=1), make_interview(number=2))
    assert result.outcomes == [WAITING, WAITING]
    assert desk.path.read_bytes() == before
    (desk.path.parent / mark).unlink()
    await desk.show(make_interview(score=1))
    assert desk.column("Score") == [1]


@pytest.fixture(params=["~$interviews.xlsx", ".~lock.interviews.xlsx#"])
async def locked(desk, request):
    """A workbook with a lock file beside it, as old as the sink's clock."""
    await desk.show(make_interview())
    lock = desk.path.parent / request.param
    lock.touch()
    os.utime(lock, (desk.context.clock.now() / 1000,) * 2)
    desk.lock = lock
    return desk


async def test_a_lock_file_that_is_days_old_pauses_the_sink_after_some_minutes(locked):
    locked.context.clock.advance(3 * 24 * 3600)
    assert (await locked.deliver(make_interview(score=1))).outcomes == [WAITING]
    locked.context.clock.advance(5 * 60)
    with pytest.raises(SinkBroken, match="open in an office program: rewrites wait") as broken:
        await locked.deliver(make_interview(score=1))
    assert "remove the lock file" in broken.value.fix
    assert not broken.value.until_person
    assert (broken.value.reason, broken.value.fix) == files.locked_message(locked.path)


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


async def test_somebody_who_opens_the_file_anew_gets_all_the_time_again(locked):
    locked.context.clock.advance(3 * 24 * 3600)
    await locked.deliver(make_interview(score=1))
    os.utime(locked.lock, (locked.context.clock.now() / 1000,) * 2)
    locked.context.clock.advance(3600)
    assert (await locked.deliver(make_interview(score=1))).outcomes == [WAITING]


async def test_rewrites_are_two_seconds_apart_and_the_first_comes_at_once(desk):
    delivery = make_delivery(interview=make_interview(), state=True)
    await run_batch(desk.sink, [delivery], desk.context)
    with pytest.raises(Wait) as wait:
        await run_batch(desk.sink, [delivery], desk.context)
    assert wait.value.seconds == 2
    desk.context.clock.advance(2)
    assert (await run_batch(desk.sink, [delivery], desk.context)).outcomes == [Delivered()]
    assert desk.context.calls == {"rewrite": 2}


async def test_a_thousand_interviews_are_one_rewrite(desk, capfd):
    await desk.show(*(make_interview(number=number) for number in range(1, 1001)))
    assert desk.context.calls == {"rewrite": 1}
    assert desk.column("Interview ID") == [interview_id(number) for number in range(1, 1001)]
    assert capfd.readouterr() == ("", "")


async def test_the_pause_between_rewrites_grows_with_a_large_table(desk):
    rows = {interview_id(number): 1 for number in range(1, 6_001)}
    desk.context.notes["table"] = {"flush": 1, "zone": "UTC", "columns": [], "rows": rows}
    await desk.deliver(make_interview())
    assert [1 / token.rate for token in desk.context.taken] == [6.0]


async def test_what_stops_a_rewrite_in_a_child_process_is_told_all_the_same(desk):
    many = [make_interview(number=number) for number in range(1, 601)]
    desk.path.write_bytes(b"broken")
    with pytest.raises(SinkBroken, match="cannot be read") as broken:
        await desk.deliver(*many)
    assert "move it away" in broken.value.fix
    desk.path.unlink()
    (desk.path.parent / "~$interviews.xlsx").touch()
    assert (await desk.deliver(*many)).outcomes == [WAITING] * 600


def test_a_child_process_is_not_told_the_secrets_of_the_service(monkeypatch):
    monkeypatch.setenv("CONNECTOR_DEFAULTS__SLACK__TOKEN", "xoxb-secret")
    assert "xoxb-secret" not in str(child._environment())


async def test_beyond_its_limit_it_says_what_to_do_and_changes_nothing(desk):
    await desk.show(make_interview(number=1))
    with desk.edit() as sheet:
        for number in range(2, 10_001):
            sheet.cell(number + 1, 12).value = interview_id(number)
    before = desk.path.read_bytes()
    with pytest.raises(SinkBroken, match="10000") as broken:
        await desk.deliver(make_interview(number=10_001))
    assert "google_sheets" in broken.value.fix
    assert desk.path.read_bytes() == before


def test_a_save_by_a_person_during_the_rewrite_is_not_overwritten(tmp_path):
    path = tmp_path / "a.xlsx"
    path.write_bytes(b"read by us")
    before = files.identity(path)

    def write(file):
        file.write(b"ours")
        path.write_bytes(b"saved by a person")

    with pytest.raises(files.InUseError, match="meanwhile"):
        files.replace(path, before, write)
    assert path.read_bytes() == b"saved by a person"
    assert names(tmp_path) == ["a.xlsx"]


def test_an_office_program_that_opens_the_file_during_the_rewrite_is_left_alone(tmp_path):
    path = tmp_path / "a.xlsx"
    path.write_bytes(b"old")
    with pytest.raises(files.InUseError, match="office"):
        files.replace(path, files.identity(path), lambda file: (tmp_path / "~$a.xlsx").touch())
    assert path.read_bytes() == b"old"


def test_a_file_that_appeared_meanwhile_is_not_overwritten(tmp_path):
    path = tmp_path / "a.xlsx"
    with pytest.raises(files.InUseError):
        files.replace(path, None, lambda file: path.write_bytes(b"theirs"))
    assert path.read_bytes() == b"theirs"


def test_a_failed_write_leaves_the_old_version_and_no_temporary_file(tmp_path):
    path = tmp_path / "a.xlsx"
    path.write_bytes(b"old")

    def full_disk(file):
        file.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        files.replace(path, files.identity(path), full_disk)
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["a.xlsx"]


def test_what_a_crash_left_behind_is_removed_by_the_next_rewrite(tmp_path):
    path = tmp_path / "a.xlsx"
    (tmp_path / ".a.xlsx.0123.new").write_bytes(b"half of something")
    (tmp_path / ".other.xlsx.0123.new").write_bytes(b"not ours")
    path.write_bytes(b"old")
    os.utime(tmp_path / ".a.xlsx.0123.new", (1, 1))
    files.replace(path, files.identity(path), lambda file: file.write(b"whole"))
    assert names(tmp_path) == [".other.xlsx.0123.new", "a.xlsx"]
    assert path.read_bytes() == b"whole"


def test_of_two_rewrites_at_once_one_wins_whole_and_the_other_is_told(tmp_path):
    path = tmp_path / "a.xlsx"
    path.write_bytes(b"old")
    before = files.identity(path)

    def slow(file):
        file.write(b"first half,")
        files.replace(path, before, lambda other: other.write(b"the other's"))
        file.write(b"second half")

    with pytest.raises(files.InUseError):
        files.replace(path, before, slow)
    assert path.read_bytes() == b"the other's"


async def test_two_sinks_keep_two_tabs_of_one_file(make_desk):
    one, two = make_desk(worksheet="Sales"), make_desk(worksheet="Support")
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
    broken = files.broken_by(OSError(number, os.strerror(number), "/home/wayne/secret.xlsx"))
    assert reason in broken.reason
    assert fix in broken.fix
    assert "wayne" not in broken.reason + broken.fix


async def test_a_folder_that_is_a_file_breaks_the_sink_with_a_fix(desk, tmp_path):
    (tmp_path / "file").touch()
    desk.path = tmp_path / "file" / "hiring.xlsx"
    desk.use()
    with pytest.raises(SinkBroken) as broken:
        await desk.deliver(make_interview())
    assert broken.value.fix


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x03\x04 half a zip", b"\xd0\xcf\x11\xe0 encrypted"])
async def test_a_file_that_cannot_be_read_is_never_overwritten(desk, content):
    desk.path.write_bytes(content)
    with pytest.raises(SinkBroken, match="cannot be read") as broken:
        await desk.deliver(make_interview())
    assert "move it away" in broken.value.fix
    assert desk.path.read_bytes() == content


async def test_a_zip_that_is_no_workbook_is_never_overwritten(desk):
    with zipfile.ZipFile(desk.path, "w") as archive:
        archive.writestr("hello.txt", "hello")
    with pytest.raises(SinkBroken, match="cannot be read"):
        await desk.deliver(make_interview())
    assert zipfile.ZipFile(desk.path).namelist() == ["hello.txt"]


async def test_a_torn_workbook_is_never_overwritten(desk):
    await desk.show(make_interview())
    torn = desk.path.read_bytes()[:-600]
    desk.path.write_bytes(torn)
    with pytest.raises(SinkBroken, match="cannot be read"):
        await desk.deliver(make_interview(score=1))
    assert desk.path.read_bytes() == torn


async def test_once_a_person_has_mended_it_the_sink_goes_on(desk):
    desk.path.write_bytes(b"broken")
    with pytest.raises(SinkBroken):
        await desk.deliver(make_interview())
    desk.path.unlink()
    await desk.show(make_interview())
    assert desk.column("Interview ID") == [interview_id()]


async def test_a_call_that_timed_out_cannot_race_with_the_next(desk):
    await desk.sink.open()
    desk.context.clock.advance(2)
    many = [make_delivery(interview=make_interview(number=number), state=True) for number in range(1, 301)]
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await run_batch(desk.sink, many, desk.context)
    await desk.show(*(delivery.interview for delivery in many))
    await desk.show(make_interview(number=1, stage=Stage.SHORTLISTED))
    await desk.sink.close()
    assert len(desk.column("Interview ID")) == 300
    assert desk.column("Stage")[:2] == ["Shortlisted", "To evaluate"]


async def test_formulas_of_people_are_computed_anew_when_opened(desk):
    await desk.show(make_interview())
    with desk.edit() as sheet:
        sheet["N1"] = "=1+1"
        sheet.parent.calculation.fullCalcOnLoad = False
    await desk.show(make_interview(score=1))
    assert openpyxl.load_workbook(desk.path).calculation.fullCalcOnLoad


async def test_the_check_of_a_file_to_come_is_fine_and_makes_nothing(desk, tmp_path):
    [finding] = await desk.sink.check()
    assert finding.level == "ok"
    assert names(tmp_path) == []


async def test_the_check_of_a_good_file_is_fine(desk):
    await desk.show(make_interview())
    [finding] = await desk.sink.check()
    assert (finding.level, finding.fix) == ("ok", "")


async def test_the_check_names_what_is_wrong_with_the_file(desk):
    desk.path.write_bytes(b"broken")
    [finding] = await desk.sink.check()
    assert finding.level == "problem"
    assert finding.fix


async def test_the_check_warns_of_a_mark_that_makes_rewrites_wait(desk):
    await desk.show(make_interview())
    (desk.path.parent / "~$interviews.xlsx").touch()
    [good, warning] = await desk.sink.check()
    assert (good.level, warning.level) == ("ok", "warning")
    assert (warning.message, warning.fix) == files.locked_message(desk.path)


async def test_the_check_names_a_folder_that_cannot_be_made(desk, tmp_path):
    (tmp_path / "file").touch()
    desk.path = tmp_path / "file" / "hiring.xlsx"
    desk.use()
    [finding] = await desk.sink.check()
    assert finding.level == "problem"


async def test_a_file_that_libreoffice_saved_is_understood(desk):
    """There a person renamed the column Phone and deleted the second of three rows. Saving made our number a fraction,
    showed our names, and added an empty drawing.
    """
    await desk.show(*(make_interview(number=number) for number in (1, 2, 3)))
    shutil.copy(Path(__file__).with_name("saved_by_libreoffice.xlsx"), desk.path)
    result = await desk.show(make_interview(number=1, candidate_phone="+1"), make_interview(number=2, score=4))
    assert result.again == {}
    assert desk.column("Interview ID") == [interview_id(1), interview_id(3)]
    assert desk.column("Mobile") == ["+1", None]
