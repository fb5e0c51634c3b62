"""YAML as far as settings need it: one document of mappings, lists and scalars, each with its line, or a clear refusal.

Anchors, aliases, tags and several documents are refused: they make a file say more than a person sees in it. What a
scalar *means* is not decided here: it stays text (:mod:`wire.yaml_scalars`).
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from yaml.reader import ReaderError

LARGEST_FILE = 1024 * 1024
"""Bytes of one settings file."""
DEEPEST = 20
"""Levels of mappings and lists within each other."""
_NO_TEXT = re.compile("[\x00\ud800-\udfff]")
"""What an escape such as "\\ud800" could smuggle into a value: half a character, or the end of a C string."""
_SHOWN = 60

__all__ = ["LARGEST_FILE", "MappingNode", "Mistake", "Node", "ScalarNode", "SequenceNode", "SettingsError", "shown"]


@dataclass(frozen=True)
class Mistake:
    """One thing wrong in a settings file. ``line`` counts from 1; 0 where no line is to blame."""

    file: str
    line: int
    key: str
    """Path of the key, such as ``sites[3].links[0].contracts``; empty for the file as a whole."""
    found: str
    """What stands there, texts in double quotes."""
    expected: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        key = f" {self.key}:" if self.key else ""
        return f"{place}:{key} found {self.found}, expected {self.expected}"


class SettingsError(Exception):
    """Settings that cannot be used. ``mistakes`` holds all of them; ``str()`` shows one a line."""

    def __init__(self, mistakes: Iterable[Mistake]) -> None:
        self.mistakes = list(mistakes)
        super().__init__("\n".join(str(one) for one in self.mistakes))


def read_text(path: Path) -> str:
    """The text of a file in UTF-8; raises :class:`SettingsError` where it cannot be read."""
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST_FILE + 1)
    except OSError as error:
        found = f"no readable file ({error.strerror or type(error).__name__})"
        raise SettingsError([Mistake(str(path), 0, "", found, "a YAML file")]) from error
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        found = f"a byte 0x{data[error.start]:02X} that is not UTF-8"
        raise SettingsError([Mistake(str(path), line, "", found, "a file saved as UTF-8")]) from error


def compose(text: str, file: str) -> Node | None:
    """The root node of the only document, ``None`` of an empty one; raises :class:`SettingsError`."""
    if len(text.encode("utf-8", "surrogatepass")) > LARGEST_FILE:
        raise SettingsError([Mistake(file, 0, "", "more than 1 MiB", "a settings file of at most 1 MiB")])
    try:
        refused = list(_refused(text, file))
        if refused:
            raise SettingsError(refused)
        root: Node | None = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = " ".join(part for part in (error.context, error.problem) if part)
        line = mark.line + 1 if mark else 0
        raise SettingsError([Mistake(file, line, "", f"{shown_line(text, line)} ({problem})", "YAML")]) from error
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        found = f"the character U+{ord(text[error.position]):04X}"
        raise SettingsError([Mistake(file, line, "", found, "text without control characters")]) from error
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        # PyYAML lets Python's own errors pass for an escape such as "\UFFFFFFFF" and for an endless %YAML number
        found = f"an escape or a number out of all bounds ({str(error).partition(';')[0]})"
        raise SettingsError([Mistake(file, 0, "", found, "YAML")]) from error
    return root


def _refused(text: str, file: str) -> Iterator[Mistake]:
    """What YAML allows and settings do not; found among the parser's events, before a tree is built."""
    depth = documents = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        line = event.start_mark.line + 1 if event.start_mark else 0
        if isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            if documents == 2:
                yield Mistake(file, line, "", "a second document (---)", "one document in a file")
        elif isinstance(event, yaml.AliasEvent):
            yield Mistake(file, line, "", f"the alias *{event.anchor}", "the value itself, written out")
        elif isinstance(event, yaml.NodeEvent):
            if event.anchor is not None:
                yield Mistake(file, line, "", f"the anchor &{event.anchor}", "the value alone; aliases are refused")
            tag = getattr(event, "tag", None)
            if tag is not None:
                yield Mistake(file, line, "", f"the tag {tag}", "the value alone; its key decides the type")
        if isinstance(event, yaml.ScalarEvent) and _NO_TEXT.search(event.value):
            yield Mistake(file, line, "", "an escape for what is no character", "text")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > DEEPEST:
                yield Mistake(file, line, "", f"{depth} levels within each other", f"at most {DEEPEST}")
                return
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def shown(text: str) -> str:
    """A value as messages show it: in quotes, on one line, not too long."""
    plain = "".join(one if one.isprintable() else " " for one in text)
    return f'"{plain[:_SHOWN]}…"' if len(plain) > _SHOWN else f'"{plain}"'


def shown_line(text: str, line: int) -> str:
    """A line of the file as messages show it."""
    lines = text.splitlines()
    return shown(lines[line - 1].strip()) if 0 < line <= len(lines) else "the end of the file"


def describe(node: Node | None) -> str:
    """What a node is, in plain words."""
    if isinstance(node, SequenceNode):
        return "a list"
    if isinstance(node, MappingNode):
        return "a group of keys"
    if isinstance(node, ScalarNode) and not is_nothing(node):
        return shown(node.value)
    return "nothing"


def is_nothing(node: Node) -> bool:
    """Whether a key stands there without a value."""
    return isinstance(node, ScalarNode) and node.style is None and node.value == ""


def line_of(node: Node) -> int:
    """The line a node begins on, from 1."""
    return int(node.start_mark.line) + 1
