"""What a sink would write, drawn on the page of the routes: every text arrives as it is, and none becomes markup."""

from __future__ import annotations

from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st

from connector.capabilities import ButtonPreview, CellPreview, MessagePreview, Preview
from connector.languages import language
from connector.testing.make import HOSTILE_TEXTS
from connector.text import clean
from connector.web.dashboard.pages import templates

PARTS = templates(language("en")).get_template("parts.html").module


class Drawn(HTMLParser):
    """The texts of a drawing by the tag around them, and the number of each tag. `bdi` only isolates the direction."""

    def __init__(self, preview):
        super().__init__()
        self.texts, self.tags, self._open = {}, [], []
        self.feed(str(PARTS.preview(preview, "sheet")))
        self.close()

    def handle_starttag(self, tag, attrs):
        if tag != "bdi":
            self.tags.append(tag)
            self._open.append(tag)
            self.texts.setdefault(tag, []).append("")

    def handle_endtag(self, tag):
        if tag != "bdi":
            assert self._open.pop() == tag

    def handle_data(self, data):
        if self._open:
            self.texts[self._open[-1]][-1] += data


TEXTS = st.one_of(st.text(), st.sampled_from(sorted(HOSTILE_TEXTS.values())), st.sampled_from(["a: b", "a → b", "[x]"]))
SHOWN = TEXTS.filter(clean)
CELLS = st.builds(CellPreview, TEXTS, SHOWN, st.none() | SHOWN)
BUTTONS = st.builds(ButtonPreview, TEXTS, TEXTS)


@given(st.lists(CELLS, min_size=1, max_size=4))
def test_each_cell_is_drawn_with_its_title_and_its_values_before_and_after(cells):
    drawn = Drawn(Preview(cells=cells))
    assert drawn.texts["th"] == [clean(each.title) for each in cells]
    assert drawn.texts["ins"] == [clean(each.after) for each in cells]
    assert drawn.texts.get("del", []) == [clean(each.before) for each in cells if each.before is not None]
    assert set(drawn.tags) <= {"div", "table", "caption", "tbody", "tr", "th", "td", "del", "ins", "span"}


@given(TEXTS, SHOWN, st.lists(TEXTS, max_size=4), st.lists(BUTTONS, max_size=3))
def test_a_message_is_drawn_with_its_place_its_lines_and_its_buttons(place, headline, lines, buttons):
    drawn = Drawn(Preview(messages=[MessagePreview(place, lines, headline, buttons)]))
    assert drawn.texts["figcaption"] == [clean(place)]
    assert drawn.texts["strong"] == [clean(headline)]
    assert drawn.texts["p"][1 : 1 + len(lines)] == [clean(line) for line in lines]
    assert drawn.texts.get("span", []) == [clean(each.label) for each in buttons]
    assert set(drawn.tags) <= {"figure", "figcaption", "div", "p", "strong", "span"}


@given(TEXTS)
def test_a_text_is_drawn_line_by_line(text):
    drawn = Drawn(Preview(text))
    assert "".join(drawn.texts.get("pre", [])) == "".join(f"{clean(line)}\n" for line in text.splitlines())


def test_a_cell_whose_text_is_empty_is_drawn_apart_from_one_that_has_the_word():
    drawn = Drawn(Preview(cells=[CellPreview("Score", "empty", before="")]))
    assert (drawn.texts["i"], drawn.texts["ins"]) == (["empty"], ["empty"])
    assert "del" not in drawn.texts
