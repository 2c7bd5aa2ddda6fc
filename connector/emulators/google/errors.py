"""Google's error bodies: `{"error": {"code", "message", "status", "details"}}` (Cloud API design guide, Errors)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

SERVICE = "sheets.googleapis.com"
PROJECT_NUMBER = "104857600001"
CONSUMER = f"projects/{PROJECT_NUMBER}"


class GoogleError(Exception):
    """An answer other than 200; `code` is the HTTP status and `status` the canonical code's name."""

    def __init__(self, code: int, status: str, message: str, details: list[dict[str, Any]] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.status = status
        self.message = message
        self.details = details or []

    def body(self) -> dict[str, Any]:
        error: dict[str, Any] = {"code": self.code, "message": self.message, "status": self.status}
        if self.details:
            error["details"] = self.details
        return {"error": error}


class Refusal(Exception):
    """A request of a batch that Google refuses; the batch adds which one it was."""


def _info(reason: str, metadata: dict[str, str]) -> dict[str, Any]:
    return {
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": reason,
        "domain": "googleapis.com",
        "metadata": metadata,
    }


def _help(description: str, url: str) -> dict[str, Any]:
    return {"@type": "type.googleapis.com/google.rpc.Help", "links": [{"description": description, "url": url}]}


def invalid(message: str) -> GoogleError:
    return GoogleError(400, "INVALID_ARGUMENT", message)


def violations(found: Iterable[tuple[str, str]], message: str | None = None) -> GoogleError:
    """400 with one entry per (field, description); the message joins the descriptions unless it is given."""
    entries = [{"field": field, "description": text} if field else {"description": text} for field, text in found]
    joined = "\n".join(entry["description"] for entry in entries)
    details = [{"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": entries}]
    return GoogleError(400, "INVALID_ARGUMENT", message or joined, details)


def bad_fields(mask: str, path: str) -> GoogleError:
    text = f"Error expanding 'fields' parameter. Cannot find matching fields for path '{path}'."
    return violations([(mask, text)], "Request contains an invalid argument.")


def unparsable_range(text: str) -> GoogleError:
    return invalid(f"Unable to parse range: {text}")


def unauthenticated(reason: str) -> GoogleError:
    """401; `reason` is `CREDENTIALS_MISSING` or `ACCESS_TOKEN_EXPIRED`, for example."""
    start = (
        "Request is missing required authentication credential."
        if reason == "CREDENTIALS_MISSING"
        else "Request had invalid authentication credentials."
    )
    message = (
        f"{start} Expected OAuth 2 access token, login cookie or other valid authentication credential. "
        "See https://developers.google.com/identity/sign-in/web/devconsole-project."
    )
    return GoogleError(401, "UNAUTHENTICATED", message, [_info(reason, {"service": SERVICE})])


def not_shared() -> GoogleError:
    return GoogleError(403, "PERMISSION_DENIED", "The caller does not have permission")


def office_file() -> GoogleError:
    return GoogleError(400, "FAILED_PRECONDITION", "This operation is not supported for this document")


def scope_missing() -> GoogleError:
    details = [_info("ACCESS_TOKEN_SCOPE_INSUFFICIENT", {"service": SERVICE})]
    return GoogleError(403, "PERMISSION_DENIED", "Request had insufficient authentication scopes.", details)


def service_disabled() -> GoogleError:
    url = f"https://console.developers.google.com/apis/api/{SERVICE}/overview?project={PROJECT_NUMBER}"
    message = (
        f"Google Sheets API has not been used in project {PROJECT_NUMBER} before or it is disabled. Enable it by "
        f"visiting {url} then retry. If you enabled this API recently, wait a few minutes for the action to propagate "
        "to our systems and retry."
    )
    metadata = {"service": SERVICE, "consumer": CONSUMER, "serviceTitle": "Google Sheets API", "activationUrl": url}
    details = [_help("Google developers console API activation", url), _info("SERVICE_DISABLED", metadata)]
    return GoogleError(403, "PERMISSION_DENIED", message, details)


def not_found() -> GoogleError:
    return GoogleError(404, "NOT_FOUND", "Requested entity was not found.")


def quota_exceeded(kind: str, scope: str, limit: int) -> GoogleError:
    """429; `kind` is `read` or `write`, `scope` is `User` or `Project`."""
    per_user = "/{user}" if scope == "User" else ""
    name = f"{kind.title()} requests per minute" + (" per user" if scope == "User" else "")
    message = (
        f"Quota exceeded for quota metric '{kind.title()} requests' and limit '{name}' of service '{SERVICE}' "
        f"for consumer 'project_number:{PROJECT_NUMBER}'."
    )
    metadata = {
        "service": SERVICE,
        "consumer": CONSUMER,
        "quota_metric": f"{SERVICE.removesuffix('.googleapis.com')}.googleapis.com/{kind}_requests",
        "quota_limit": f"{kind.title()}RequestsPerMinutePer{scope}",
        "quota_limit_value": str(limit),
        "quota_unit": f"1/min/{{project}}{per_user}",
        "quota_location": "global",
    }
    link = _help("Request a higher quota limit.", "https://cloud.google.com/docs/quotas/help/request_increase")
    details = [_info("RATE_LIMIT_EXCEEDED", metadata), link]
    return GoogleError(429, "RESOURCE_EXHAUSTED", message, details)
