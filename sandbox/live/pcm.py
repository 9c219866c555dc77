"""Raw audio, in whatever pieces it comes, as 16-bit samples per channel. Pure.

Nothing is done per sample but for linear32, whose samples are floating-point
(developers.deepgram.com/docs/encoding).
"""

from collections.abc import Callable
from struct import pack, unpack

WIDTHS = {"linear16": 2, "linear32": 4, "mulaw": 1, "alaw": 1}


class RawAudio:
    """For encodings without header. `linear16` of one channel passes as it is."""

    def __init__(self, encoding: str, sample_rate: int, channels: int) -> None:
        self.sample_rate = sample_rate
        self.channels = channels
        self._encoding = encoding
        self._width = WIDTHS[encoding]
        self._frame = self._width * channels
        self._rest = b""

    async def decode(self, data: bytes) -> list[bytes]:
        return self.samples(data)

    def samples(self, data: bytes) -> list[bytes]:
        """The samples of each channel. A frame that is not whole waits for the rest of it."""
        if self._rest:
            data = self._rest + data
        whole = len(data) - len(data) % self._frame
        self._rest = data[whole:]
        data = data[:whole] if self._rest else data
        if self.channels == 1 and self._encoding == "linear16":
            return [data]
        return [self._channel(data, number) for number in range(self.channels)]

    async def finish(self) -> list[bytes]:
        return []

    def _channel(self, data: bytes, number: int) -> bytes:
        if self._encoding == "linear32":
            floats = unpack(f"<{len(data) // self._width}f", data)[number :: self.channels]
            return pack(f"<{len(floats)}h", *(round(32767 * max(-1.0, min(1.0, each))) for each in floats))
        first = number * self._width
        samples = bytearray(2 * (len(data) // self._frame))
        if self._encoding in COMPANDED:
            low, high = COMPANDED[self._encoding]
            plane = data[first :: self._frame]
            samples[0::2], samples[1::2] = plane.translate(low), plane.translate(high)
        else:
            samples[0::2], samples[1::2] = data[first :: self._frame], data[first + 1 :: self._frame]
        return bytes(samples)


def _mulaw(code: int) -> int:
    """ITU-T G.711."""
    code ^= 0xFF
    magnitude = ((code & 0x0F) * 2 + 33 << (code >> 4 & 7)) - 33
    return -magnitude * 4 if code & 0x80 else magnitude * 4


def _alaw(code: int) -> int:
    """ITU-T G.711."""
    code ^= 0x55
    exponent, mantissa = code >> 4 & 7, (code & 0x0F) * 2 + 1
    magnitude = mantissa if not exponent else mantissa + 32 << exponent - 1
    return magnitude * 8 if code & 0x80 else -magnitude * 8


def _tables(decode: Callable[[int], int]) -> tuple[bytes, bytes]:
    """The low and the high byte of each code's sample."""
    samples = [decode(code) & 0xFFFF for code in range(256)]
    return bytes(sample & 0xFF for sample in samples), bytes(sample >> 8 for sample in samples)


COMPANDED = {"mulaw": _tables(_mulaw), "alaw": _tables(_alaw)}
