"""What an operator can do about a failure for which the sink itself named no remedy, by the class of the failure.

A sink names a remedy only when it pauses itself (`SinkBroken`). All other failures are tried again, and get their
remedy here, so that no trouble is shown without one.
"""

from __future__ import annotations

import re

from connector.http import ResponseClass, classify

CREDENTIALS = "check the credentials of the sink; the destination does not accept them"
RIGHTS = "give the account of the sink the right to write there"
ADDRESS = "check the address of the sink; the destination does not have it"
LIMITED = "nothing now: the destination limits the rate, and the sink goes on by itself"
REFUSED = "read the reply of the destination and correct the settings of the sink or the destination"
FAILS = "look at the log or the status page of the destination; the sink tries again by itself"
REACH = (
    "check that the destination runs and that this machine reaches it (address, name, proxy, firewall); the sink tries "
    "again by itself"
)
FAULT = "read the log of the service for the cause, and report it to the author of the sink"
WAIT = "nothing now: the sink tries again by itself; if this goes on, read its failed calls"
_BY_STATUS = {401: CREDENTIALS, 407: CREDENTIALS, 403: RIGHTS, 404: ADDRESS, 410: ADDRESS}
_BY_CLASS = {ResponseClass.THROTTLED: LIMITED, ResponseClass.REFUSED: REFUSED, ResponseClass.UNCLEAR: FAILS}
_BY_REASON = (
    (re.compile(r"\bexception \w|unusable result|wrong number of outcomes"), FAULT),
    (re.compile(r"rate limit|quota|too many requests|limited", re.IGNORECASE), LIMITED),
    (re.compile(r"reach|timeout|timed out|connection|no answer|network|resol|certificate", re.IGNORECASE), REACH),
)
"""The first pattern that a reason contains decides."""
_STATUS = re.compile(r"\bstatus (\d{3})\b")


def remedy(reason: str, status: int | None) -> str:
    """Returns what to do about a failure: by the HTTP status of the destination, else by the words of the reason."""
    if status is None and (named := _STATUS.search(reason)):
        status = int(named[1])
    if status is not None and status in _BY_STATUS:
        return _BY_STATUS[status]
    if status is not None and (found := _BY_CLASS.get(classify(status))):
        return ADDRESS if 300 <= status < 400 else found  # noqa: PLR2004 - redirections (RFC 9110, 15.4): it has moved
    return next((fix for pattern, fix in _BY_REASON if pattern.search(reason)), WAIT)
