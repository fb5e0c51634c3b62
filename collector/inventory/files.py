"""Reading the inventory's folder into one :class:`Inventory`, or every mistake in all of its files at once."""

import hashlib
from pathlib import Path
from typing import Any

import msgspec

from collector.inventory.checks import mistakes_among
from collector.inventory.link_measuring import LinkHistory, ResponderPlace, Slots
from collector.inventory.model import (
    AnchorHost,
    Cadence,
    Contact,
    Contract,
    Link,
    Meeting,
    Names,
    Province,
    Quiet,
    Sheet,
    Site,
    UdpCheck,
)
from collector.inventory.platforms import Platform
from wire.yaml_nodes import read_text
from wire.yaml_settings import Document, Mistake, SettingsError, open_document

SINGLE = ("province", "names", "cadence", "quiet", "slots", "link_history", "time_server")
"""Sections that stand in one file only."""
SUFFIXES = (".yaml", ".yml")


class Inventory(msgspec.Struct, frozen=True, kw_only=True):
    """One loaded version of the inventory. Immutable; a changed file makes a new one."""

    hash: str
    """SHA-256 over the names and texts of its files: the version that the store keeps."""
    files: dict[str, str]
    """File name to text, as read."""
    province: Province
    sites: dict[str, Site]
    """By id, in the order of the files."""
    platforms: dict[str, Platform]
    meetings: dict[str, Meeting]
    contacts: dict[str, Contact]
    anchors: tuple[AnchorHost, ...]
    udp_checks: tuple[UdpCheck, ...]
    names: Names
    cadence: Cadence
    quiet: Quiet
    responders: dict[str, ResponderPlace]
    """By id, in the order of the files: the order of preference."""
    slots: Slots
    link_history: LinkHistory
    time_server: str = ""

    def link(self, site: str, link: str) -> Link | None:
        """A link of a site, or ``None``."""
        found = self.sites.get(site)
        return next((one for one in found.links if one.id == link), None) if found else None

    def sites_of(self, meeting: Meeting) -> list[str]:
        """Ids of the sites that take part, in the inventory's order."""
        return [site for site in self.sites if meeting.sites == "all" or site in meeting.sites]


def contract_on(link: Link, day: Any) -> Contract | None:
    """The contract of a link that holds on a ``date``, or ``None`` before the first and after the last."""
    held = [one for one in link.contracts if one.from_day <= day and (one.to_day is None or day <= one.to_day)]
    return max(held, key=lambda one: one.from_day, default=None)


def load(folder: Path) -> Inventory:
    """Reads every ``*.yaml`` of a folder; raises :class:`SettingsError` with all mistakes of all files."""
    try:
        paths = sorted(path for path in folder.iterdir() if path.suffix in SUFFIXES and not path.name.startswith("."))
    except OSError as error:
        found = f"no readable folder ({error.strerror or type(error).__name__})"
        raise SettingsError([Mistake(str(folder), 0, "", found, "the folder of the province's YAML files")]) from error
    if not paths:
        raise SettingsError([Mistake(str(folder), 0, "", "no file *.yaml", "the province's YAML files")])
    texts: dict[str, str] = {}
    mistakes: list[Mistake] = []
    for path in paths:
        if path.suffix != SUFFIXES[0]:
            mistakes.append(Mistake(str(path), 0, "", "a file *.yml", "the name *.yaml, or it would be overlooked"))
            continue
        try:
            texts[path.name] = read_text(path)
        except SettingsError as error:
            mistakes += error.mistakes
    if mistakes:
        raise SettingsError(mistakes)
    return from_texts(texts, str(folder))


def from_texts(texts: dict[str, str], folder: str = "") -> Inventory:
    """The inventory of files given as texts: those just read, or a version kept in the store."""
    sheets: list[Document[Sheet]] = []
    mistakes: list[Mistake] = []
    for name, text in sorted(texts.items()):
        try:
            sheets.append(open_document(text, f"{folder}/{name}" if folder else name, Sheet))
        except SettingsError as error:
            mistakes += error.mistakes
    if not mistakes:  # what one file says of another is judged once all can be read
        mistakes = [*_singles(sheets, folder), *mistakes_among(sheets)]
    if mistakes:
        raise SettingsError(mistakes)
    return _joined(sheets, texts)


def _singles(sheets: list[Document[Sheet]], folder: str) -> list[Mistake]:
    """Sections that are there twice, and the province that is not there at all."""
    found = []
    for section in SINGLE:
        holders = [sheet for sheet in sheets if getattr(sheet.value, section)]
        again = [sheet.mistake(section, f"it again, first in {holders[0].file}", "it once") for sheet in holders[1:]]
        found += again
        if section == "province" and not holders:
            found.append(Mistake(folder, 0, "province", "nothing in any file", "a group of keys (id, name, …)"))
    return found


def _joined(sheets: list[Document[Sheet]], texts: dict[str, str]) -> Inventory:
    values = [sheet.value for sheet in sheets]

    def single(section: str, default: Any) -> Any:
        return next((found for one in values if (found := getattr(one, section)) is not None), default)

    def by_id(section: str) -> Any:
        return {one.id: one for value in values for one in getattr(value, section)}

    return Inventory(
        hash=hash_of(texts),
        files=dict(sorted(texts.items())),
        province=single("province", None),
        sites=by_id("sites"),
        platforms=by_id("platforms"),
        meetings=by_id("meetings"),
        contacts=by_id("contacts"),
        anchors=tuple(by_id("anchors").values()),
        udp_checks=tuple(by_id("udp_checks").values()),
        names=single("names", Names()),
        cadence=single("cadence", Cadence()),
        quiet=single("quiet", Quiet()),
        responders=by_id("responders"),
        slots=single("slots", Slots()),
        link_history=single("link_history", LinkHistory()),
        time_server=next((one.time_server for one in values if one.time_server), ""),
    )


def hash_of(texts: dict[str, str]) -> str:
    """SHA-256 over names and texts, whatever their order."""
    return hashlib.sha256(msgspec.json.encode(sorted(texts.items()))).hexdigest()
