"""Google for tests: the token endpoint of service accounts and the Sheets API, over real HTTP."""

from tests.emulators.google.api import EMAIL, GoogleEmulator, Record
from tests.emulators.google.cells import Formula, Value
from tests.emulators.google.model import Area, Tab, Tag
from tests.emulators.google.people import Person, once

__all__ = ["EMAIL", "Area", "Formula", "GoogleEmulator", "Person", "Record", "Tab", "Tag", "Value", "once"]
