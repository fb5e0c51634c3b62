"""Settings in YAML, read node by node into msgspec structs; every mistake at once, with its line (DESIGN §6.12).

``description`` of a field's ``msgspec.Meta`` documents it in the reference; ``examples`` and the constraints make up
the words of a mistake. ``extra`` may hold ``expected`` (better words than the type's), ``as`` (another converter of
:data:`wire.yaml_scalars.SCALARS`) and ``secret: True`` (what was found is never shown).
"""

import difflib
import enum
import re
import types
import typing
from pathlib import Path
from typing import Any, Generic, Literal, NamedTuple, TypeVar, Union

import msgspec
import yaml

from wire.yaml_nodes import (
    MappingNode,
    Mistake,
    Node,
    ScalarNode,
    SequenceNode,
    SettingsError,
    compose,
    describe,
    is_nothing,
    line_of,
    read_text,
)
from wire.yaml_scalars import ByteSize, NotThis, Seconds, number, whole
from wire.yaml_words import choices_of, expectation, scalar_of, unwrapped, within

__all__ = ["ByteSize", "Document", "Mistake", "Seconds", "SettingsError", "nearest", "open_document", "parse", "read"]

T = TypeVar("T")
_NOTHING_WORDS = ("", "null", "~", "none")
_BAD = object()
"""Stands for a value that could not be made; its mistakes are noted already."""


class Document(NamedTuple, Generic[T]):
    """A file that was read, with the line of each key, so that later checks speak of lines too."""

    value: T
    file: str
    lines: dict[str, int]

    def mistake(self, key: str, found: str, expected: str) -> Mistake:
        """A mistake at ``key``, or at the nearest thing around it that stands in the file."""
        place = key
        while place and place not in self.lines:
            place = re.sub(r"(\.[^.\[\]]+|\[[^\]]*\]|^[^.\[]+)$", "", place)
        return Mistake(self.file, self.lines.get(place, 0), key, found, expected)


def read(path: Path, kind: type[T]) -> T:
    """Reads a file; raises :class:`SettingsError` with every mistake in it."""
    return parse(read_text(path), str(path), kind)


def parse(text: str, file: str, kind: type[T]) -> T:
    """Reads text; ``file`` is the name that messages show. Raises :class:`SettingsError`."""
    return open_document(text, file, kind).value


def open_document(text: str, file: str, kind: type[T]) -> Document[T]:
    """As :func:`parse`, and keeps the lines."""
    root = compose(text, file)
    reader = _Reader(file)
    if root is None:
        start = yaml.Mark(file, 0, 0, 0, None, 0)
        root = MappingNode("tag:yaml.org,2002:map", [], start, start)
    value = reader.value(root, kind, "", {})
    if reader.mistakes:
        raise SettingsError(sorted(reader.mistakes, key=lambda one: one.line))
    return Document(value, file, reader.lines)


def nearest(word: str, known: typing.Iterable[str]) -> str:
    """``did you mean "…"?`` with the nearest known word, or the list of them where none is near."""
    words = sorted(known)
    close = difflib.get_close_matches(word, words, n=1, cutoff=0.6)
    if close:
        return f'did you mean "{close[0]}"?'
    return f"one of {', '.join(words)}" if words else "none, because none is known"


class _Reader:
    """One pass over one file."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.mistakes: list[Mistake] = []
        self.lines: dict[str, int] = {}

    def value(self, node: Node, kind: Any, key: str, meta: dict[str, Any]) -> Any:
        """The node as the declared type, or ``_BAD`` with its mistakes noted."""
        self.lines.setdefault(key, line_of(node))
        kind, meta = unwrapped(kind, meta)
        origin = typing.get_origin(kind)
        if origin in (Union, types.UnionType):
            return self._union(node, typing.get_args(kind), key, meta)
        if kind is Any:
            return self._anything(node, key)
        if origin is Literal or (isinstance(kind, type) and issubclass(kind, enum.Enum)):
            return self._choice(node, kind, key, meta)
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            return self._struct(node, kind, key, meta)
        container = origin or kind
        if container in (list, tuple, set, frozenset):
            return self._list(node, kind, container, key, meta)
        if container is dict:
            return self._dict(node, kind, key, meta)
        return self._scalar(node, kind, key, meta)

    def wrong(self, node: Node, key: str, meta: dict[str, Any], expected: str, found: str = "") -> Any:
        """Notes a mistake at the node."""
        if meta.get("secret") and isinstance(node, ScalarNode) and not is_nothing(node):
            found = "a value that is not shown"
        self.mistakes.append(Mistake(self.file, line_of(node), key, found or describe(node), expected))
        return _BAD

    def _scalar(self, node: Node, kind: Any, key: str, meta: dict[str, Any]) -> Any:
        scalar = scalar_of(kind, meta)
        if not isinstance(node, ScalarNode) or is_nothing(node):
            return self.wrong(node, key, meta, expectation(kind, meta))
        try:
            value = scalar.convert(node.value)
        except NotThis as error:
            return self.wrong(node, key, meta, str(error) or expectation(kind, meta))
        if not within(value, meta):
            return self.wrong(node, key, meta, expectation(kind, meta))
        return value

    def _choice(self, node: Node, kind: Any, key: str, meta: dict[str, Any]) -> Any:
        choices = choices_of(kind)
        if not isinstance(node, ScalarNode) or is_nothing(node):
            return self.wrong(node, key, meta, expectation(kind, meta))
        if node.value in choices:
            return choices[node.value]
        close = difflib.get_close_matches(node.value, list(choices), n=1, cutoff=0.6)
        hint = f'; did you mean "{close[0]}"?' if close else ""
        return self.wrong(node, key, meta, expectation(kind, meta) + hint)

    def _union(self, node: Node, members: tuple[Any, ...], key: str, meta: dict[str, Any]) -> Any:
        kinds = [one for one in members if one is not types.NoneType]
        plain = isinstance(node, ScalarNode) and node.style is None
        if len(kinds) < len(members) and plain and node.value.lower() in _NOTHING_WORDS:
            return None
        fitting = [one for one in kinds if _fits(node, one)] or kinds[:1]
        first: list[Mistake] = []
        before = self.mistakes
        for one in fitting:
            self.mistakes = []
            value = self.value(node, one, key, meta)
            noted, self.mistakes = self.mistakes, before
            if not noted:
                return value
            first = first or noted
        self.mistakes.extend(first)
        return _BAD

    def _anything(self, node: Node, key: str) -> Any:
        """Without a declared type a scalar reads as in JSON: plain numbers and truths, all else text."""
        if isinstance(node, SequenceNode):
            return [self.value(one, Any, f"{key}[{index}]", {}) for index, one in enumerate(node.value)]
        if isinstance(node, MappingNode):
            return {name: self.value(value, Any, path, {}) for name, path, value in self._pairs(node, key)}
        if not isinstance(node, ScalarNode) or node.style is not None:
            return node.value
        if node.value in ("", "null", "~"):
            return None
        if node.value in ("true", "false"):
            return node.value == "true"
        for convert in (whole, number):
            try:
                return convert(node.value)
            except NotThis:
                continue
        return node.value

    def _list(self, node: Node, kind: Any, container: Any, key: str, meta: dict[str, Any]) -> Any:
        if not isinstance(node, SequenceNode):
            return self.wrong(node, key, meta, expectation(kind, meta))
        member = (typing.get_args(kind) or (Any,))[0]
        values = [self.value(one, member, f"{key}[{index}]", {}) for index, one in enumerate(node.value)]
        if not within(values, meta):
            return self.wrong(node, key, meta, expectation(kind, meta), f"a list of {len(values)}")
        if any(value is _BAD for value in values):
            return _BAD
        return container(values)

    def _dict(self, node: Node, kind: Any, key: str, meta: dict[str, Any]) -> Any:
        if not isinstance(node, MappingNode):
            return self.wrong(node, key, meta, expectation(kind, meta))
        name_kind, value_kind = typing.get_args(kind) or (str, Any)
        made: dict[Any, Any] = {}
        for name, path, value in self._pairs(node, key):
            name_node = next(one for one, _ in node.value if one.value == name)
            made_name = self.value(name_node, name_kind, path, {})
            made_value = self.value(value, value_kind, path, {})
            if made_name is not _BAD:
                made[made_name] = made_value
        return _BAD if any(one is _BAD for one in made.values()) else made

    def _pairs(self, node: MappingNode, key: str) -> typing.Iterator[tuple[str, str, Node]]:
        """Name, path and value of each key; notes keys that are not plain text or stand twice."""
        seen: dict[str, int] = {}
        for name_node, value in node.value:
            if not isinstance(name_node, ScalarNode):
                self.wrong(name_node, key, {}, "a name, a colon and a value")
                continue
            name = name_node.value
            path = f"{key}.{name}" if key else name
            if name in seen:
                self.wrong(name_node, path, {}, "each key once", f"the key a second time, first in line {seen[name]}")
                continue
            seen[name] = line_of(name_node)
            self.lines[path] = seen[name]
            yield name, path, value

    def _struct(self, node: Node, kind: type[msgspec.Struct], key: str, meta: dict[str, Any]) -> Any:
        if not isinstance(node, MappingNode):
            return self.wrong(node, key, meta, expectation(kind, meta))
        hints = typing.get_type_hints(kind, include_extras=True)
        fields = {one.encode_name: one for one in msgspec.structs.fields(kind)}
        values: dict[str, Any] = {}
        for name, path, value in self._pairs(node, key):
            if name in fields:
                values[fields[name].name] = self.value(value, hints[fields[name].name], path, {})
            else:
                line = self.lines[path]
                expected = f"a known key: {nearest(name, fields)}"
                self.mistakes.append(Mistake(self.file, line, path, "an unknown key", expected))
        for name, field in fields.items():
            if field.name not in values and field.required:
                path = f"{key}.{name}" if key else name
                values[field.name] = _BAD
                expected = expectation(hints[field.name], {})
                line = line_of(node)
                self.mistakes.append(Mistake(self.file, line, path, "nothing (the key is missing)", expected))
        if any(value is _BAD for value in values.values()):
            return _BAD
        try:
            return kind(**values)
        except (ValueError, TypeError) as error:  # a struct's own __post_init__
            return self.wrong(node, key, meta, str(error))


def _fits(node: Node, kind: Any) -> bool:
    """Whether a node has the outer form of a type, to choose among the members of a union."""
    kind, _ = unwrapped(kind, {})
    container = typing.get_origin(kind) or kind
    if container in (list, tuple, set, frozenset):
        return isinstance(node, SequenceNode)
    if container is dict or (isinstance(kind, type) and issubclass(kind, msgspec.Struct)):
        return isinstance(node, MappingNode)
    return isinstance(node, ScalarNode)
