"""Emulator of Google: the token endpoint of service accounts and the Sheets API, over real HTTP."""

from connector.emulators.google.api import EMAIL, GoogleEmulator, Record
from connector.emulators.google.cells import Formula, Value
from connector.emulators.google.model import Area, Tab, Tag
from connector.emulators.google.people import Person, once

__all__ = ["EMAIL", "Area", "Formula", "GoogleEmulator", "Person", "Record", "Tab", "Tag", "Value", "once"]
