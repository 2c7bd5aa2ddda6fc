"""What Slack's answers mean for a delivery: one table of error strings (Slack, chat.postMessage, errors;
Slack, Incoming webhooks, errors). Pure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from connector.http import Answer, classify


class Kind(StrEnum):
    """What is known about a call after its answer, or the lack of one."""

    OK = "ok"
    THROTTLED = "throttled"
    """Not applied; Slack says when to come back."""
    TRANSIENT = "transient"
    """Not applied; worth another try."""
    UNCLEAR = "unclear"
    """May have been applied."""
    BROKEN = "broken"
    """Not applied; token or channel cannot be used until a person acts."""
    GONE = "gone"
    """Not applied; the message or thread that it was about is not there, or not ours, any more."""
    BAD = "bad"
    """Not applied; Slack will never take this payload."""
    STRANGE = "strange"
    """Not applied, with a word that is not in the table."""


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer, free of the SDK's types. `error` is Slack's word or ours, safe as a metric label; `""` when OK.

    `data` is the decoded object, `headers` those of the answer, both empty when there was none.
    """

    kind: Kind
    error: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def detail(self) -> str:
        """Slack's own explanation, such as which block is wrong; at most 120 characters."""
        errors = self.data.get("errors")
        words = [str(error) for error in errors] if isinstance(errors, list) else []
        return "; ".join([self.error, *words])[:120]


def read_answer(status: int, data: object, headers: Mapping[str, str]) -> Reply:
    """The meaning of a Web API answer. `data` is the decoded body, whatever it is.

    A 5xx is unclear whatever word its body carries; only an object with `ok: true` is a success. Slack refuses payloads
    with status 200, so any other refusal comes from something else on the way.
    """
    body = data if isinstance(data, dict) else {}
    word = _label(body.get("error"))
    meaning = classify(status)
    if meaning in _FINAL:
        return Reply(_FINAL[meaning], word or f"http {status}", body, headers)
    if word:
        return Reply(KINDS.get(word, Kind.STRANGE), word, body, headers)
    if meaning is not Answer.OK:
        return Reply(Kind.BROKEN, f"http {status}", body, headers)
    if body.get("ok") is True:
        return Reply(Kind.OK, "", body, headers)
    return Reply(Kind.UNCLEAR, UNREADABLE, body, headers)


def read_webhook(status: int, text: str, headers: Mapping[str, str]) -> Reply:
    """The meaning of an incoming webhook's answer: success is status 200 with the body `ok`, nothing else."""
    word = _label(text.strip())
    meaning = classify(status)
    if meaning in _FINAL:
        return Reply(_FINAL[meaning], f"http {status}", {}, headers)
    if word in KINDS:
        return Reply(KINDS[word], word, {}, headers)
    if meaning is not Answer.OK:
        return Reply(Kind.BROKEN if meaning is Answer.DENIED else Kind.BAD, f"http {status}", {}, headers)
    return Reply(Kind.OK, "", {}, headers) if word == "ok" else Reply(Kind.UNCLEAR, UNREADABLE, {}, headers)


_FINAL = {Answer.THROTTLED: Kind.THROTTLED, Answer.UNCLEAR: Kind.UNCLEAR}
"""What the status alone decides."""

UNREADABLE = "unreadable answer"


def _label(word: object) -> str:
    """Slack's word when it looks like one; a page or a sentence is no label."""
    return word if isinstance(word, str) and re.fullmatch(r"[a-z][a-z0-9_]{1,60}", word) else ""


_WORDS = {
    Kind.THROTTLED: "ratelimited rate_limited message_limit_exceeded",
    Kind.TRANSIENT: """service_unavailable request_timeout team_added_to_org org_login_required update_failed
        external_channel_migrating streaming_state_conflict""",
    Kind.UNCLEAR: "internal_error fatal_error duplicate_message_not_found duplicate_channel_not_found rollup_error",
    Kind.BROKEN: """invalid_auth not_authed account_inactive token_revoked token_expired two_factor_setup_required
        not_allowed_token_type missing_scope no_permission access_denied accesslimited app_access_restricted
        ekm_access_denied enterprise_is_restricted team_access_not_granted team_not_found is_bot deprecated_endpoint
        method_deprecated unknown_method channel_not_found not_in_channel is_archived is_inactive messages_tab_disabled
        restricted_action restricted_action_read_only_channel restricted_action_thread_only_channel
        slack_connect_file_link_sharing_blocked
        slack_connect_canvas_sharing_blocked slack_connect_lists_sharing_blocked posting_to_general_channel_denied
        cannot_dm_bot user_not_found action_prohibited invalid_token no_service no_service_id no_team team_disabled
        no_active_hooks channel_is_archived""",
    Kind.GONE: """message_not_found thread_not_found cant_update_message cant_delete_message edit_window_closed
        cannot_reply_to_message restricted_action_thread_locked restricted_action_non_threadable_channel""",
    Kind.BAD: """invalid_blocks invalid_blocks_format msg_blocks_too_long msg_too_long no_text too_many_attachments
        attachment_payload_limit_exceeded invalid_attachments too_many_contact_cards markdown_text_conflict
        invalid_metadata_format invalid_metadata_schema metadata_too_large metadata_must_be_sent_from_app
        missing_file_data invalid_arguments invalid_arg_name invalid_array_arg invalid_charset invalid_form_data
        invalid_post_type missing_post_type invalid_json json_not_object invalid_payload as_user_not_supported
        send_on_behalf_not_allowed draft_already_deleted draft_already_sent draft_has_conflict draft_not_found
        block_mismatch""",
}

KINDS: Mapping[str, Kind] = {word: kind for kind, words in _WORDS.items() for word in words.split()}
"""Slack's error string -> what it means."""
