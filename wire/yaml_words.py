"""What a declared type expects of a file, in plain words: for the mistakes and for the reference."""

import enum
import re
import types
import typing
from collections.abc import Callable
from typing import Annotated, Any, Literal, Union

import msgspec

from wire.yaml_nodes import shown
from wire.yaml_scalars import SCALARS, Scalar, in_words


def unwrapped(kind: Any, meta: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The type without ``Annotated``, and what its Metas say together."""
    found = dict(meta)
    while typing.get_origin(kind) is Annotated:
        kind, *extras = typing.get_args(kind)
        for extra in extras:
            if isinstance(extra, msgspec.Meta):
                found.update(
                    {
                        name: value
                        for name in (*LIMITS, "pattern", "min_length", "max_length", "examples", "description")
                        if (value := getattr(extra, name)) is not None
                    }
                )
                found.update(extra.extra or {})
    return kind, found


def scalar_of(kind: Any, meta: dict[str, Any]) -> Scalar:
    """How a type reads its text; raises ``TypeError`` for a type that no settings can have."""
    try:
        return SCALARS[meta.get("as", kind)]
    except KeyError:
        raise TypeError(f"settings of type {kind!r} cannot be read from YAML; add a converter to SCALARS") from None


def choices_of(kind: Any) -> dict[str, Any]:
    """The values of a ``Literal`` or enum by their text."""
    if typing.get_origin(kind) is Literal:
        return {str(one): one for one in typing.get_args(kind)}
    return {str(one.value): one for one in kind}


LIMITS: dict[str, tuple[Callable[[Any, Any], bool], str]] = {
    "ge": (lambda value, limit: value >= limit, "{} or more"),
    "gt": (lambda value, limit: value > limit, "more than {}"),
    "le": (lambda value, limit: value <= limit, "{} or less"),
    "lt": (lambda value, limit: value < limit, "less than {}"),
}


def within(value: Any, meta: dict[str, Any]) -> bool:
    """Whether a value keeps the constraints of its Meta, as msgspec means them."""
    if any(name in meta and not holds(value, meta[name]) for name, (holds, _) in LIMITS.items()):
        return False
    if "pattern" in meta and not re.search(meta["pattern"], value):
        return False
    length = len(value) if isinstance(value, str | list | dict) else 0
    return bool(meta.get("min_length", 0) <= length <= meta.get("max_length", length))


def expectation(kind: Any, meta: dict[str, Any]) -> str:
    """What is expected, in plain words: the type, its limits, an example."""
    kind, meta = unwrapped(kind, meta)
    words = str(meta.get("expected") or type_words(kind, meta))
    example = meta.get("examples") or []
    text = _example_text(example[0]) if example else ""
    if not text and "as" in meta:
        text = SCALARS[meta["as"]].example
    elif not text and kind in SCALARS and "expected" not in meta:
        text = SCALARS[kind].example
    return f"{words}, such as {text}" if text else words


def type_words(kind: Any, meta: dict[str, Any]) -> str:
    origin = typing.get_origin(kind)
    if origin in (Union, types.UnionType):
        kinds = [one for one in typing.get_args(kind) if one is not types.NoneType]
        return " or ".join(type_words(*unwrapped(one, {})) for one in kinds)
    if origin is Literal or (isinstance(kind, type) and issubclass(kind, enum.Enum)):
        return f"one of {', '.join(choices_of(kind))}"
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return f"a group of keys ({', '.join(one.encode_name for one in msgspec.structs.fields(kind))})"
    container = origin or kind
    if container in (list, tuple, set, frozenset):
        return f"a list{_length_words(meta, 'entries')}"
    if container is dict:
        return "a group of keys"
    words = scalar_of(kind, meta).expected
    if kind is str:
        return words + _length_words(meta, "characters") + _pattern_words(meta)
    return words + _limit_words(meta)


def _limit_words(meta: dict[str, Any]) -> str:
    limits = {name: in_words(meta[name]) for name in LIMITS if name in meta}
    if "ge" in limits and "le" in limits:
        return f" from {limits['ge']} to {limits['le']}"
    words = " and ".join(LIMITS[name][1].format(limit) for name, limit in limits.items())
    return f" of {words}" if words else ""


def _length_words(meta: dict[str, Any], unit: str) -> str:
    least, most = meta.get("min_length"), meta.get("max_length")
    if least and most:
        return f" of {least} to {most} {unit}"
    if least:
        return f" of at least {least} {unit if least > 1 else unit.replace('ies', 'y').removesuffix('s')}"
    return f" of at most {most} {unit}" if most else ""


def _pattern_words(meta: dict[str, Any]) -> str:
    """A pattern is shown only where no example says it better."""
    return f" that matches {meta['pattern']}" if "pattern" in meta and not meta.get("examples") else ""


def _example_text(example: Any) -> str:
    if isinstance(example, list):
        return "[" + ", ".join(_example_text(one) for one in example) + "]"
    return shown(example).strip('"') if isinstance(example, str) else str(example)
