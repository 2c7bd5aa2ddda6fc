"""The workbook sink: an `.xlsx` file with one row per interview, which users may edit."""

from sinks.workbook.sink import Workbook, WorkbookConfig

__all__ = ["Workbook", "WorkbookConfig"]
