"""Which addresses of the network lead to the world, and not to what only we can reach."""

from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

_NAT64 = IPv6Network("64:ff9b::/96")


def is_public(text: str) -> bool:
    """Tell whether an address is globally routable, also one that is wrapped in an IPv6 one.

    Raises:
        ValueError: it is no address.
    """
    address = _unwrapped(ip_address(text))
    special = (
        address.is_multicast or address.is_reserved or getattr(address, "is_site_local", False)
    )
    return address.is_global and not special


def _unwrapped(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """Return where the packets go at last: IPv4-mapped, 6to4 and NAT64 addresses hold another."""
    if isinstance(address, IPv4Address):
        return address
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address
