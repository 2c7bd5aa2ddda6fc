"""Text as a hostile candidate would choose it."""

from __future__ import annotations

from hypothesis import strategies as st

TRICKS = [
    "<!channel>",
    "<@U0123456789>",
    "<!subteam^S012345|team>",
    "<https://evil.example|Open interview>",
    "*bold* _it_ ~no~ `code`",
    "&lt;!here&gt;",
    "&amp;amp;",
    "@channel #general",
    ":smile:",
    "\u202eevil\u202c \u2066x\u2069",
    "line\nbreak\r\n> quote",
    "\ud800 lone",
    "\U000e0041\u200b\ufeff",
    "&" * 300,
    "😀" * 200,
    "\u200d",
    "   ",
    "",
]

alphabet = st.one_of(
    st.characters(),
    st.characters(categories=["Cc", "Cf", "Cs", "Zl", "Zp"]),
    st.sampled_from("<>&*_~`|^!@#:;\\/ \n"),
)
hostile_text = st.one_of(st.sampled_from(TRICKS), st.text(alphabet, max_size=60), st.text(alphabet, min_size=150))
