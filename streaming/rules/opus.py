"""How long a packet of Opus lasts (RFC 6716, 3.1)."""

_SILK = (0.010, 0.020, 0.040, 0.060)
_HYBRID = (0.010, 0.020)
_CELT = (0.0025, 0.005, 0.010, 0.020)


def opus_seconds(packet: bytes) -> float:
    """By its first bytes; 0.0 for what is no packet."""
    if not packet:
        return 0.0
    configuration, code = packet[0] >> 3, packet[0] & 3
    if configuration < 12:
        frame = _SILK[configuration & 3]
    elif configuration < 16:
        frame = _HYBRID[configuration & 1]
    else:
        frame = _CELT[configuration & 3]
    if code == 3:
        return frame * (packet[1] & 0x3F) if len(packet) > 1 else 0.0
    return frame * (1, 2, 2)[code]
