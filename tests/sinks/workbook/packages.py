"""Workbooks built part by part, as Excel 365 and Google Sheets write them, with one table of two interviews."""

from __future__ import annotations

import io
import zipfile

MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
REL = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
PACKAGE_REL = "http://schemas.openxmlformats.org/package/2006/relationships"
HEAD = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
TEXTS = ("Candidate", "Stage", "Score", "Interview ID", "Ana", "To evaluate", "643e972db7d39e63cf000001")


def relationships(**targets):
    """A part of relationships: id="type target"; a target with `://` is outside of the package."""
    rows = []
    for name, value in targets.items():
        kind, target = value.split(" ")
        outside = ' TargetMode="External"' if "://" in target else ""
        kind = kind if "://" in kind else f"{REL}/{kind}"
        rows.append(f'<Relationship Id="{name}" Type="{kind}" Target="{target}"{outside}/>')
    return f'{HEAD}<Relationships xmlns="{PACKAGE_REL}">{"".join(rows)}</Relationships>'


def strings(*more):
    items = "".join(f"<si><t>{text}</t></si>" for text in TEXTS) + "".join(more)
    return f'{HEAD}<sst xmlns="{MAIN}" count="8" uniqueCount="8">{items}</sst>'


def rows(more=""):
    """The cells of the table; the score has a style of its own."""
    header = "".join(f'<c r="{letter}1" t="s"><v>{at}</v></c>' for at, letter in enumerate("ABCD"))
    first = '<c r="A2" t="s"><v>4</v></c><c r="B2" t="s"><v>5</v></c><c r="C2" s="1"><v>4.5</v></c>'
    first += '<c r="D2" t="s"><v>6</v></c><c r="E2"><f>C2*2</f><v>9</v></c>' + more
    return f'<row r="1" spans="1:4">{header}</row><row r="2" spans="1:5">{first}</row>'


def styles(*, font="", extensions=""):
    cell = '<xf numFmtId="0" fontId="0" fillId="0" borderId="0"'
    return f"""{HEAD}<styleSheet xmlns="{MAIN}" xmlns:mc="http://schemas.openxmlformats.org/markup-compatibility/2006"
 mc:Ignorable="x14ac" xmlns:x14ac="http://schemas.microsoft.com/office/spreadsheetml/2009/9/ac">
<fonts count="1" x14ac:knownFonts="1"><font><b val="0"/><u val="none"/>
<sz val="11"/>{font}<name val="Aptos Narrow"/></font></fonts>
<fills count="2"><fill><patternFill patternType="none"/></fill><fill><patternFill patternType="gray125"/></fill></fills>
<borders count="1"><border><left/><right/><top/><bottom/><diagonal/></border></borders>
<cellStyleXfs count="1">{cell}/></cellStyleXfs>
<cellXfs count="2">{cell} xfId="0"/>{cell} xfId="0" applyAlignment="1"><alignment horizontal="center"/></xf></cellXfs>
<cellStyles count="1"><cellStyle name="Normal" xfId="0" builtinId="0"/></cellStyles>{extensions}</styleSheet>"""


CONTENT_TYPES = f"""{HEAD}<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">
<Default Extension="bin" ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.printerSettings"/>
<Default Extension="png" ContentType="image/png"/>
<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>
<Default Extension="vml" ContentType="application/vnd.openxmlformats-officedocument.vmlDrawing"/>
<Default Extension="xml" ContentType="application/xml"/>
<Override PartName="/xl/workbook.xml"
 ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.sheet.main+xml"/>
<Override PartName="/xl/worksheets/sheet1.xml"
 ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.worksheet+xml"/>
<Override PartName="/xl/styles.xml"
 ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.styles+xml"/>
<Override PartName="/xl/sharedStrings.xml"
 ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.sharedStrings+xml"/>
<Override PartName="/xl/comments1.xml"
 ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.comments+xml"/>
<Override PartName="/xl/tables/table1.xml"
 ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.table+xml"/>
<Override PartName="/docProps/core.xml" ContentType="application/vnd.openxmlformats-package.core-properties+xml"/>
</Types>"""

STYLE_EXTENSIONS = """<colors><mruColors><color rgb="FFAA0000"/></mruColors></colors>
<extLst><ext uri="{EB79DEF2-80B8-43e5-95BD-54CBDDF9020C}"
 xmlns:x14="http://schemas.microsoft.com/office/spreadsheetml/2009/9/main">
<x14:slicerStyles defaultSlicerStyle="SlicerStyleLight1"/></ext>
<ext uri="{9260A510-F301-46a8-8635-F512D64BE5F5}"
 xmlns:x15="http://schemas.microsoft.com/office/spreadsheetml/2010/11/main">
<x15:timelineStyles defaultTimelineStyle="TimeSlicerStyleLight1"/></ext></extLst>"""

EXCEL = {
    "[Content_Types].xml": CONTENT_TYPES,
    "_rels/.rels": relationships(
        rId1="officeDocument xl/workbook.xml",
        rId2=f"{PACKAGE_REL}/metadata/core-properties docProps/core.xml",
        rId3="extended-properties docProps/app.xml",
    ),
    "docProps/core.xml": f"""{HEAD}<cp:coreProperties xmlns:dc="http://purl.org/dc/elements/1.1/"
 xmlns:cp="http://schemas.openxmlformats.org/package/2006/metadata/core-properties">
<dc:creator>Ana</dc:creator></cp:coreProperties>""",
    "docProps/app.xml": f"""{HEAD}<Properties
 xmlns="http://schemas.openxmlformats.org/officeDocument/2006/extended-properties">
<Application>Microsoft Excel</Application><AppVersion>16.0300</AppVersion></Properties>""",
    "xl/workbook.xml": f"""{HEAD}<workbook xmlns="{MAIN}" xmlns:r="{REL}" mc:Ignorable="x15 xr xr6 xr10 xr2"
 xmlns:mc="http://schemas.openxmlformats.org/markup-compatibility/2006"
 xmlns:x15="http://schemas.microsoft.com/office/spreadsheetml/2010/11/main"
 xmlns:xr="http://schemas.microsoft.com/office/spreadsheetml/2014/revision"
 xmlns:xr2="http://schemas.microsoft.com/office/spreadsheetml/2015/revision2"
 xmlns:xr6="http://schemas.microsoft.com/office/spreadsheetml/2016/revision6"
 xmlns:xr10="http://schemas.microsoft.com/office/spreadsheetml/2016/revision10">
<fileVersion appName="xl" lastEdited="7" lowestEdited="7" rupBuild="29029"/><workbookPr defaultThemeVersion="202300"/>
<mc:AlternateContent><mc:Choice Requires="x15"><x15ac:absPath url="C:\\hiring\\"
 xmlns:x15ac="http://schemas.microsoft.com/office/spreadsheetml/2010/11/ac"/></mc:Choice></mc:AlternateContent>
<xr:revisionPtr revIDLastSave="0" documentId="13_ncr:1_{{A0000000-0000-0000-0000-000000000001}}"
 xr6:coauthVersionLast="47" xr6:coauthVersionMax="47" xr10:uidLastSave="{{00000000-0000-0000-0000-000000000000}}"/>
<bookViews><workbookView xWindow="-110" yWindow="-110" windowWidth="19420" windowHeight="10300"
 xr2:uid="{{A0000000-0000-0000-0000-000000000002}}"/></bookViews>
<sheets><sheet name="Interviews" sheetId="1" r:id="rId1"/></sheets>
<definedNames><definedName name="_xlnm._FilterDatabase" localSheetId="0" hidden="1">Interviews!$A$1:$D$2</definedName>
<definedName name="total">Interviews!$C$2</definedName></definedNames><calcPr calcId="191029"/>
<extLst><ext uri="{{140A7094-0E35-4892-8432-C4D2E57EDEB5}}"><x15:workbookPr chartTrackingRefBase="1"/></ext>
<ext uri="{{B58B0392-4F1F-4190-BB64-5DF3571DCE5F}}"
 xmlns:xcalcf="http://schemas.microsoft.com/office/spreadsheetml/2018/calcfeatures"><xcalcf:calcFeatures>
<xcalcf:feature name="microsoft.com:RD"/></xcalcf:calcFeatures></ext>
<ext uri="{{D14903EA-33C4-47F7-8F05-3474C54BE107}}"
 xmlns:xlwcv="http://schemas.microsoft.com/office/spreadsheetml/2024/workbookCompatibilityVersion">
<xlwcv:version setVersion="2"/></ext></extLst></workbook>""",
    "xl/_rels/workbook.xml.rels": relationships(
        rId1="worksheet worksheets/sheet1.xml",
        rId2="styles styles.xml",
        rId3="sharedStrings sharedStrings.xml",
        rId4="calcChain calcChain.xml",
        rId5="http://schemas.microsoft.com/office/2017/10/relationships/person persons/person.xml",
        rId6="theme theme/theme1.xml",
    ),
    "xl/theme/theme1.xml": f"""{HEAD}<a:theme xmlns:a="http://schemas.openxmlformats.org/drawingml/2006/main"
 name="Office Theme"><a:themeElements/><a:extLst><a:ext uri="{{05A4C25C-085E-4340-85A3-A5531E510DB2}}"
 ><thm15:themeFamily xmlns:thm15="http://schemas.microsoft.com/office/thememl/2012/main" name="Office Theme"/></a:ext>
</a:extLst></a:theme>""",
    "xl/persons/person.xml": f"""{HEAD}<personList
 xmlns="http://schemas.microsoft.com/office/spreadsheetml/2018/threadedcomments"/>""",
    "xl/calcChain.xml": f'{HEAD}<calcChain xmlns="{MAIN}"><c r="E2" i="1"/></calcChain>',
    "xl/styles.xml": styles(font='<color theme="1"/>', extensions=STYLE_EXTENSIONS),
    "xl/sharedStrings.xml": strings("<si><r><t>very </t></r><r><rPr><b/><sz val='11'/></rPr><t>good</t></r></si>"),
    "xl/worksheets/sheet1.xml": f"""{HEAD}<worksheet xmlns="{MAIN}" xmlns:r="{REL}" mc:Ignorable="x14ac xr"
 xmlns:mc="http://schemas.openxmlformats.org/markup-compatibility/2006"
 xmlns:x14ac="http://schemas.microsoft.com/office/spreadsheetml/2009/9/ac"
 xmlns:xr="http://schemas.microsoft.com/office/spreadsheetml/2014/revision"
 xr:uid="{{A0000000-0001-0000-0000-000000000000}}"><dimension ref="A1:E2"/>
<sheetViews><sheetView tabSelected="1" workbookViewId="0"><selection activeCell="A2" sqref="A2"/></sheetView>
</sheetViews><sheetFormatPr defaultRowHeight="14.5" x14ac:dyDescent="0.35"/>
<cols><col min="1" max="1" width="22" customWidth="1"/></cols>
<sheetData>{rows('<c r="F2" t="s"><v>7</v></c>')}</sheetData><phoneticPr fontId="1" type="noConversion"/>
<conditionalFormatting sqref="C2"><cfRule type="cellIs" priority="1" operator="greaterThan"><formula>4</formula>
</cfRule></conditionalFormatting><hyperlinks><hyperlink ref="A2" r:id="rId1"/></hyperlinks>
<pageMargins left="0.7" right="0.7" top="0.75" bottom="0.75" header="0.3" footer="0.3"/>
<pageSetup paperSize="9" orientation="portrait" r:id="rId2"/><headerFooter alignWithMargins="0"/>
<ignoredErrors><ignoredError sqref="A2" numberStoredAsText="1"/></ignoredErrors>
<legacyDrawing r:id="rId3"/><tableParts count="1"><tablePart r:id="rId5"/></tableParts></worksheet>""",
    "xl/worksheets/_rels/sheet1.xml.rels": relationships(
        rId1="hyperlink https://example.org/ana",
        rId2="printerSettings ../printerSettings/printerSettings1.bin",
        rId3="vmlDrawing ../drawings/vmlDrawing1.vml",
        rId4="comments ../comments1.xml",
        rId5="table ../tables/table1.xml",
    ),
    "xl/printerSettings/printerSettings1.bin": "\0printer",
    "xl/drawings/vmlDrawing1.vml": """<xml xmlns:v="urn:schemas-microsoft-com:vml"
 xmlns:x="urn:schemas-microsoft-com:office:excel"><v:shape><v:textbox><div><br></div></v:textbox>
<x:ClientData ObjectType="Note"><x:Row>1</x:Row><x:Column>1</x:Column></x:ClientData></v:shape></xml>""",
    "xl/comments1.xml": f"""{HEAD}<comments xmlns="{MAIN}"><authors><author>Ana</author></authors><commentList>
<comment ref="B2" authorId="0" shapeId="0"><text><r><rPr><b/><sz val="9"/><color indexed="81"/><rFont val="Tahoma"/>
<family val="2"/></rPr><t>Ana:</t></r><r><rPr><sz val="9"/></rPr><t xml:space="preserve"> call back</t></r></text>
</comment></commentList></comments>""",
    "xl/tables/table1.xml": f"""{HEAD}<table xmlns="{MAIN}" id="1" name="Table1" displayName="Table1" ref="A1:D2"
 totalsRowShown="0"><autoFilter ref="A1:D2"/><tableColumns count="4"><tableColumn id="1" name="Candidate"/>
<tableColumn id="2" name="Stage"/><tableColumn id="3" name="Score"/><tableColumn id="4" name="Interview ID"/>
</tableColumns><tableStyleInfo name="TableStyleMedium2" showRowStripes="1"/></table>""",
}

GOOGLE = {
    "[Content_Types].xml": CONTENT_TYPES,
    "_rels/.rels": relationships(rId1="officeDocument xl/workbook.xml"),
    "xl/workbook.xml": f"""{HEAD}<workbook xmlns="{MAIN}" xmlns:r="{REL}"
 xmlns:mx="http://schemas.microsoft.com/office/mac/excel/2008/main" xmlns:mv="urn:schemas-microsoft-com:mac:vml">
<workbookPr/><sheets><sheet state="visible" name="Interviews" sheetId="1" r:id="rId4"/></sheets><definedNames/><calcPr/>
<extLst><ext uri="GoogleSheetsCustomDataVersion2"><go:sheetsCustomData r:id="rId5"
 xmlns:go="http://customooxmlschemas.google.com/" roundtripDataChecksum="a"/></ext></extLst></workbook>""",
    "xl/_rels/workbook.xml.rels": relationships(
        rId2="styles styles.xml",
        rId3="sharedStrings sharedStrings.xml",
        rId4="worksheet worksheets/sheet1.xml",
        rId5="http://customschemas.google.com/relationships/workbookmetadata metadata",
    ),
    "xl/metadata": "opaque",
    "xl/styles.xml": styles(font='<color rgb="FF000000"/>'),
    "xl/sharedStrings.xml": strings(),
    "xl/worksheets/sheet1.xml": f"""{HEAD}<worksheet xmlns="{MAIN}" xmlns:r="{REL}"
 xmlns:x14ac="http://schemas.microsoft.com/office/spreadsheetml/2009/9/ac">
<sheetPr><outlinePr summaryBelow="0" summaryRight="0"/></sheetPr>
<sheetViews><sheetView workbookViewId="0"/></sheetViews>
<sheetFormatPr customHeight="1" defaultColWidth="12.63" defaultRowHeight="15.75"/><sheetData>{rows()}</sheetData>
<dataValidations><dataValidation type="list" allowBlank="1" sqref="B2"><formula1>"a,b"</formula1></dataValidation>
</dataValidations><drawing r:id="rId1"/></worksheet>""",
    "xl/worksheets/_rels/sheet1.xml.rels": relationships(rId1="drawing ../drawings/drawing1.xml"),
    "xl/drawings/drawing1.xml": f"""{HEAD}<xdr:wsDr
 xmlns:xdr="http://schemas.openxmlformats.org/drawingml/2006/spreadsheetDrawing"/>""",
}


def packed(parts):
    """The content of the file."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return file.getvalue()


def changed(parts, name, old, new):
    """The parts with one text replaced in one of them."""
    assert old in parts[name]
    return {**parts, name: parts[name].replace(old, new)}


def with_part(parts, source, relationship, name, content="<x/>"):
    """The parts with a further one, to which another part has a relationship of this type."""
    folder, _, base = source.rpartition("/")
    rels = f"{folder}/_rels/{base}.rels"
    kind = relationship if "://" in relationship else f"{REL}/{relationship}"
    entry = f'<Relationship Id="rIdNew" Type="{kind}" Target="/{name}"/></Relationships>'
    return {**changed(parts, rels, "</Relationships>", entry), name: content}
