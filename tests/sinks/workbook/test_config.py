"""Settings of the workbook."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from sinks.spreadsheet.columns import DEFAULT_COLUMNS
from sinks.workbook import WorkbookConfig


def test_a_relative_path_counts_from_the_folder_of_the_config_file(tmp_path):
    config = WorkbookConfig.model_validate({"path": "data/a.xlsx"}, context={"folder": tmp_path})
    assert config.path == tmp_path / "data" / "a.xlsx"


def test_the_defaults_are_the_default_table(tmp_path):
    config = WorkbookConfig(path=tmp_path / "a.xlsx")
    assert (config.worksheet, config.columns, config.on_delete) == ("Interviews", DEFAULT_COLUMNS, "mark")


@pytest.mark.parametrize("name", ["a.xls", "a.xlsm", "a.csv", "a", "folder/"])
def test_only_an_xlsx_file_is_taken(name):
    with pytest.raises(ValidationError, match=r"\.xlsx"):
        WorkbookConfig(path=name)


@pytest.mark.parametrize("name", ["", " ", "a/b", "a[1]", "what?", "x" * 32, "'a"])
def test_a_name_that_no_tab_can_have_is_refused(name):
    with pytest.raises(ValidationError):
        WorkbookConfig(path="a.xlsx", worksheet=name)
