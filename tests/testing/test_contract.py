"""The conformance suite passes for sinks that keep the contract and fails, at the right test, for those that do not."""

import logging
import os
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

import pytest
from pydantic import Field, SecretStr

from connector.capabilities import ERASE, Difference, Preview, Report
from connector.sink import (
    Delivered,
    Finding,
    FollowUp,
    LeaseLost,
    Rejected,
    Result,
    RetryLater,
    Sink,
    SinkBroken,
    SinkConfig,
    Superseded,
    Token,
    Waiting,
)
from connector.testing.contract import SinkContract

PASSWORD = "hunter22-and-more"


class PostConfig(SinkConfig):
    password: SecretStr = Field(default=SecretStr(PASSWORD), description="Opens the box.")

    @property
    def edits(self):
        return True


class Box:
    """A destination: its content, and whether it works."""

    def __init__(self):
        self.entries = {}
        self.works = True


class Post(Sink[PostConfig]):
    """A message sink that keeps the contract: the delivery's id makes repeats harmless."""

    Config = PostConfig
    max_batch = 10
    counts_calls = True

    def __init__(self, box, config=None):
        super().__init__("post", config or PostConfig())
        self.box = box

    @property
    def destination(self):
        return "box 7"

    def note_keys(self, delivery):
        return [f"posted:{delivery.key}"]

    async def deliver(self, batch, context):
        await context.take(Token("post", rate=1, burst=2))
        if not self.box.works:
            return Result([RetryLater("no answer", unclear=True)] * len(batch.deliveries))
        outcomes = [self.post(delivery, context) for delivery in batch.deliveries]
        notes = {
            key: None if delivery.purpose == ERASE else {"at": context.now()}
            for delivery in batch.deliveries
            for key in self.note_keys(delivery)
        }
        return Result(outcomes, notes=notes)

    def post(self, delivery, context):
        if delivery.silent:
            return Superseded("nothing to update")
        context.count_call("put")
        if delivery.purpose == ERASE:
            return self.erase(delivery)
        self.put(delivery, context)
        return Delivered()

    def erase(self, delivery):
        mine = self.entries_about(delivery.interview.id)
        for key in mine:
            del self.box.entries[key]
        return Delivered() if mine else Superseded("nothing there")

    def entries_about(self, interview_id):
        return [key for key in self.box.entries if interview_id in str(key)]

    def erase_leaves(self):
        return ["copies of the box"]

    def put(self, delivery, context):
        self.box.entries[f"{delivery.interview.id} {delivery.id}"] = delivery.interview.candidate_name

    async def preview(self, batch, context):
        return [Preview(f"entry of {delivery.interview.candidate_name}") for delivery in batch.deliveries]

    async def notify(self, notice, context):
        if not self.box.works:
            return RetryLater("no answer")
        self.box.entries[notice.id] = notice.title
        return Delivered()

    async def check_connection(self):
        return [Finding("ok", "the box is there") if self.box.works else Finding("problem", "no box", "buy one")]


class Board(Post):
    """A state sink that keeps the contract: one entry per interview."""

    state = True

    def put(self, delivery, context):
        self.box.entries[delivery.interview.id] = (delivery.interview.candidate_name, delivery.interview.score)

    async def verify(self, context, progress):
        shown = [each.interview.id for each in await context.interviews("", 100)]
        missing = [Difference("missing", key) for key in shown if key not in self.box.entries]
        counts = {"in sync": len(shown) - len(missing), "missing": len(missing)}
        return Report(context.now(), counts, ["missing"], missing, fixes={"missing": "put it back"})


class PostContract(SinkContract):
    """All hooks, for a sink of this class."""

    capabilities = frozenset({"counts_calls", "edits", "erases", "notifies", "previews"})
    sink_class = Post

    @pytest.fixture(autouse=True)
    def fresh_box(self):
        self.box = Box()

    def make_sink(self):
        return self.sink_class(self.box)

    def delivered(self):
        return sorted(self.box.entries.items())

    def break_destination(self):
        self.box.works = False

    def mend_destination(self):
        self.box.works = True


class TestPost(PostContract):
    pass


class TestBoard(PostContract):
    capabilities = PostContract.capabilities - {"edits"} | {"state", "verifies"}
    sink_class = Board


class Open(Post):
    """Takes any setting."""

    class Config(PostConfig):
        model_config = PostConfig.model_config | {"extra": "allow"}

    def __init__(self, box):
        super().__init__(box, self.Config())


class Undescribed(Post):
    class Config(PostConfig):
        colour: str = "red"

    def __init__(self, box):
        super().__init__(box, self.Config())


class Unnamed(Post):
    """Shows state, which its test class does not say."""

    state = True


class Impatient(Post):
    timeout = 0


class Wandering(Post):
    """Another destination after each look."""

    looks = iter(range(10_000))

    @property
    def destination(self):
        return f"box {next(self.looks)}"


class NeedsOpening(Post):
    async def close(self):
        self.client.close()


class Silent(Post):
    """Forgets the outcomes."""

    async def deliver(self, batch, context):
        return Result([])


class Boolean(Post):
    async def deliver(self, batch, context):
        return Result([True] * len(batch.deliveries))


class Pastward(Post):
    async def deliver(self, batch, context):
        return Result([Delivered()] * len(batch.deliveries), follow_ups=[FollowUp("x", timedelta(seconds=-1))])


class Parking(Post):
    def post(self, delivery, context):
        return Waiting("digest", "later")


class Uncounted(Post):
    def post(self, delivery, context):
        self.put(delivery, context)
        return Delivered()


class Chatty(Post):
    def post(self, delivery, context):
        return super().post(replace(delivery, silent=False), context)


class Unstorable(Post):
    async def deliver(self, batch, context):
        return Result([Delivered()] * len(batch.deliveries), notes={"a": {"box": self.box}})


class Forgetful(Post):
    """Cannot do without its notes."""

    async def deliver(self, batch, context):
        return Result([Delivered() for delivery in batch.deliveries if batch.notes[f"posted:{delivery.key}"]])


class Punctual(Post):
    """Has no use for a late delivery."""

    max_age = 60

    async def deliver(self, batch, context):
        if any(delivery.late for delivery in batch.deliveries):
            return Result([Rejected("too late")] * len(batch.deliveries))
        return await super().deliver(batch, context)


class Fickle(Post):
    def __init__(self, box):
        super().__init__(box)
        self.count = 0

    def note_keys(self, delivery):
        self.count += 1
        return [f"key:{self.count}"]


class Ascii(Post):
    def put(self, delivery, context):
        self.box.entries[delivery.id] = delivery.interview.text("candidate_name").encode("ascii")


class Choosy(Post):
    """Rejects a whole batch for one strange name."""

    async def deliver(self, batch, context):
        if any(not delivery.interview.candidate_name.isprintable() for delivery in batch.deliveries):
            return Result([Rejected("strange name")] * len(batch.deliveries))
        return await super().deliver(batch, context)


class Trusting(Post):
    """Takes for granted what Hireflix may leave out."""

    def put(self, delivery, context):
        self.box.entries[delivery.id] = delivery.interview.values["candidate_name"].upper()


class Hopeful(Post):
    """Tries for ever what can never work."""

    async def deliver(self, batch, context):
        return Result([RetryLater("not today")] * len(batch.deliveries))


class Doubling(Post):
    def put(self, delivery, context):
        self.box.entries[f"{delivery.id} {len(self.box.entries)}"] = ""


class Appending(Board):
    """Adds a row for each change."""

    def put(self, delivery, context):
        self.box.entries[len(self.box.entries)] = delivery.interview.id


class Stubborn(Post):
    """Writes beside another worker."""

    async def deliver(self, batch, context):
        with suppress(LeaseLost):
            await context.take(Token("post", rate=1))
        return Result([Delivered()] * len(batch.deliveries))


class Keeping(Post):
    def entries_about(self, interview_id):
        return []


class Careless(Post):
    """Expects that an entry is there."""

    def erase(self, delivery):
        del self.box.entries[self.entries_about(delivery.interview.id)[0]]
        return Delivered()


class Wordless(Post):
    def erase_leaves(self):
        return [""]


class Mute(Post):
    """Shows no notice."""

    async def notify(self, notice, context):
        return Delivered()


class Wired(Post):
    """Raises when a notice cannot be shown."""

    async def notify(self, notice, context):
        if not self.box.works:
            raise ConnectionError("no box")
        return await super().notify(notice, context)


class WritingCheck(Post):
    async def check_connection(self):
        self.box.entries["test"] = "hello"
        return []


class Helpless(Post):
    async def check_connection(self):
        return [Finding("problem", "something is wrong")]


class WritingValidate(Post):
    def validate(self):
        self.box.entries["look"] = "was here"
        return []


class Vague(Post):
    def validate(self):
        return [Finding("problem", "no box")]


class WritingPreview(Post):
    async def preview(self, batch, context):
        await self.deliver(batch, context)
        return [Preview()] * len(batch.deliveries)


class TextPreview(Post):
    """Returns texts, which the dashboard cannot draw."""

    async def preview(self, batch, context):
        return [delivery.interview.candidate_name for delivery in batch.deliveries]


class FragilePreview(Post):
    """Fails with a name that is not ASCII."""

    async def preview(self, batch, context):
        names = [each.interview.candidate_name for each in batch.deliveries]
        return [Preview(f"entry of {name.encode('ascii').decode()}") for name in names]


class Credulous(Board):
    """Verifies by its own notes instead of by the destination."""

    async def verify(self, context, progress):
        return Report(context.now(), {"in sync": len(context.shown)}, ["missing"])


class WritingVerification(Board):
    async def verify(self, context, progress):
        self.box.entries["verified"] = context.now()
        return await super().verify(context, progress)


class Raising(Post):
    async def deliver(self, batch, context):
        if not self.box.works:
            raise ConnectionError("no box")
        return await super().deliver(batch, context)


class Gossip(Post):
    """Puts a name into a reason."""

    async def deliver(self, batch, context):
        if not self.box.works:
            return Result([RetryLater(f"no answer for {d.interview.candidate_name}") for d in batch.deliveries])
        return await super().deliver(batch, context)


class Sulking(Post):
    """Never sends again after a failure."""

    async def deliver(self, batch, context):
        if not self.box.works or self.box.entries:
            self.box.entries["sulk"] = ""
            return Result([Rejected("no")] * len(batch.deliveries))
        return await super().deliver(batch, context)


ACME_TEST = """
from connector.sink import Delivered, Result, Sink, SinkConfig
from connector.testing.contract import SinkContract

class Short(Sink[SinkConfig]):
    Config = SinkConfig
    max_batch = 10

    async def deliver(self, batch, context):
        return Result([Delivered()])

class TestShort(SinkContract):
    def make_sink(self):
        return Short("short", SinkConfig())
"""
"""The test of an author of another package, whose sink returns one outcome too few."""


class Swallowing(Post):
    """Takes a call that failed for a delivery."""

    async def deliver(self, batch, context):
        if not self.box.works:
            return Result([Delivered()] * len(batch.deliveries))
        return await super().deliver(batch, context)


class Shouting(Post):
    """Shows its password."""

    @property
    def destination(self):
        return f"box {self.config.password.get_secret_value()}"


class Logging(Post):
    """Logs its password."""

    async def deliver(self, batch, context):
        logging.getLogger("post").warning("opened with %s", self.config.password.get_secret_value())
        return await super().deliver(batch, context)


class Accusing(Post):
    async def deliver(self, batch, context):
        if not self.box.works:
            raise SinkBroken(f"wrong password {self.config.password.get_secret_value()}", "take another")
        return await super().deliver(batch, context)


WRONG = [
    (Open, "test_the_settings_refuse_an_unknown_key", ()),
    (Undescribed, "test_every_setting_is_described", ()),
    (Unnamed, "test_the_capabilities_are_named", ()),
    (Impatient, "test_the_class_says_how_it_wants_to_be_called", ()),
    (Wandering, "test_the_destination_is_stable", ()),
    (NeedsOpening, "test_it_can_be_closed_without_having_been_opened", ()),
    (Silent, "test_each_delivery_has_one_outcome", ()),
    (Boolean, "test_each_delivery_has_one_outcome", ()),
    (Pastward, "test_each_delivery_has_one_outcome", ()),
    (Unstorable, "test_each_delivery_has_one_outcome", ()),
    (Hopeful, "test_deliveries_settle", ()),
    (Choosy, "test_hostile_text_is_harmless", ("ansi",)),
    (Ascii, "test_hostile_text_is_harmless", ("emoji",)),
    (Parking, "test_what_waits_is_shown_by_a_follow_up", ()),
    (Uncounted, "test_a_sink_that_counts_its_calls_counts_the_first", ()),
    (Chatty, "test_a_silent_delivery_shows_nothing_new", ()),
    (Forgetful, "test_a_first_call_finds_no_notes", ()),
    (Fickle, "test_the_keys_are_the_same_whenever_asked", ()),
    (Silent, "test_late_deliveries_settle", ()),
    (Punctual, "test_late_deliveries_settle", ()),
    (Trusting, "test_an_interview_of_which_little_is_known", ("pending",)),
    (Doubling, "test_a_repeated_batch_creates_no_duplicates", ()),
    (Appending, "test_a_state_sink_shows_one_entry_per_interview", ()),
    (Stubborn, "test_a_lost_lease_ends_the_call", ()),
    (Keeping, "test_an_erased_person_is_not_at_the_destination_any_more", ()),
    (Careless, "test_an_erase_finds_nothing_of_a_person_who_was_never_there", ()),
    (Careless, "test_an_erase_whose_outcome_was_lost_can_be_repeated", ()),
    (Wordless, "test_what_an_erase_leaves_is_named", ()),
    (Mute, "test_a_notice_is_shown", ("plain",)),
    (Wired, "test_a_notice_that_cannot_be_shown_has_a_short_reason", ()),
    (WritingCheck, "test_a_check_writes_nothing_and_each_problem_has_a_fix", ()),
    (Helpless, "test_a_check_writes_nothing_and_each_problem_has_a_fix", ()),
    (Helpless, "test_a_check_of_a_broken_destination_says_what_to_do", ()),
    (WritingValidate, "test_validate_writes_nothing_and_each_problem_has_a_fix", ()),
    (Vague, "test_validate_writes_nothing_and_each_problem_has_a_fix", ()),
    (WritingPreview, "test_a_preview_writes_nothing", ()),
    (TextPreview, "test_a_preview_shows_what_each_delivery_would_write", ()),
    (FragilePreview, "test_a_preview_shows_what_each_delivery_would_write", ()),
    (Credulous, "test_a_verification_names_what_the_destination_does_not_show", ()),
    (
        WritingVerification,
        "test_a_verification_after_a_delivery_finds_everything_in_sync_and_writes_nothing",
        (),
    ),
    (Raising, "test_a_broken_destination_is_reported_with_a_short_reason", ()),
    (Gossip, "test_a_broken_destination_is_reported_with_a_short_reason", ()),
    (Sulking, "test_what_failed_is_not_delivered_and_arrives_later", ()),
    (Swallowing, "test_what_failed_is_not_delivered_and_arrives_later", ()),
    (Shouting, "test_secrets_are_not_shown", ()),
]


def contract_of(sink_class):
    contract = (TestBoard if issubclass(sink_class, Board) else TestPost)()
    contract.sink_class = sink_class
    contract.box = Box()
    return contract


def failure_of(test, *arguments):
    """What a test raised; `None` when it passed."""
    try:
        test(*arguments)
    except (Exception, pytest.fail.Exception) as error:  # noqa: BLE001 - whatever fails a test
        return error
    return None


@pytest.mark.parametrize(
    ("sink_class", "test", "arguments"), WRONG, ids=[f"{kind.__name__}-{name}" for kind, name, _ in WRONG]
)
def test_a_sink_that_breaks_a_promise_fails_its_test(sink_class, test, arguments):
    good = Board if issubclass(sink_class, Board) else Post
    assert failure_of(getattr(contract_of(good), test), *arguments) is None
    assert failure_of(getattr(contract_of(sink_class), test), *arguments) is not None


@pytest.mark.parametrize("sink_class", [Logging, Accusing])
def test_a_secret_in_a_log_or_a_reason_is_found(sink_class, caplog):
    test = "test_secrets_are_in_no_reason_and_no_log"
    assert failure_of(getattr(contract_of(Post), test), caplog) is None
    assert failure_of(getattr(contract_of(sink_class), test), caplog) is not None


def test_every_test_of_the_suite_has_a_sink_that_fails_it():
    """A promise without such a sink might be a check that cannot fail."""
    named = {name for name in vars(SinkContract) if name.startswith("test_")}
    assert named - {name for _, name, _ in WRONG} == {"test_secrets_are_in_no_reason_and_no_log"}


def collected(contract):
    """The tests of the suite that pytest collects from a class."""
    return {name for name in vars(SinkContract) if name.startswith("test_") and callable(getattr(contract, name))}


def test_what_a_sink_does_not_do_is_not_collected():
    class Bare(SinkContract):
        def make_sink(self):
            return Post(Box())

    assert collected(TestPost) - collected(Bare) == {
        "test_a_broken_destination_is_reported_with_a_short_reason",
        "test_a_check_of_a_broken_destination_says_what_to_do",
        "test_a_notice_is_shown",
        "test_a_notice_that_cannot_be_shown_has_a_short_reason",
        "test_a_preview_shows_what_each_delivery_would_write",
        "test_a_preview_writes_nothing",
        "test_a_repeated_batch_creates_no_duplicates",
        "test_a_silent_delivery_shows_nothing_new",
        "test_a_sink_that_counts_its_calls_counts_the_first",
        "test_an_erase_finds_nothing_of_a_person_who_was_never_there",
        "test_an_erase_whose_outcome_was_lost_can_be_repeated",
        "test_an_erased_person_is_not_at_the_destination_any_more",
        "test_what_an_erase_leaves_is_named",
        "test_what_failed_is_not_delivered_and_arrives_later",
    }


def test_a_failed_assertion_shows_its_values_in_the_package_of_an_author(tmp_path):
    """Without them an author sees `AssertionError` and nothing else."""
    (tmp_path / "test_acme.py").write_text(ACME_TEST)
    options = ["-p", "no:cacheprovider", "-c", os.devnull, "-k", "test_each_delivery_has_one_outcome"]
    command = [sys.executable, "-m", "pytest", *options, str(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert "assert ['wrong number of outcomes'] == []" in done.stdout


def test_a_destination_that_cannot_detect_repeats_may_double():
    class Doubles(PostContract):
        may_double = True

    assert collected(TestPost) - collected(Doubles) == {"test_a_repeated_batch_creates_no_duplicates"}


def test_a_subclass_with_more_capabilities_has_their_tests_again():
    class Poor(PostContract):
        capabilities = frozenset()

    class Rich(Poor):
        capabilities = PostContract.capabilities

    assert collected(Poor) < collected(Rich) == collected(TestPost)


def test_a_test_that_an_author_replaces_is_kept():
    class Own(SinkContract):
        def make_sink(self):
            return Post(Box())

        def test_a_preview_writes_nothing(self):
            assert self.make_sink().destination

    assert "test_a_preview_writes_nothing" in collected(Own)
