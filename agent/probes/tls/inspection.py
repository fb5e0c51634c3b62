"""Signs of a proxy that opens TLS and signs anew: heuristics, named as such in what they yield.

1. The issuer's name contains a product's (:data:`PRODUCTS`). These firms run no public CA, so such an issuer on a
   public host is theirs or claims to be.
2. One issuer that nobody trusts signs for public hosts of several sites: two platforms never share a private CA.

Sign 2 is used only for hosts with a public address: a province's own servers may well share a private CA.
"""

from agent.sites import site_of

PRODUCTS = {
    "fortinet": "Fortinet FortiGate",
    "fortigate": "Fortinet FortiGate",
    "zscaler": "Zscaler",
    "palo alto networks": "Palo Alto Networks",
    "blue coat": "Blue Coat ProxySG",
    "bluecoat": "Blue Coat ProxySG",
    "sophos": "Sophos",
    "watchguard": "WatchGuard",
    "check point": "Check Point",
    "cisco umbrella": "Cisco Umbrella",
    "netskope": "Netskope",
    "barracuda": "Barracuda",
    "sonicwall": "SonicWall",
    "squid": "Squid",
    "sangfor": "Sangfor",
    "hillstone": "Hillstone",
    "huawei usg": "Huawei USG",
    "untangle": "Untangle",
    "forcepoint": "Forcepoint",
    "websense": "Forcepoint",
    "smoothwall": "Smoothwall",
    "kaspersky anti-virus": "Kaspersky (on this machine)",
    "eset ssl filter": "ESET (on this machine)",
    "avast": "Avast (on this machine)",
    "avg technologies": "AVG (on this machine)",
    "bitdefender": "Bitdefender (on this machine)",
    "mitmproxy": "mitmproxy",
}
"""Parts of issuer names (lower case) and the product that writes them."""

MOST_ISSUERS = 64


def product(issuer: str) -> str | None:
    """The inspection product that an issuer's name gives away, if any."""
    name = issuer.casefold()
    return next((known for part, known in PRODUCTS.items() if part in name), None)


class Issuers:
    """Untrusted issuers and the sites whose hosts they signed for."""

    def __init__(self) -> None:
        self._sites: dict[str, set[str]] = {}

    def refused(self, issuer: str, host: str) -> int:
        """Notes an untrusted issuer on a public host; returns for how many sites it has signed by now."""
        if len(self._sites) >= MOST_ISSUERS and issuer not in self._sites:
            self._sites.pop(next(iter(self._sites)))
        sites = self._sites.setdefault(issuer, set())
        sites.add(site_of(host))
        return len(sites)

    def verified(self, host: str) -> None:
        """A host's certificate was good: nobody stands between now."""
        site = site_of(host)
        for issuer in [one for one, sites in self._sites.items() if site in sites]:
            self._sites[issuer].discard(site)
            if not self._sites[issuer]:
                del self._sites[issuer]
