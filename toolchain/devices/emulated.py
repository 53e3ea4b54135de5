"""What an emulated board's profile says of itself: what plays it, and how far its outputs are from here."""

from __future__ import annotations

from edgepack.toolchain.devices.results import DeviceProfile, HostAgreement
from edgepack.toolchain.report import text


def sentences(profile: DeviceProfile) -> list[str]:
    """What stands out; nothing of a real device."""
    if not profile.device.emulated:
        return []
    return [
        f"Emulated: {profile.device.emulated}. Outputs and instructions are true of the board; nothing was timed",
        *(_beside(f"{t.target} {part}", one) for t in profile.targets for part, one in t.host.items()),
    ]


def condition(profile: DeviceProfile) -> str:
    """How it was counted."""
    if any(one.counted for target in profile.targets for one in target.measured):
        return "Counted on one thread, after calls that warm it up; the median of several calls"
    return "Outputs alone: nothing was counted"


def _beside(what: str, one: HostAgreement) -> str:
    here = f"this machine's {one.runtime.name} {one.runtime.version} on {text.plural(one.calls, 'call')}"
    if one.same_bits:
        return f"{what}: the same bits as {here}"
    return f"{what}: at most {one.max_abs_error:.2g} from {here}"
