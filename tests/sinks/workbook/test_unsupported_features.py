"""A file is rewritten only when its features are kept. Otherwise the sink pauses and names the losses."""

from __future__ import annotations

import hashlib
import io
import shutil
import zipfile
from pathlib import Path

import openpyxl
import pytest
from openpyxl.chart import BarChart

from connector.sink import SinkBroken
from connector.testing import interview_id, make_interview
from tests.sinks.workbook.packages import EXCEL, GOOGLE, changed, packed, with_part

HERE = Path(__file__).parent
SHEET = "xl/worksheets/sheet1.xml"
BOOK = "xl/workbook.xml"
EXTENSION = '<extLst><ext uri="{%s}"/></extLst></worksheet>'


async def refused(workbook, content=None):
    """The reason of the sink. The file does not change."""
    if content is not None:
        workbook.path.write_bytes(content)
    before = workbook.path.read_bytes()
    with pytest.raises(SinkBroken) as broken:
        await workbook.deliver(make_interview(score=1))
    assert workbook.path.read_bytes() == before
    assert "another file" in broken.value.fix
    return broken.value.reason


@pytest.mark.parametrize("parts", [EXCEL, GOOGLE], ids=["excel", "google"])
async def test_a_plain_file_of_excel_or_google_is_accepted(workbook, parts):
    workbook.path.write_bytes(packed(parts))
    await workbook.show(make_interview(score=3), make_interview(number=2))
    assert workbook.column("Score") == [3, None]
    assert workbook.column("Interview ID") == [interview_id(1), interview_id(2)]


async def test_what_users_made_in_excel_is_still_there_after_a_rewrite(workbook):
    workbook.path.write_bytes(packed(EXCEL))
    await workbook.show(make_interview(score=3))
    book = openpyxl.load_workbook(workbook.path)
    sheet = book["Interviews"]
    assert sheet["B2"].comment.text == "Ana: call back"
    assert sheet["A2"].hyperlink.target == "https://example.org/ana"
    assert sheet["E2"].value == "=C2*2"
    assert sheet["C2"].alignment.horizontal == "center"
    assert (sheet.tables["Table1"].ref, book.defined_names["total"].attr_text) == ("A1:D2", "Interviews!$C$2")
    assert [str(area.sqref) for area in sheet.conditional_formatting] == ["C2"]


async def test_a_file_of_libreoffice_with_notes_filters_and_formats_is_accepted(workbook):
    shutil.copy(HERE / "rich_file_of_libreoffice.xlsx", workbook.path)
    await workbook.show(make_interview())
    assert workbook.sheet()["B2"].comment.text == "Ana:\ncall back"
    assert interview_id(1) in workbook.column("Interview ID")


async def test_cell_checkboxes_of_excel_365_are_refused_with_their_place(workbook):
    shutil.copy(HERE / "checkbox_of_excel_365.xlsx", workbook.path)
    reason = await refused(workbook)
    assert reason == (
        'a rewrite of the workbook would drop checkboxes in cells (tab "Interviews", cell B2, xl/styles.xml)'
    )


async def test_the_check_names_the_same_loss(workbook):
    shutil.copy(HERE / "checkbox_of_excel_365.xlsx", workbook.path)
    [finding] = await workbook.sink.check_connection()
    assert (finding.level, "checkboxes in cells" in finding.message) == ("problem", True)


async def test_the_sink_resumes_once_the_loss_is_gone(workbook):
    shutil.copy(HERE / "checkbox_of_excel_365.xlsx", workbook.path)
    await refused(workbook)
    workbook.path.write_bytes(packed(EXCEL))
    await workbook.show(make_interview())
    assert interview_id(1) in workbook.column("Interview ID")


@pytest.mark.parametrize(
    ("source", "relationship", "name", "words"),
    [
        (SHEET, "drawing", "xl/drawings/drawing7.xml", "pictures, charts or shapes"),
        (SHEET, "image", "xl/media/image1.png", "pictures"),
        (SHEET, "pivotTable", "xl/pivotTables/pivotTable1.xml", "pivot tables"),
        (SHEET, "http://schemas.microsoft.com/office/2007/relationships/slicer", "xl/slicers/slicer1.xml", "slicers"),
        (
            SHEET,
            "http://schemas.microsoft.com/office/2017/10/relationships/threadedComment",
            "xl/threadedComments/threadedComment1.xml",
            "comment threads",
        ),
        (SHEET, "customProperty", "xl/customProperty1.bin", '"customProperty"'),
        (BOOK, "connections", "xl/connections.xml", "data connections"),
        (BOOK, "sheetMetadata", "xl/metadata.xml", "spill"),
        (BOOK, "customXml", "customXml/item1.xml", "custom XML data"),
        (BOOK, "http://schemas.microsoft.com/office/2006/relationships/vbaProject", "xl/vbaProject.bin", "macros"),
        (BOOK, "http://schemas.example.org/of-next-year", "xl/novelty.xml", '"of-next-year"'),
    ],
)
async def test_a_part_that_a_rewrite_would_drop_is_named(workbook, source, relationship, name, words):
    reason = await refused(workbook, packed(with_part(EXCEL, source, relationship, name, "<oneCellAnchor/>")))
    assert words in reason
    assert ('tab "Interviews"' in reason) == (source == SHEET)


async def test_a_part_that_no_relationship_leads_to_is_named(workbook):
    assert "xl/novelty.xml" in await refused(workbook, packed({**EXCEL, "xl/novelty.xml": "<x/>"}))


@pytest.mark.parametrize(
    ("end", "words"),
    [
        (EXTENSION % "05C60535-1F16-4FD2-B633-F4F36F0B64E0", "sparklines"),
        (EXTENSION % "ccE6A557-97BC-4B89-ADB6-D9C93CAAB3DF", "data validation"),
        (EXTENSION % "00000000-97BC-4B89-ADB6-D9C93CAAB3DF", 'the extension "{00000000-97BC-'),
        ('<protectedRanges><protectedRange name="a" sqref="A1"/></protectedRanges></worksheet>', "protected ranges"),
        ('<cellWatches><cellWatch r="A1"/></cellWatches></worksheet>', 'the element "cellWatch"'),
    ],
)
async def test_what_a_rewrite_would_drop_of_a_tab_is_named(workbook, end, words):
    reason = await refused(workbook, packed(changed(GOOGLE, SHEET, "</worksheet>", end)))
    assert words in reason
    assert 'tab "Interviews"' in reason


@pytest.mark.parametrize(
    ("part", "old", "new", "words"),
    [
        (
            "xl/sharedStrings.xml",
            "<si><t>Ana</t>",
            '<si><t>Ana</t><rPh sb="0" eb="1"><t>a</t></rPh>',
            "phonetic guides",
        ),
        ("xl/comments1.xml", "<b/>", '<u val="single"/>', 'the element "u"'),
        ("xl/drawings/vmlDrawing1.vml", 'ObjectType="Note"', 'ObjectType="Checkbox"', "form controls"),
        (
            SHEET,
            '<headerFooter alignWithMargins="0"/>',
            "<headerFooter><oddFooter>x</oddFooter></headerFooter>",
            "footers",
        ),
        (
            BOOK,
            'name="total">Interviews!$C$2',
            'name="_xlnm.Print_Area" localSheetId="0">Interviews!$1:$1',
            "print area",
        ),
        (BOOK, "<workbookPr", '<fileSharing readOnlyRecommended="1"/><workbookPr', "password for changes"),
    ],
)
@pytest.mark.filterwarnings("ignore:Cannot parse header or footer", "ignore:Print area cannot be set")
async def test_what_a_rewrite_would_drop_inside_a_part_is_named(workbook, part, old, new, words):
    assert words in await refused(workbook, packed(changed(EXCEL, part, old, new)))


@pytest.mark.filterwarnings("ignore:.*outside the limits for dates")
async def test_a_number_that_openpyxl_takes_for_an_impossible_date_is_not_replaced_by_an_error(workbook):
    dated = changed(
        GOOGLE,
        "xl/styles.xml",
        '<xf numFmtId="0" fontId="0" fillId="0" borderId="0" xfId="0" apply',
        '<xf numFmtId="14" fontId="0" fillId="0" borderId="0" xfId="0" apply',
    )
    reason = await refused(workbook, packed(changed(dated, SHEET, "<v>4.5</v>", "<v>99999999</v>")))
    assert 'tab "Interviews", cell C2' in reason


async def test_a_chart_is_named_and_kept(workbook):
    await workbook.show(make_interview())
    with workbook.edit() as sheet:
        sheet.add_chart(BarChart(), "P1")
    assert "charts" in await refused(workbook)


async def test_the_note_knows_the_file_as_the_sink_wrote_it(workbook):
    """So that its own version is not compared again."""
    await workbook.show(make_interview())
    assert workbook.context.notes["table"]["digest"] == hashlib.sha256(workbook.path.read_bytes()).hexdigest()


async def test_a_zip_bomb_is_refused_before_it_is_unpacked(workbook):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(3):
            archive.writestr(f"xl/{number}.xml", bytes(100 * 1024 * 1024))
    workbook.path.write_bytes(file.getvalue())
    with pytest.raises(SinkBroken, match="too large"):
        await workbook.deliver(make_interview())
