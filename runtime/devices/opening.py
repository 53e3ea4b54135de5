"""A transport for an address."""

from __future__ import annotations

from pathlib import Path

from edgepack.runtime.devices.address import Address, parse
from edgepack.runtime.devices.base import Transport, transports


def transport(address: Address | str, *, config: Path | None = None) -> Transport:
    """The transport for an address, not yet connected.

    Args:
        address: Or its text.
        config: A configuration file for ssh instead of the user's own.

    Raises:
        UsageError: The text is no address.
    """
    place = parse(address) if isinstance(address, str) else address
    return transports.get(place.scheme)(place, config=config)
