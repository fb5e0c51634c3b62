"""What the files say of each other: names that must exist or be unique, and times that must follow one another."""

import ipaddress
from collections.abc import Iterable, Iterator
from typing import Any

from collector.inventory.model import Meeting, Rehearsal, Sheet
from collector.inventory.platforms import Endpoint
from collector.inventory.responder_checks import responders
from collector.inventory.slot_checks import slots
from wire.yaml_nodes import shown
from wire.yaml_settings import Document, Mistake, nearest

_Sheets = list[Document[Sheet]]
_HOST_PROBES = ("dns", "tcp", "tls", "stun", "sip", "icmp")


_WHOSE = {"id": "an id", "circuit": "a circuit number", "address": "an address"}


def mistakes_among(sheets: _Sheets) -> list[Mistake]:
    """Every mistake that only shows when all files are read together, in the order of files and lines."""
    found = [
        *_twice(sheets, ("sites", "platforms", "meetings", "contacts", "anchors", "udp_checks", "responders")),
        *_contacts(sheets),
        *_contracts(sheets),
        *_meetings(sheets),
        *_endpoints(sheets),
        *_anchors(sheets),
        *_udp(sheets),
        *responders(sheets),
        *slots(sheets),
    ]
    return sorted(found, key=lambda one: (one.file, one.line))


def _twice(sheets: _Sheets, sections: Iterable[str]) -> Iterator[Mistake]:
    """Ids that stand twice in a section, over all files; and within a site or a platform."""
    for section in sections:
        yield from _repeated(
            (sheet, f"{section}[{index}].id", one.id)
            for sheet in sheets
            for index, one in enumerate(getattr(sheet.value, section))
        )
    yield from _repeated(
        (sheet, f"sites[{index}].links[{at}].circuit", link.circuit)
        for sheet in sheets
        for index, site in enumerate(sheet.value.sites)
        for at, link in enumerate(site.links)
    )
    for outer, inner in (("sites", ("links",)), ("sites", ("rooms",)), ("platforms", ("endpoints", "missing"))):
        for sheet in sheets:
            for index, one in enumerate(getattr(sheet.value, outer)):
                yield from _repeated(
                    (sheet, f"{outer}[{index}].{part}[{place}].id", each.id)
                    for part in inner
                    for place, each in enumerate(getattr(one, part))
                )


def _repeated(entries: Iterable[tuple[Document[Sheet], str, str]]) -> Iterator[Mistake]:
    first: dict[str, tuple[Document[Sheet], str]] = {}
    for sheet, key, name in entries:
        if name in first:
            other, place = first[name]
            where = f"{other.file}:{other.lines.get(place, 0)}"
            yield sheet.mistake(
                key, f"{shown(name)} again, first in {where}", f"{_WHOSE[key.rpartition('.')[2]]} of its own"
            )
        else:
            first[name] = (sheet, key)


def _ids(sheets: _Sheets, section: str) -> set[str]:
    return {one.id for sheet in sheets for one in getattr(sheet.value, section)}


def _contacts(sheets: _Sheets) -> Iterator[Mistake]:
    known = _ids(sheets, "contacts")
    for sheet in sheets:
        for key, name in _named_contacts(sheet.value):
            if name not in known:
                yield sheet.mistake(key, shown(name), f"the id of a contact: {nearest(name, known)}")


def _named_contacts(sheet: Sheet) -> Iterator[tuple[str, str]]:
    if sheet.province:
        yield from ((f"province.contacts[{at}]", name) for at, name in enumerate(sheet.province.contacts))
    for index, site in enumerate(sheet.sites):
        place = f"sites[{index}]"
        yield from ((f"{place}.contacts[{at}]", name) for at, name in enumerate(site.contacts))
        yield from (
            (f"{place}.links[{at}].contact", link.contact) for at, link in enumerate(site.links) if link.contact
        )
        yield from ((f"{place}.plan_b[{at}].contact", one.contact) for at, one in enumerate(site.plan_b) if one.contact)


def _contracts(sheets: _Sheets) -> Iterator[Mistake]:
    for sheet in sheets:
        for index, site in enumerate(sheet.value.sites):
            for at, link in enumerate(site.links):
                before: Any = None
                for number, contract in enumerate(link.contracts):
                    key = f"sites[{index}].links[{at}].contracts[{number}]"
                    first, last = contract.from_day, contract.to_day
                    if last is not None and last < first:
                        yield sheet.mistake(f"{key}.to", shown(str(last)), f"a day not before {first} (its from)")
                    if before is not None and first <= before.from_day:
                        yield sheet.mistake(
                            f"{key}.from", shown(str(first)), f"a day after {before.from_day}, oldest first"
                        )
                    elif before is not None and before.to_day is not None and first <= before.to_day:
                        words = f"a day after {before.to_day}, when the contract before it ends"
                        yield sheet.mistake(f"{key}.from", shown(str(first)), words)
                    before = contract


def _meetings(sheets: _Sheets) -> Iterator[Mistake]:
    sites, platforms = _ids(sheets, "sites"), _ids(sheets, "platforms")
    for sheet in sheets:
        for index, meeting in enumerate(sheet.value.meetings):
            key = f"meetings[{index}]"
            if meeting.platform is not None and meeting.platform not in platforms:
                words = f"the id of a platform: {nearest(meeting.platform, platforms)}"
                yield sheet.mistake(f"{key}.platform", shown(meeting.platform), words)
            for at, site in enumerate(meeting.sites if meeting.sites != "all" else []):
                if site not in sites:
                    words = f"the id of a site: {nearest(site, sites)}"
                    yield sheet.mistake(f"{key}.sites[{at}]", shown(site), words)
            yield from _times(sheet, key, meeting)


def _times(sheet: Document[Sheet], key: str, meeting: Meeting) -> Iterator[Mistake]:
    start = f"{meeting.start:%Y-%m-%d %H:%M}"
    if meeting.doors is not None and meeting.doors > meeting.start:
        yield sheet.mistake(f"{key}.doors", _moment(meeting.doors), f"a time not after the start, {start}")
    if meeting.end is not None and meeting.end <= meeting.start:
        yield sheet.mistake(f"{key}.end", _moment(meeting.end), f"a time after the start, {start}")
    for at, one in enumerate(meeting.rehearsals):
        if one.end is not None and one.end <= one.start:
            yield sheet.mistake(f"{key}.rehearsals[{at}].end", _moment(one.end), _after(one))
    days = [meeting.start.date(), *meeting.repeat]
    for at, day in enumerate(meeting.repeat):
        if day in days[: at + 1]:
            yield sheet.mistake(f"{key}.repeat[{at}]", f"{shown(str(day))} again", "each day once")


def _after(rehearsal: Rehearsal) -> str:
    return f"a time after its start, {rehearsal.start:%Y-%m-%d %H:%M}"


def _moment(moment: Any) -> str:
    return shown(f"{moment:%Y-%m-%d %H:%M}")


def _endpoints(sheets: _Sheets) -> Iterator[Mistake]:
    for sheet in sheets:
        for index, platform in enumerate(sheet.value.platforms):
            key = f"platforms[{index}]"
            if not platform.endpoints and not platform.missing:
                yield sheet.mistake(key, "neither endpoints nor missing", "what can be measured, or whom to ask for it")
            for at, endpoint in enumerate(platform.endpoints):
                yield from _endpoint(sheet, f"{key}.endpoints[{at}]", endpoint)


def _endpoint(sheet: Document[Sheet], key: str, endpoint: Endpoint) -> Iterator[Mistake]:
    if endpoint.probe == "http":
        if not endpoint.url.startswith(("http://", "https://")):
            found = shown(endpoint.url) if endpoint.url else "nothing"
            yield sheet.mistake(f"{key}.url", found, "the address of a page, such as https://zoom.us/join")
    elif not endpoint.host:
        yield sheet.mistake(f"{key}.host", "nothing", f"a name or address, which {endpoint.probe} measures")
    if endpoint.probe == "tcp" and endpoint.port is None:
        yield sheet.mistake(f"{key}.port", "nothing", "a port from 1 to 65535, because tcp has no usual one")
    yield from _controls(sheet, key, endpoint.controls)


def _udp(sheets: _Sheets) -> Iterator[Mistake]:
    for sheet in sheets:
        for index, one in enumerate(sheet.value.udp_checks):
            yield from _controls(sheet, f"udp_checks[{index}]", one.controls)


def _controls(sheet: Document[Sheet], key: str, controls: list[str]) -> Iterator[Mistake]:
    for at, control in enumerate(controls):
        host, colon, port = control.rpartition(":")
        if not (host and colon and port.isdecimal() and 0 < int(port) < 65_536):
            words = "host:port, such as stun.l.google.com:19302"
            yield sheet.mistake(f"{key}.controls[{at}]", shown(control), words)


def _anchors(sheets: _Sheets) -> Iterator[Mistake]:
    yield from _repeated(
        (sheet, f"anchors[{index}].address", anchor.address)
        for sheet in sheets
        for index, anchor in enumerate(sheet.value.anchors)
    )
    for sheet in sheets:
        for index, anchor in enumerate(sheet.value.anchors):
            try:
                ipaddress.ip_address(anchor.address)
            except ValueError:
                words = "an IP address, because a name would test the resolver too"
                yield sheet.mistake(f"anchors[{index}].address", shown(anchor.address), words)
