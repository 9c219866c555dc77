"""Recordings made on the spot."""

import io
import wave

import av
import numpy as np


def wav(seconds: float, channels: int = 1, rate: int = 16_000) -> bytes:
    """Silence of 16-bit samples."""
    file = io.BytesIO()
    with wave.open(file, "wb") as recording:
        recording.setnchannels(channels)
        recording.setsampwidth(2)
        recording.setframerate(rate)
        recording.writeframes(bytes(round(seconds * rate) * 2 * channels))
    return file.getvalue()


def frame_of(audio: bytes, rate: int) -> av.AudioFrame:
    """16-bit samples of one channel."""
    frame = av.AudioFrame.from_ndarray(np.frombuffer(audio, "<i2").reshape(1, -1), "s16", "mono")
    frame.sample_rate = rate
    return frame


def contained(audio: bytes, container: str, codec: str, rate: int = 48_000) -> bytes:
    """Samples at 16 kHz as FFmpeg writes them into what cannot be sought, as browsers stream it."""
    parts: list[bytes] = []
    pipe = type("Pipe", (), {"write": lambda self, data: parts.append(bytes(data))})()
    with av.open(pipe, "w", format=container) as output:
        stream = output.add_stream(codec, rate=rate, layout="mono")
        size = stream.codec_context.frame_size or 1024
        resampler = av.AudioResampler(stream.codec_context.format, "mono", rate, frame_size=size)
        for frame in resampler.resample(frame_of(audio, 16_000)) + resampler.resample(None):
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return b"".join(parts)


def opus_packets(audio: bytes) -> list[bytes]:
    """Samples at 16 kHz as packets of 20 ms."""
    codec = av.CodecContext.create("libopus", "w")
    codec.sample_rate, codec.layout, codec.format = 48_000, "mono", "s16"
    codec.open()
    resampler = av.AudioResampler("s16", "mono", 48_000, frame_size=codec.frame_size)
    frames = resampler.resample(frame_of(audio, 16_000)) + resampler.resample(None)
    return [bytes(packet) for frame in [*frames, None] for packet in codec.encode(frame)]


def companded(audio: bytes, encoding: str, rate: int = 8000) -> bytes:
    """Samples as `mulaw` or `alaw`."""
    codec = av.CodecContext.create(f"pcm_{encoding}", "w")
    codec.sample_rate, codec.layout, codec.format = rate, "mono", "s16"
    return b"".join(bytes(packet) for packet in codec.encode(frame_of(audio, rate)))
