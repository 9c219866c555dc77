"""Recordings of every format, made by FFmpeg's own encoders, and playlists that name others."""

import random
import wave
from fractions import Fraction
from pathlib import Path

import av

TELEPHONE, SPEECH, STUDIO = 8_000, 16_000, 48_000
# name: muxer, encoder, rate, what the probe calls the codec, media type
FORMATS = {
    "wav": ("wav", "pcm_s16le", SPEECH, "pcm_s16le", "audio/wav"),
    "adpcm": ("wav", "adpcm_ima_wav", SPEECH, "adpcm_ima_wav", "audio/wav"),
    "w64": ("w64", "pcm_s16le", SPEECH, "pcm_s16le", "audio/x-w64"),
    "flac": ("flac", "flac", SPEECH, "flac", "audio/flac"),
    "mp3": ("mp3", "libmp3lame", SPEECH, "mp3", "audio/mpeg"),
    "ogg": ("ogg", "libopus", STUDIO, "opus", "audio/ogg"),
    "webm": ("webm", "libopus", STUDIO, "opus", "audio/webm"),
    "mka": ("matroska", "flac", SPEECH, "flac", "audio/x-matroska"),
    "m4a": ("ipod", "aac", SPEECH, "aac", "audio/mp4"),
    "mov": ("mov", "alac", SPEECH, "alac", "audio/mp4"),
    "aac": ("adts", "aac", SPEECH, "aac", "audio/aac"),
    "amr": ("amr", "libopencore_amrnb", TELEPHONE, "amr_nb", "audio/amr"),
    "aiff": ("aiff", "pcm_s16be", SPEECH, "pcm_s16be", "audio/aiff"),
    "caf": ("caf", "pcm_s16be", SPEECH, "pcm_s16be", "audio/x-caf"),
    "wma": ("asf", "wmav2", STUDIO, "wmav2", "audio/x-ms-wma"),
}
NOISE = random.Random(1)  # noqa: S311 - repeatable, not secret


def fill(frame: av.AudioFrame | av.VideoFrame, *, silent: bool) -> None:
    """Noise where samples are integers, so that it does not compress to nothing; else silence."""
    noisy = not silent and frame.format.name.startswith("s16")
    for plane in frame.planes:
        plane.update(NOISE.randbytes(plane.buffer_size) if noisy else bytes(plane.buffer_size))


def encode(
    path: Path,
    muxer: str,
    encoder: str | None,
    rate: int = SPEECH,
    *,
    seconds: float = 2.0,
    layout: str = "mono",
    video: bool = False,
    silent: bool = False,
    options: dict[str, str] | None = None,
) -> Path:
    """A recording made by FFmpeg's own encoders."""
    with av.open(str(path), "w", format=muxer, options=options or {}) as output:
        if video:
            pictures = output.add_stream("mpeg4" if muxer == "mp4" else "libvpx", rate=5)
            pictures.width = pictures.height = 32
            pictures.pix_fmt = "yuv420p"
        if encoder:
            sound = output.add_stream(encoder, rate=rate, layout=layout)
            sound.bit_rate = 12_200 if muxer == "amr" else 64_000
            sound.open()
            size = sound.frame_size or 1024
            for at in range(0, int(seconds * rate), size):
                frame = av.AudioFrame(sound.format.name, layout, min(size, int(seconds * rate) - at))
                frame.sample_rate, frame.pts, frame.time_base = rate, at, Fraction(1, rate)
                fill(frame, silent=silent)
                output.mux(sound.encode(frame))
            output.mux(sound.encode(None))
        if video:
            for number in range(int(seconds * 5)):
                picture = av.VideoFrame(32, 32, "yuv420p")
                picture.pts = number
                fill(picture, silent=silent)
                output.mux(pictures.encode(picture))
            output.mux(pictures.encode(None))
    return path


def recording(folder: Path, name: str, **more: object) -> Path:
    muxer, encoder, rate, _, _ = FORMATS[name]
    return encode(folder / name, muxer, encoder, rate, **more)


def write_wav(path: Path, *, frames: int = SPEECH, rate: int = SPEECH, channels: int = 1) -> Path:
    with wave.open(str(path), "wb") as output:
        output.setnchannels(channels)
        output.setsampwidth(2)
        output.setframerate(rate)
        output.writeframes(bytes(frames * channels * 2))
    return path


def overwrite(path: Path, at: int, content: bytes) -> Path:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(content)
    return path


MANIFESTS = {
    "HLS": "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n{url}\n#EXT-X-ENDLIST\n",
    "HLS naming a neighbour": "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n{neighbour}\n#EXT-X-ENDLIST\n",
    "concat naming a neighbour": "ffconcat version 1.0\nfile '{neighbour}'\n",
    "concat of a URL": "ffconcat version 1.0\nfile '{url}'\n",
    "DASH": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
    'mediaPresentationDuration="PT5S"><Period><AdaptationSet mimeType="audio/mp4"><Representation id="1" '
    'bandwidth="1"><BaseURL>{url}</BaseURL></Representation></AdaptationSet></Period></MPD>',
    "SDP": "v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nm=audio {port} RTP/AVP 0\n",
}
