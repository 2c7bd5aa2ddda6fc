"""An HTML page that shows the interviews of an account."""

from __future__ import annotations

from datetime import UTC, datetime
from html import escape

from connector.emulators.hireflix.account import Account, Interview
from connector.emulators.page import live_page

_STYLE = (
    "body{font:14px sans-serif}table{border-collapse:collapse}td,th{border:1px solid #ccc;padding:2px 6px;"
    "text-align:left}div{overflow-x:auto}"
)
_TITLES = ("Candidate", "Position", "Stage", "Score", "Comments", "Changed", "Interview")
_ROWS = 500


def page(account: Account) -> str:
    """Returns the interviews, those that changed last first. All text is escaped."""
    newest = sorted(account.interviews.values(), key=lambda each: (each.updated_at, each.id), reverse=True)
    head = "".join(f"<th>{title}</th>" for title in _TITLES)
    rows = "".join(_row(account, each) for each in newest[:_ROWS])
    return live_page("Hireflix", _STYLE, f"<h1>Hireflix</h1><div><table><tr>{head}</tr>{rows}</table></div>")


def _row(account: Account, found: Interview) -> str:
    cells = (
        f"{found.first_name} {found.last_name}",
        account.positions[found.position_id].name,
        found.stage,
        "" if found.score is None else f"{found.score:g}",
        " | ".join(str(each["value"]) for each in found.comments),
        f"{datetime.fromtimestamp(found.updated_at / 1000, tz=UTC):%Y-%m-%d %H:%M:%S}",
        found.id,
    )
    return f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>"
