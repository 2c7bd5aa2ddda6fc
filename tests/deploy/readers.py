"""Parsers for the files in deploy/, so that tests can check them without a container engine."""

from __future__ import annotations

import json
import re
import shlex
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from typer.main import get_command

from connector.cli import app
from connector.config import Config, load
from connector.role import Secrets

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
PAGE = (ROOT / "docs" / "deploying.md").read_text()
CONFIG = '[sinks.console]\ntype = "console"\n'
"""A possible configuration of a user."""
SECRETS = {
    "connector_store__url": "postgresql://connector:secret@postgres/connector",
    "connector_hireflix__webhook_secrets": '["secret"]',
    "connector_defaults__slack__token": "",
    "connector_defaults__google_sheets__credentials": "",
}
"""What the files of secrets hold after the lines of the page; empty ones set nothing."""


class Instruction(NamedTuple):
    """One instruction of a Dockerfile; `rest` is all of its text, with the lines joined."""

    word: str
    rest: str

    @property
    def words(self) -> list[str]:
        """In exec form the words themselves. Raises `ValueError` for the shell form."""
        return [str(word) for word in json.loads(self.rest)]


def stages(text: str) -> list[list[Instruction]]:
    """The instructions of a Dockerfile by stage; lines before the first stage are left out."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    found: list[list[Instruction]] = []
    for line in filter(None, map(str.strip, joined.splitlines())):
        word, _, rest = line.partition(" ")
        if word == "FROM":
            found.append([])
        if found:
            found[-1].append(Instruction(word, " ".join(rest.split())))
    return found


def all_of(stage: Sequence[Instruction], word: str) -> list[Instruction]:
    return [instruction for instruction in stage if instruction.word == word]


def one_of(stage: Sequence[Instruction], word: str) -> Instruction:
    [found] = all_of(stage, word)
    return found


def is_sent(path: str, rules: Sequence[str]) -> bool:
    """Whether a path of the tree is part of a build. The last rule that matches it, or a folder above it, decides."""
    above = [str(folder) for folder in Path(path).parents if str(folder) != "."]
    sent = True
    for rule in filter(None, (line.split("#")[0].strip() for line in rules)):
        pattern = rule.removeprefix("!").removeprefix("**/")
        anywhere = rule.removeprefix("!").startswith("**/")
        for each in (path, *above):
            if fnmatch(Path(each).name if anywhere else each, pattern):
                sent = rule.startswith("!")
    return sent


def unit(name: str) -> dict[str, dict[str, list[str]]]:
    """A systemd unit: section -> setting -> its values in order."""
    found: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    section = ""
    for line in (DEPLOY / name).read_text().splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif line and not line.startswith("#"):
            key, _, value = line.partition("=")
            found[section][key].append(value)
    return found


def compose() -> dict[str, Any]:
    """The compose file, its anchors and merges resolved."""
    found: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    return found


def caddy() -> dict[str, list[str]]:
    """The Caddyfile: each directive with its arguments, at any level."""
    found: dict[str, list[str]] = {}
    for line in (DEPLOY / "Caddyfile").read_text().splitlines():
        words = line.split("#")[0].split()
        if words and words != ["}"]:
            assert words[0] not in found, "two directives of one name"
            found[words[0]] = [word for word in words[1:] if word != "{"]
    return found


def wrong_words(words: Sequence[str]) -> set[str]:
    """Returns the words that are not a command of the connector or an option of it; parameters may be missing."""
    group: Any = get_command(app)
    rest = list(words)
    while rest and hasattr(group, "resolve_command") and not rest[0].startswith("-"):
        context = group.make_context("connector", rest, resilient_parsing=True)
        if rest[0] not in group.list_commands(context):
            return {rest[0]}
        _, group, rest = group.resolve_command(context, rest)
    known = {flag for option in group.params for flag in (*option.opts, *option.secondary_opts)} | {"--help"}
    return {word for word in rest if re.match(r"--?[a-z]", word)} - known


def require_command(words: Sequence[str]) -> str:
    """The name of the command that these words call. Raises when there is none, or when it has no such option."""
    group: Any = get_command(app)
    name = ""
    rest = list(words)
    while hasattr(group, "resolve_command"):
        context = group.make_context("connector", rest, resilient_parsing=True)
        part, group, rest = group.resolve_command(context, rest)
        name = f"{name} {part}".strip()
    group.make_context(name, rest)
    return name


def configured(
    folder: Path,
    environ: Mapping[str, str],
    secrets: Mapping[str, str] = SECRETS,
    toml: str = CONFIG,
    needs: Secrets = Secrets.ALL,
) -> Config:
    """Returns the settings of a process with these variables and secrets. Raises `ConfigError` for an unknown one."""
    (folder / "config.toml").write_text(toml)
    (folder / "secrets").mkdir()
    for name, text in secrets.items():
        (folder / "secrets" / name).write_text(text)
    return load(environ={**environ, "CONNECTOR_SECRETS_DIR": "secrets"}, cwd=folder, needs=needs)


def blocks(page: str, language: str) -> list[str]:
    """The code blocks of a page in one language."""
    return re.findall(rf"^ *```{language}\n(.*?)^ *```", page, re.MULTILINE | re.DOTALL)


def typed(page: str) -> Iterator[list[str]]:
    """The words of every line that is to be typed, in a block or in backquotes; from a program's name on."""
    lines = [line for block in blocks(page, "sh") for line in block.splitlines()]
    for line in (*lines, *re.findall(r"`([^`\n]+)`", page)):
        try:
            words = shlex.split(line.split(" < ")[0], comments=True)
        except ValueError:  # the apostrophe of a sentence
            continue
        while words and (words[0] == "sudo" or re.fullmatch(r"[A-Z_]+=.*", words[0])):
            del words[: 3 if words[0] == "sudo" else 1]  # sudo -u user, and variables of one line
        if words:
            yield words


def commands(page: str) -> Iterator[list[str]]:
    """The words after the program's name of every line that calls the connector, in a container or not."""
    for words in typed(page):
        if Path(words[0]).name == "connector":
            yield words[1:]
        elif words[:4] == ["docker", "compose", "run", "--rm"]:
            yield words[5:] or [words[4]]
