"""Any input gives a configuration or all problems with it, and no message shows a value."""

import json
import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from connector.config import Config, RouteSettings, Section, Settings, load
from connector.errors import ConfigError

HIDDEN = "hunter22"
KEYS = sorted(
    {
        *Settings.model_fields,
        *RouteSettings.model_fields,
        "console",
        "pigeon",
        "out",
        "type",
        "renamed_from",
        "other",
        "No!",
    }
    | {
        key
        for name in Settings.model_fields
        if isinstance(inner := getattr(Settings(), name), Section)
        for key in type(inner).model_fields
    }
)
LEAVES = (
    st.sampled_from(
        [
            HIDDEN,
            f"https://{HIDDEN}@example.org",
            f"sqlite:///{HIDDEN}?x",
            f"postgresql://{HIDDEN}@[::1/x",
            "console",
            "pigeon",
            "out",
            "",
        ]
    )
    | st.booleans()
    | st.integers(-5, 99_999)
    | st.floats(allow_nan=False, allow_infinity=False)
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=12,
)
TREES = st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=6)
VARIABLES = st.dictionaries(
    st.lists(st.sampled_from(KEYS), min_size=1, max_size=4).map(lambda keys: "CONNECTOR_" + "__".join(keys).upper()),
    st.sampled_from([HIDDEN, f'["{HIDDEN}"]', "[", "1", "true", "console"]),
    max_size=4,
)


def toml(value):
    """A value as TOML, tables inline."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {toml(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(toml(inner) for inner in value) + "]"
    return json.dumps(value)


@given(tree=TREES, variables=VARIABLES)
def test_anything_is_read_or_reported(tree, variables):
    with tempfile.TemporaryDirectory() as name:
        file = Path(name) / "config.toml"
        file.write_text("".join(f"{json.dumps(key)} = {toml(value)}\n" for key, value in tree.items()))
        try:
            config, reported = load(environ=variables, cwd=Path(name)), ""
        except ConfigError as error:
            config, reported = None, str(error)
    assert isinstance(config, Config) or reported
    assert HIDDEN not in reported
