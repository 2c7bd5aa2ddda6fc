"""What Slack's answers mean: one table of error strings (Slack, chat.postMessage, errors; Slack, Incoming webhooks,
errors). Pure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from connector.http import Answer, classify
from sinks.chat.service import CallResult, Status


@dataclass(frozen=True, slots=True)
class SlackResult(CallResult):
    """A result with the decoded answer `data` and its `headers`, both empty when there was none. `error` is Slack's
    error string or our own.
    """

    data: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)


def read_answer(status: int, data: object, headers: Mapping[str, str]) -> SlackResult:
    """The meaning of a Web API answer. `data` is the decoded body, whatever it is.

    A 5xx is unclear whatever its body says; only an object with `ok: true` is a success. Slack refuses payloads
    with status 200, so any other refusal comes from something between us and Slack.
    """
    body = data if isinstance(data, dict) else {}
    error = _label(body.get("error"))
    meaning = classify(status)
    if meaning in _FINAL:
        return _result(_FINAL[meaning], error or f"http {status}", body, headers)
    if error:
        return _result(STATUSES.get(error, Status.UNKNOWN), error, body, headers)
    if meaning is not Answer.OK:
        return _result(Status.BROKEN, f"http {status}", body, headers)
    if body.get("ok") is True:
        return _result(Status.OK, "", body, headers)
    return _result(Status.UNCLEAR, UNREADABLE, body, headers)


def read_webhook(status: int, text: str, headers: Mapping[str, str]) -> SlackResult:
    """The meaning of an incoming webhook's answer: success is status 200 with the body `ok`, nothing else."""
    error = _label(text.strip())
    meaning = classify(status)
    if meaning in _FINAL:
        return _result(_FINAL[meaning], f"http {status}", {}, headers)
    if error in STATUSES:
        return _result(STATUSES[error], error, {}, headers)
    if meaning is not Answer.OK:
        return _result(Status.BROKEN if meaning is Answer.DENIED else Status.REJECTED, f"http {status}", {}, headers)
    return _result(Status.OK, "", {}, headers) if error == "ok" else _result(Status.UNCLEAR, UNREADABLE, {}, headers)


_FINAL = {Answer.THROTTLED: Status.THROTTLED, Answer.UNCLEAR: Status.UNCLEAR}
"""What the status alone decides."""

UNREADABLE = "unreadable answer"
ACCOUNT_LIMIT = "message_limit_exceeded"
"""The error when the workspace as a whole has sent too much."""
DETAIL_LENGTH = 120
"""Characters of an explanation; it is kept with the delivery."""


def _result(
    status: Status, error: str = "", data: Mapping[str, Any] | None = None, headers: Mapping[str, str] | None = None
) -> SlackResult:
    """`detail` is Slack's own explanation, such as which block is wrong."""
    data = data or {}
    errors = data.get("errors")
    texts = [str(each) for each in errors] if isinstance(errors, list) else []
    return SlackResult(
        status,
        error,
        detail="; ".join([error, *texts])[:DETAIL_LENGTH],
        message_id=data["ts"] if isinstance(data.get("ts"), str) else "",
        account_wide=error == ACCOUNT_LIMIT,
        data=data,
        headers=headers or {},
    )


def _label(text: object) -> str:
    """Slack's error string; `""` for anything else, such as a page or a sentence."""
    return text if isinstance(text, str) and re.fullmatch(r"[a-z][a-z0-9_]{1,60}", text) else ""


_WORDS = {
    Status.THROTTLED: "ratelimited rate_limited message_limit_exceeded",
    Status.TRANSIENT: """service_unavailable request_timeout team_added_to_org org_login_required update_failed
        external_channel_migrating streaming_state_conflict""",
    Status.UNCLEAR: "internal_error fatal_error duplicate_message_not_found duplicate_channel_not_found rollup_error",
    Status.BROKEN: """invalid_auth not_authed account_inactive token_revoked token_expired two_factor_setup_required
        not_allowed_token_type missing_scope no_permission access_denied accesslimited app_access_restricted
        ekm_access_denied enterprise_is_restricted team_access_not_granted team_not_found is_bot deprecated_endpoint
        method_deprecated unknown_method channel_not_found not_in_channel is_archived is_inactive messages_tab_disabled
        restricted_action restricted_action_read_only_channel restricted_action_thread_only_channel
        slack_connect_file_link_sharing_blocked
        slack_connect_canvas_sharing_blocked slack_connect_lists_sharing_blocked posting_to_general_channel_denied
        cannot_dm_bot user_not_found action_prohibited invalid_token no_service no_service_id no_team team_disabled
        no_active_hooks channel_is_archived""",
    Status.MISSING: "message_not_found thread_not_found",
    Status.LOCKED: """cant_update_message cant_delete_message edit_window_closed
        cannot_reply_to_message restricted_action_thread_locked restricted_action_non_threadable_channel""",
    Status.REJECTED: """invalid_blocks_format invalid_blocks msg_blocks_too_long msg_too_long no_text
        too_many_attachments attachment_payload_limit_exceeded invalid_attachments too_many_contact_cards
        markdown_text_conflict invalid_metadata_format invalid_metadata_schema metadata_too_large
        metadata_must_be_sent_from_app missing_file_data invalid_arguments invalid_arg_name invalid_array_arg
        invalid_charset invalid_form_data invalid_post_type missing_post_type invalid_json json_not_object
        invalid_payload as_user_not_supported send_on_behalf_not_allowed draft_already_deleted draft_already_sent
        draft_has_conflict draft_not_found block_mismatch""",
}

STATUSES: Mapping[str, Status] = {word: status for status, words in _WORDS.items() for word in words.split()}
"""Slack's error string -> what it means."""
