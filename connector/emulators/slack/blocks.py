"""Block Kit rules: the mistakes that Slack answers with `invalid_blocks` (Slack, Reference: Block Kit).

Lengths are counted in UTF-16 units: whether Slack counts those or code points is not documented, so the stricter holds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from connector.emulators.slack.errors import SlackError, invalid_blocks
from connector.emulators.slack.workspace import strings_of

MOST_BLOCKS = 50
MOST_TEXT = 13_000
SCHEMES = ("https://", "http://", "mailto:", "slack://")


def check_blocks(blocks: Any) -> list[dict[str, Any]]:
    """Returns the blocks. Raises `SlackError` with the answer of Slack."""
    if not isinstance(blocks, list) or not all(isinstance(block, dict) for block in blocks):
        raise SlackError("invalid_blocks_format")
    errors = list(_errors(blocks))
    if errors:
        raise invalid_blocks(errors)
    if sum(len(text) for text in strings_of(blocks)) > MOST_TEXT:
        raise SlackError("msg_blocks_too_long")
    return blocks


def _errors(blocks: list[dict[str, Any]]) -> Iterator[str]:
    if len(blocks) > MOST_BLOCKS:
        yield _said(f"no more than {MOST_BLOCKS} items allowed", "/blocks")
    for at, block in enumerate(blocks):
        yield from _block(block, f"/blocks/{at}")
    yield from _doubles(blocks)


def _block(block: dict[str, Any], at: str) -> Iterator[str]:
    kind = block.get("type")
    rule = RULES.get(str(kind))
    if rule is None:
        yield _said(f"unsupported type: {kind}", f"{at}/type")
        return
    allowed, check = rule
    for name in block.keys() - allowed - {"type", "block_id"}:
        yield _said(f"invalid additional property: {name}", at)
    if "block_id" in block:
        yield from _string(block["block_id"], 255, f"{at}/block_id")
    yield from check(block, at)


def _section(block: dict[str, Any], at: str) -> Iterator[str]:
    fields = block.get("fields", [])
    if "text" not in block and not fields:
        yield _said("missing required field: text or fields", at)
    if "text" in block:
        yield from _text(block["text"], 3000, f"{at}/text")
    yield from _most(fields, 10, f"{at}/fields")
    for number, item in enumerate(fields):
        yield from _text(item, 2000, f"{at}/fields/{number}")
    if "accessory" in block:
        yield from _element(block["accessory"], f"{at}/accessory")


def _header(block: dict[str, Any], at: str) -> Iterator[str]:
    yield from _text(block.get("text"), 150, f"{at}/text", kinds=("plain_text",))


def _context(block: dict[str, Any], at: str) -> Iterator[str]:
    elements = block.get("elements", [])
    yield from _most(elements, 10, f"{at}/elements", least=1)
    for number, item in enumerate(elements):
        place = f"{at}/elements/{number}"
        is_image = isinstance(item, dict) and item.get("type") == "image"
        yield from _image(item, place) if is_image else _text(item, 3000, place)


def _actions(block: dict[str, Any], at: str) -> Iterator[str]:
    elements = block.get("elements", [])
    yield from _most(elements, 25, f"{at}/elements", least=1)
    for number, item in enumerate(elements):
        yield from _element(item, f"{at}/elements/{number}")


def _image(block: dict[str, Any], at: str) -> Iterator[str]:
    yield from _string(block.get("alt_text"), 2000, f"{at}/alt_text")
    yield from _url(block.get("image_url"), f"{at}/image_url")
    if "title" in block:
        yield from _text(block["title"], 2000, f"{at}/title", kinds=("plain_text",))


def _markdown(block: dict[str, Any], at: str) -> Iterator[str]:
    yield from _string(block.get("text"), 12_000, f"{at}/text")


def _divider(_block: dict[str, Any], _at: str) -> Iterator[str]:
    yield from ()


Rule = tuple[frozenset[str], Callable[[dict[str, Any], str], Iterator[str]]]
RULES: dict[str, Rule] = {
    "section": (frozenset({"text", "fields", "accessory", "expand"}), _section),
    "header": (frozenset({"text"}), _header),
    "context": (frozenset({"elements"}), _context),
    "actions": (frozenset({"elements"}), _actions),
    "image": (frozenset({"alt_text", "image_url", "title"}), _image),
    "markdown": (frozenset({"text"}), _markdown),
    "divider": (frozenset(), _divider),
}
BUTTON = frozenset({"type", "text", "action_id", "url", "value", "style", "confirm", "accessibility_label"})


def _element(item: Any, at: str) -> Iterator[str]:
    kind = item.get("type") if isinstance(item, dict) else None
    if kind == "image":
        yield from _image(item, at)
        return
    if kind != "button":
        yield _said(f"unsupported type: {kind}", f"{at}/type")
        return
    for name in item.keys() - BUTTON:
        yield _said(f"invalid additional property: {name}", at)
    yield from _text(item.get("text"), 75, f"{at}/text", kinds=("plain_text",))
    if item.get("style", "primary") not in {"primary", "danger"}:
        yield _said("must be one of primary, danger", f"{at}/style")
    if "url" in item:
        yield from _url(item["url"], f"{at}/url")
    for name, most in (("action_id", 255), ("value", 2000)):
        if name in item:
            yield from _string(item[name], most, f"{at}/{name}")


def _text(item: Any, most: int, at: str, kinds: tuple[str, ...] = ("plain_text", "mrkdwn")) -> Iterator[str]:
    if not isinstance(item, dict):
        yield _said("missing required field: text", at)
        return
    kind = item.get("type")
    if kind not in kinds:
        yield _said(f"must be one of {', '.join(kinds)}", f"{at}/type")
    only = {"emoji"} if kind == "plain_text" else {"verbatim"}
    for name in item.keys() - {"type", "text"} - only:
        yield _said(f"invalid additional property: {name}", at)
    yield from _string(item.get("text"), most, f"{at}/text")


def _string(value: Any, most: int, at: str) -> Iterator[str]:
    if not isinstance(value, str):
        yield _said("must be a string", at)
    elif not value.strip():
        yield _said("must be more than 0 characters", at)
    elif units(value) > most:
        yield _said(f"must be less than {most + 1} characters", at)


def _url(value: Any, at: str) -> Iterator[str]:
    if not isinstance(value, str) or not value.startswith(SCHEMES) or any(c in value for c in ' <>|"\n'):
        yield _said("Invalid URL", at)
    else:
        yield from _string(value, 3000, at)


def _most(items: Any, most: int, at: str, least: int = 0) -> Iterator[str]:
    if not isinstance(items, list):
        yield _said("must be an array", at)
    elif len(items) > most:
        yield _said(f"no more than {most} items allowed", at)
    elif len(items) < least:
        yield _said(f"must contain at least {least} items", at)


def _doubles(blocks: list[dict[str, Any]]) -> Iterator[str]:
    seen: set[tuple[str, str]] = set()
    for name, value, at in _ids(blocks):
        if (name, value) in seen:
            yield _said(f"{name} `{value}` already exists", at)
        seen.add((name, value))


def _ids(blocks: list[dict[str, Any]]) -> Iterator[tuple[str, str, str]]:
    for at, block in enumerate(blocks):
        if "block_id" in block:
            yield "block_id", str(block["block_id"]), f"/blocks/{at}/block_id"
        elements = block.get("elements", [])
        for number, item in enumerate(elements if isinstance(elements, list) else []):
            if isinstance(item, dict) and "action_id" in item:
                yield "action_id", str(item["action_id"]), f"/blocks/{at}/elements/{number}/action_id"


def units(text: str) -> int:
    """Returns the length in UTF-16 units."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def _said(what: str, at: str) -> str:
    return f"{what} [json-pointer:{at}]"
