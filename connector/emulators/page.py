"""The frame of the pages of the emulators: it follows changes without losing the focus and the place of the visitor."""

from __future__ import annotations

from html import escape

HEAD = (
    '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
    '<link rel="icon" href="data:,">'  # without it a browser asks for one
)
_STYLE = """.gone body{opacity:.5}.gone body::before{content:"The emulator does not answer."}"""
_FOLLOW = """<noscript><meta http-equiv="refresh" content="2"></noscript><script>
const tables = () => [...document.querySelectorAll("div")];
async function follow() {
  try {
    const reply = await fetch(location.pathname);
    const fresh = new DOMParser().parseFromString(await reply.text(), "text/html").body;
    document.documentElement.classList.remove("gone");
    if (fresh.outerHTML === document.body.outerHTML) return;
    const focused = document.activeElement.id, places = tables().map(each => each.scrollLeft);
    document.body.replaceWith(fresh);
    tables().forEach((each, at) => { each.scrollLeft = places[at] ?? 0; });
    if (focused) document.getElementById(focused)?.focus({preventScroll: true});
  } catch { document.documentElement.classList.add("gone"); }
}
setInterval(follow, 2000);
</script>"""
"""Replaces the content when it has changed. A visitor keeps the focused link or button, which is found by its id."""


def live_page(title: str, style: str, body: str) -> str:
    """Returns a page that follows its changes. `title` is text, `body` is HTML."""
    head = f"{HEAD}<title>{escape(title)}</title><style>{style}{_STYLE}</style>{_FOLLOW}</head>"
    return f"{head}<body>{body}</body></html>"


def form_page(title: str, style: str, body: str) -> str:
    """Returns a page that stays as it is while a visitor fills in its form. `title` is text, `body` is HTML."""
    return f"{HEAD}<title>{escape(title)}</title><style>{style}</style></head><body>{body}</body></html>"
