"""The workbook sink: an `.xlsx` file with one row per interview, which users may edit."""

from sinks.workbook.config import WorkbookConfig
from sinks.workbook.sink import Workbook

__all__ = ["Workbook", "WorkbookConfig"]
