"""A simple script for comparison: for each webhook it finds the row, updates or appends it, and posts a message."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gspread
import requests

HEADER = ["Interview ID", "Candidate", "Email", "Position", "Status", "Score", "Link"]


class UsualScript:
    """`client` is that of gspread, which waits after a 429. The chat is an incoming webhook."""

    def __init__(self, client: gspread.Client, spreadsheet_id: str, chat_url: str) -> None:
        self.sheet = client.open_by_key(spreadsheet_id).sheet1
        self.chat_url = chat_url
        self.sheet.update([HEADER], "A1")

    def handle(self, payload: Mapping[str, Any]) -> bool:
        """Writes the row and posts a message. Returns whether the chat accepted the message."""
        interview = payload["data"]
        row = [
            interview["id"],
            interview["candidate"]["name"],
            interview["candidate"]["email"],
            interview["position"]["name"],
            interview["status"],
            (interview["score"] or {}).get("value"),
            interview["url"]["private"],
        ]
        cell = self.sheet.find(interview["id"], in_column=1)
        if cell:
            self.sheet.update([row], f"A{cell.row}")
        else:
            self.sheet.append_row(row)
        text = f"{payload['event']}: {interview['candidate']['name']}, {interview['position']['name']}"
        return requests.post(self.chat_url, json={"text": text}, timeout=10).ok
