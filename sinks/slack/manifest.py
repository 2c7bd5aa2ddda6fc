"""The app's manifest, to paste at "Create New App, From a manifest" (Slack, App manifest reference).

`python -m sinks.slack.manifest minimal` or `full` prints it; deploy/ holds both.
"""

from __future__ import annotations

import sys
from typing import Literal

from sinks.slack.scopes import RECOMMENDED, REQUIRED

Kind = Literal["minimal", "full"]

_BEFORE = """\
_metadata:
  major_version: 1
  minor_version: 1
display_information:
  name: Hireflix notifier
  description: Tells a channel what happens to Hireflix interviews
  background_color: "#2f3b52"
features:
  bot_user:
    display_name: hireflix
    always_online: true
oauth_config:
  scopes:
    bot:
"""
_AFTER = """\
settings:
  interactivity:
    is_enabled: false
  org_deploy_enabled: false
  socket_mode_enabled: false
  token_rotation_enabled: false
"""


def manifest(kind: Kind) -> str:
    """The manifest as YAML, with the scopes that the code needs, or with those it profits from as well."""
    scopes = REQUIRED if kind == "minimal" else (*REQUIRED, *RECOMMENDED)
    return _BEFORE + "".join(f"      - {scope}\n" for scope in scopes) + _AFTER


if __name__ == "__main__":
    sys.stdout.write(manifest("minimal" if "minimal" in sys.argv[1:] else "full"))
