"""The signature of a webhook: what Node's `crypto` writes, and nothing else, is accepted."""

from __future__ import annotations

from base64 import b64decode, urlsafe_b64encode

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from connector.hireflix.signature import HEADER, Verifier, sign

SECRET = "hfx_test_secret_9f2c"
CREATE = (
    b'{"event":"interview.create","data":{"id":"68ff5ed8b07cc148bddcae02","position":{"id":"68b43e38b19cf131a17c543f",'
    b'"name":"Social Media Manager"},"externalId":null,"status":"pending","hash":"25eXrLpj","createdAt":1761566424331,'
    b'"candidate":{"name":"Test Person","firstName":"Test","lastName":"Person","email":"test@example.com",'
    b'"phone":null},"score":null,"completed":null,"deleted":null,"archived":null,"finalist":null,"answered":false,'
    b'"thumbnail":null,"url":{"short":"https://hflx.io/c/25eXrLpj","private":"https://admin.hireflix.com/jobs/'
    b'68b43e38b19cf131a17c543f/interview/68ff5ed8b07cc148bddcae02","public":"https://app.hireflix.com/25eXrLpj"}},'
    b'"date":1761566424499}'
)
ACCENTS = (
    '{"event":"interview.score-updated","data":{"id":"i1","candidate":{"name":"Zoë Ñandú/é"},'
    '"score":{"value":4.5}},"date":1761567862528}'
).encode()
VECTORS = [
    (CREATE, "Fttj6XiExq84cMfNzaAUbJFVBPm8UuTi0Ycs3M4ldm8="),
    (ACCENTS, "gPq5UCEDg7OJ4OykSejgyKUbzFMSUfPNv2E6Ol6ZEvI="),
    (b'{"event":"interview.delete"}', "j8bXk/5cNmL7Wo2iz1j85NwIRyiXwy3TMhNsJopFaIE="),
]


@pytest.mark.parametrize(("body", "signature"), VECTORS)
def test_the_worked_vectors_are_signed_as_hireflix_signs_them(body, signature):
    assert sign(SECRET, body) == signature


@pytest.mark.parametrize(("body", "signature"), VECTORS)
def test_the_worked_vectors_are_accepted(body, signature):
    assert Verifier([SECRET]).accepts(body, signature.encode())


@pytest.mark.parametrize(
    "signature",
    [
        pytest.param(b"BHV8AWBKrhL/JBQY8OvtFfczYEfwSIcWdkf5TZr85Pk=", id="of the body with escaped accents"),
        pytest.param(b"WRHncgrcqdJBpa1ug9VL/eU84jpB9cV9LHiA4NJFDug=", id="of the body with spaces"),
    ],
)
def test_the_signature_of_another_spelling_of_the_same_json_is_refused(signature):
    assert not Verifier([SECRET]).accepts(ACCENTS, signature)


@pytest.mark.parametrize(
    "spell",
    [
        pytest.param(b64decode, id="raw bytes"),
        pytest.param(lambda text: b64decode(text).hex().encode(), id="hex"),
        pytest.param(lambda text: text.rstrip(b"="), id="no padding"),
        pytest.param(lambda text: text + b"\n", id="a line feed more"),
        pytest.param(lambda text: b" " + text, id="a space more"),
        pytest.param(lambda text: text[:-2] + bytes([text[-2] + 1]) + b"=", id="spare bits set"),
        pytest.param(lambda text: text.lower(), id="lower case"),
        pytest.param(lambda text: urlsafe_b64encode(b64decode(text)), id="the other alphabet"),
        pytest.param(lambda text: b"sha256=" + text, id="with the name of the hash"),
        pytest.param(lambda _: b"", id="nothing"),
    ],
)
def test_only_the_standard_spelling_is_accepted(spell):
    signature = VECTORS[2][1].encode()
    assert not Verifier([SECRET]).accepts(VECTORS[2][0], spell(signature))


def test_every_one_of_several_secrets_is_accepted():
    verifier = Verifier(["old", "new"])
    assert [verifier.accepts(b"{}", sign(secret, b"{}").encode()) for secret in ("old", "new", "other")] == [
        True,
        True,
        False,
    ]


def test_without_secrets_nothing_is_accepted():
    assert not Verifier([]).accepts(b"{}", sign("", b"{}").encode())


def test_the_header_is_spelt_as_an_asgi_server_hands_it_over():
    assert HEADER == HEADER.lower() == b"x-hireflix-signature"


@given(secret=st.text(st.characters(codec="utf-8"), min_size=1), body=st.binary())
def test_what_was_signed_is_accepted(secret, body):
    assert Verifier([secret]).accepts(body, sign(secret, body).encode())


@given(body=st.binary(), change=st.integers(min_value=0), bit=st.integers(0, 7))
@example(body=b"", change=0, bit=0)
def test_a_body_with_one_bit_changed_is_refused(body, change, bit):
    changed = bytearray(body or b"\0")
    changed[change % len(changed)] ^= 1 << bit
    original = bytes(body or b"\0")
    assert not Verifier([SECRET]).accepts(bytes(changed), sign(SECRET, original).encode())


@given(body=st.binary(), signature=st.binary())
def test_no_other_bytes_are_accepted_and_none_raise(body, signature):
    expected = sign(SECRET, body).encode()
    assert Verifier([SECRET]).accepts(body, signature) == (signature == expected)
