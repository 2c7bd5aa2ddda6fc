"""Faults of the base server by kind of call, and the record of the calls."""

from json import JSONDecodeError

import httpx
import pytest

from connector.emulators import faults
from connector.emulators.faults import Fault, FaultKind

ADD = {"addSheet": {"properties": {"title": "New"}}}


def on(fault, match):
    return Fault(fault.kind, match, status=fault.status)


@pytest.mark.parametrize(("fault", "applied"), [(faults.REFUSE, False), (faults.DROP, True), (faults.TRUNCATE, True)])
def test_a_cut_connection_has_or_has_not_applied_the_write(api, google, fault, applied):
    google.faults.add(on(fault, "write"))
    assert api.get().status_code == 200
    with pytest.raises(httpx.TransportError):
        api.batch(ADD)
    assert ("New" in google.titles(api.id)) == applied
    assert google.faults.pending == 0


@pytest.mark.parametrize(("fault", "applied"), [(faults.HTML_503, False), (faults.APPLY_503, True)])
def test_a_503_may_or_may_not_have_applied_the_write(api, google, fault, applied):
    google.faults.add(on(fault, "write"))
    response = api.batch(ADD)
    assert response.status_code == 503
    assert response.text.startswith("<html>")
    assert ("New" in google.titles(api.id)) == applied


def test_a_late_write_is_applied_when_it_is_released(api, google):
    google.faults.add(on(faults.LATE, "write"))
    with pytest.raises(httpx.TransportError):
        api.batch(ADD)
    assert google.titles(api.id) == ["Sheet1"]
    google.faults.release()
    assert api.get().status_code == 200
    assert google.titles(api.id) == ["Sheet1", "New"]


def test_a_fault_can_wait_for_the_token_endpoint(api, google):
    google.faults.add(Fault(FaultKind.STATUS, "token", status=500, body='{"error": "internal_failure"}'))
    assert api.get().status_code == 200
    assert httpx.post(f"{google.url}/token").status_code == 500


def test_broken_json_is_half_of_the_answer(api, google):
    google.faults.add(on(faults.BROKEN_JSON, "read"))
    response = api.get()
    assert response.status_code == 200
    with pytest.raises(JSONDecodeError):
        response.json()


def test_every_call_is_on_record_with_its_kind_status_and_sizes(api, google):
    sent = api.batch(ADD)
    api.post(":getByDataFilter", {})
    api.get("/values/Sheet1!A1")
    api.get("/values/Gone!A1")
    assert [(call.kind, call.name, call.status) for call in google.calls] == [
        ("write", "spreadsheets.batchUpdate", 200),
        ("read", "spreadsheets.getByDataFilter", 200),
        ("read", "spreadsheets.values.get", 200),
        ("read", "spreadsheets.values.get", 400),
    ]
    assert google.counts == {"write": 1, "read": 3}
    assert google.calls[0].bytes_in == len(sent.request.content)
    assert google.calls[0].bytes_out == len(sent.content)
    google.forget_calls()
    assert (google.calls, google.counts) == ([], {})


def test_a_call_without_an_answer_is_on_record_with_status_0(api, google):
    google.faults.add(faults.DROP)
    with pytest.raises(httpx.TransportError):
        api.batch(ADD)
    assert [(call.kind, call.status) for call in google.calls] == [("write", 0)]


def test_latency_comes_before_anything_is_applied(api, google):
    google.latency = 60
    with pytest.raises(httpx.ReadTimeout):
        api.client.post(f"{api.url}:batchUpdate", json={"requests": [ADD]}, timeout=httpx.Timeout(30, read=0.05))
    assert google.titles(api.id) == ["Sheet1"]
