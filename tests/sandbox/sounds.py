"""Recordings made on the spot, for an engine that does not listen to them."""

import io
import wave


def wav(seconds: float, channels: int = 1, rate: int = 16_000) -> bytes:
    """Silence of 16-bit samples."""
    file = io.BytesIO()
    with wave.open(file, "wb") as recording:
        recording.setnchannels(channels)
        recording.setsampwidth(2)
        recording.setframerate(rate)
        recording.writeframes(bytes(round(seconds * rate) * 2 * channels))
    return file.getvalue()
