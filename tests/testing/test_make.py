"""The makers of test values."""

from connector.interview import FIELDS
from connector.sink import Stage
from connector.testing import START, interview_id, make_batch, make_delivery, make_event, make_interview


def test_equal_numbers_are_the_same_interview():
    assert make_event(number=7).interview_id == make_interview(number=7).id == interview_id(7) != interview_id(8)


def test_made_fields_are_known_fields():
    assert set(make_event().fields) <= set(FIELDS)


def test_an_override_replaces_a_field():
    assert make_event(candidate_name="Ada").fields["candidate_name"] == "Ada"
    assert make_interview(score=4.5).score == 4.5


def test_an_interview_dates_every_value():
    assert set(make_interview().dates) == set(make_interview().values)


def test_a_delivery_about_an_event_carries_its_interview():
    event = make_event("interview.score-updated", number=3, score=4.0)
    delivery = make_delivery(event)
    assert delivery.interview.id == delivery.key == event.interview_id
    assert delivery.interview.score == 4.0


def test_a_delivery_for_a_state_sink_has_no_event():
    delivery = make_delivery(make_event(), state=True)
    assert delivery.event is None
    assert delivery.interview is not None


def test_a_delivery_about_an_interview_keeps_it():
    interview = make_interview(number=2, stage=Stage.SHORTLISTED)
    delivery = make_delivery(interview=interview)
    assert delivery.interview is interview
    assert delivery.event.interview_id == interview.id


def test_events_of_one_interview_have_different_deliveries():
    first, second = make_delivery(make_event()), make_delivery(make_event("interview.delete"))
    assert first.id != second.id


def test_overrides_of_a_delivery_win():
    assert make_delivery(id="d", late=True, attempt=3).attempt == 3


def test_a_batch_has_at_least_one_delivery():
    batch = make_batch(maybe_sent=True)
    assert (len(batch.deliveries), batch.started_at, batch.maybe_sent) == (1, START, True)
