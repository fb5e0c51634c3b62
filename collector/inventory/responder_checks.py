"""What the files say of responders: sites that must exist, and ports that must not be taken twice on one machine."""

from collections.abc import Iterator

from collector.inventory.link_measuring import ResponderPlace
from collector.inventory.model import Sheet
from wire.yaml_nodes import shown
from wire.yaml_settings import Document, Mistake, nearest

_Sheets = list[Document[Sheet]]


def responders(sheets: _Sheets) -> Iterator[Mistake]:
    """Every mistake in the section ``responders``."""
    sites = {one.id for sheet in sheets for one in sheet.value.sites}
    for sheet in sheets:
        for index, one in enumerate(sheet.value.responders):
            key = f"responders[{index}]"
            yield from _sites(sheet, key, one, sites)
            if one.udp_port == one.stamp_port:
                words = f"a port other than {one.udp_port} (udp_port), because both are UDP"
                yield sheet.mistake(f"{key}.stamp_port", shown(str(one.stamp_port)), words)
    yield from _beside(sheets)
    yield from _ports(sheets)


def _sites(sheet: Document[Sheet], key: str, one: ResponderPlace, sites: set[str]) -> Iterator[Mistake]:
    if one.site is not None and one.site not in sites:
        yield sheet.mistake(f"{key}.site", shown(one.site), f"the id of a site: {nearest(one.site, sites)}")
    for at, name in enumerate(one.sites):
        if name not in sites:
            yield sheet.mistake(f"{key}.sites[{at}]", shown(name), f"the id of a site: {nearest(name, sites)}")
        elif name == one.site:
            words = f"a site other than {name}, before whose line it stands: it cannot measure that one"
            yield sheet.mistake(f"{key}.sites[{at}]", shown(name), words)


def _beside(sheets: _Sheets) -> Iterator[Mistake]:
    """One responder alone is started beside the collector."""
    first = ""
    for sheet in sheets:
        for index, one in enumerate(sheet.value.responders):
            if one.host:
                continue
            if first:
                words = f"its host: {first} already stands beside the collector, which starts one"
                yield sheet.mistake(f"responders[{index}].host", "nothing", words)
            first = first or one.id


def _ports(sheets: _Sheets) -> Iterator[Mistake]:
    """Two responders under one name are two processes on one machine, or one port forwarded twice."""
    held: dict[tuple[str, str, int], str] = {}
    for sheet in sheets:
        for index, one in enumerate(sheet.value.responders):
            if not one.host:
                continue
            ports = {"tcp_port": ("tcp", one.tcp_port), "udp_port": ("udp", one.udp_port)}
            ports["stamp_port"] = ("udp", one.stamp_port)
            for name, (protocol, port) in ports.items():
                other = held.setdefault((one.host, protocol, port), one.id)
                if other != one.id:
                    words = f"a port of its own: {other} has {port}/{protocol} of {one.host}"
                    yield sheet.mistake(f"responders[{index}].{name}", shown(str(port)), words)
