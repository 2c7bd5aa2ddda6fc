"""Shared by all spreadsheet sinks: the columns of the table, the values of cells, and the colours. Pure functions."""
