"""The names of `sinks.spreadsheet.colours` at their old place, until google_sheets imports them from there."""

from sinks.spreadsheet.colours import HEADER_COLOUR, STAGE_COLOURS

__all__ = ["HEADER_COLOUR", "STAGE_COLOURS"]
