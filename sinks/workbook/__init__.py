"""The workbook: an `.xlsx` file that shows one row per interview and that people may edit."""

from sinks.workbook.config import WorkbookConfig
from sinks.workbook.sink import Workbook

__all__ = ["SINK", "Workbook", "WorkbookConfig"]

SINK = Workbook
