"""Which addresses and URLs this service may call on a user's behalf.

The rules say what is allowed, not what is forbidden: `ipaddress.is_global` of Python 3.11 takes
192.0.0.8, 64:ff9b::7f00:1 (NAT64 of 127.0.0.1) and 2002:7f00:1:: (6to4 of it) for public addresses.
Sources: IANA's special-purpose address registries for IPv4 and IPv6.

Passing `check_url` is not enough to call a URL: its name may resolve to anything, and to something else
a moment later. `routing.transport.guarded_client` holds the address it dials against `is_public`.
"""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from urllib.parse import urlsplit

HTTPS_PORTS = frozenset({443, 8443})
HTTP_PORTS = frozenset({80, 8080})

_NOT_PUBLIC_V4 = tuple(
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "168.63.129.16/32",  # announced as public, but answers Azure's guests with their own platform
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.31.196.0/24",
        "192.52.193.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "192.175.48.0/24",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
    )
)
_GLOBAL_UNICAST_V6 = IPv6Network("2000::/3")
_NOT_PUBLIC_V6 = tuple(
    IPv6Network(network)
    for network in ("2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20")
)


# Where clouds other than by link-local address tell machines their secrets: Azure, Alibaba, AWS by IPv6.
_METADATA = frozenset({"168.63.129.16", "100.100.100.200", "fd00:ec2::254"})


class ForbiddenURL(Exception):
    """A URL, or the address behind it, that this service does not call.

    `code` is stable: url_malformed, url_scheme, url_credentials, url_port, url_host, url_address.
    `message` is for the person who gave the URL. It never repeats the URL, which may be signed.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def is_public(address: str) -> bool:
    """Whether an IP address belongs to the public Internet; False for what is no address at all."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    if isinstance(parsed, IPv6Address):
        if parsed.ipv4_mapped is None:
            return _is_public_v6(parsed)
        parsed = parsed.ipv4_mapped
    return _is_public_v4(parsed)


def is_dialled(address: str, *, allow_private: bool) -> bool:
    """Whether we call this address at all.

    Private ones are a matter of policy. Link-local ones, where clouds keep their machines' credentials, and
    those that name no one machine are never anybody's receiver.
    """
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped is not None:
        parsed = parsed.ipv4_mapped
    never = parsed.is_link_local or parsed.is_multicast or parsed.is_unspecified or str(parsed) in _METADATA
    return is_public(address) or (allow_private and not never)


def check_url(url: str, *, allow_private: bool, allow_http: bool) -> None:
    """Raise `ForbiddenURL` unless `url` is one that we would call, as far as its text can tell.

    https on the ports 443 and 8443; http too, and with it 80 and 8080, if `allow_http`. With
    `allow_private` any port and any address will do. Names are not resolved here.
    """
    if not url.isprintable() or any(character in url for character in ' \\"<>'):
        raise ForbiddenURL("url_malformed", "The URL holds characters that must be percent-encoded.")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ForbiddenURL("url_malformed", "The URL cannot be parsed.") from None
    if parts.scheme not in ("https", "http") or (parts.scheme == "http" and not allow_http):
        raise ForbiddenURL("url_scheme", f"The URL must begin with {'http or ' * allow_http}https.")
    if "@" in parts.netloc:
        raise ForbiddenURL("url_credentials", "The URL must not carry a user name or password.")
    if not host:
        raise ForbiddenURL("url_host", "The URL names no host.")
    _check_port(443 if parts.scheme == "https" else 80, port, allow_private, allow_http)
    _check_host(host, allow_private)


def without_query(url: str) -> str:
    """The URL for people and logs: without its query, which may be what makes it work for whoever has it."""
    location, asked, _ = url.partition("?")
    return f"{location}?…" if asked else location


def _is_public_v4(address: IPv4Address) -> bool:
    return not any(address in network for network in _NOT_PUBLIC_V4)


def _is_public_v6(address: IPv6Address) -> bool:
    return (
        address.scope_id is None
        and address in _GLOBAL_UNICAST_V6
        and not any(address in network for network in _NOT_PUBLIC_V6)
    )


def _check_port(default: int, port: int | None, allow_private: bool, allow_http: bool) -> None:
    port = default if port is None else port
    allowed = HTTPS_PORTS | (HTTP_PORTS if allow_http else frozenset())
    if port == 0 or not (allow_private or port in allowed):
        names = ", ".join(str(number) for number in sorted(allowed))
        raise ForbiddenURL("url_port", f"The URL must use one of the ports {names}.")


def _check_host(host: str, allow_private: bool) -> None:
    if ":" in host:
        address = host
    else:
        name = _ascii_name(host)
        if not _ends_in_number(name):
            if not allow_private and (name == "localhost" or name.endswith(".localhost")):
                raise ForbiddenURL("url_address", "The URL leads to a private address.")
            return
        address = name
    try:
        ip_address(address)
    except ValueError:
        # Resolvers read 2130706433, 0x7f.1 and 127.1 as 127.0.0.1: nobody needs to write it that way.
        raise ForbiddenURL("url_host", "The URL's host is no valid name or address.") from None
    if not is_dialled(address, allow_private=allow_private):
        raise ForbiddenURL("url_address", "The URL leads to a private address.")


def _ascii_name(host: str) -> str:
    """The host name as DNS has it: A-labels, lower case, no final dot."""
    try:
        name = host.encode("idna").decode("ascii").lower().removesuffix(".")
    except UnicodeError:
        name = ""
    labels = name.split(".")
    if len(name) > 253 or not all(_is_label(label) for label in labels):
        raise ForbiddenURL("url_host", "The URL's host is no valid name or address.")
    return name


def _is_label(label: str) -> bool:
    return 0 < len(label) <= 63 and all(c.isalnum() or c in "-_" for c in label) and label[0] != "-"


def _ends_in_number(name: str) -> bool:
    """Whether a URL parser takes the name for an IPv4 address (WHATWG URL, "ends in a number")."""
    last = name.rpartition(".")[2]
    return last.isdigit() or last.startswith("0x")
