"""Word error rate of real speech, streamed as it is spoken: uncut, cut, and by the recognition engine alone.

    python -m bench live_accuracy [CUT_EVERY]

The service runs as `make run` does (embedded, its own sandbox with moonshine). Every recording of
shared/audio and moonshine-voice's own sample is streamed to the engine directly, through the service, and
through it while the provider resets each connection after CUT_EVERY seconds (5), all recordings at once.
Between the first two is what the service adds, between the last two what cuts add. Case and punctuation do
not count.
"""

from __future__ import annotations

import json
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from pathlib import Path

import httpx
import jiwer

from bench.accuracy import RESULTS
from bench.processes import PYTHON, SHARED, Process, answers, manage, until
from jobs.quality.listening import listened
from jobs.quality.scores import normalised
from jobs.quality.sound import little_endian, samples
from tests.services.process import free_port

QUERY = [("model", "nova-3"), ("interim_results", "true")]
# Charles Dickens, A Tale of Two Cities, as the sample reads it.
TWO_CITIES = (
    "It was the best of times, it was the worst of times, it was the age of wisdom, it was the age of "
    "foolishness, it was the epoch of belief, it was the epoch of incredulity, it was the season of Light, "
    "it was the season of Darkness, it was the spring of hope, it was the winter of despair, we had "
    "everything before us, we had nothing before us, we were all going direct to Heaven, we were all going "
    "direct the other way. In short, the period was so far like the present period, that some of its "
    "noisiest authorities insisted on its being received, for good or for evil, in the superlative degree "
    "of comparison only."
)


def main() -> None:
    cut_every = float(sys.argv[2]) if sys.argv[1:2] == ["live_accuracy"] and len(sys.argv) > 2 else 5.0
    spoken = recordings()
    with tempfile.TemporaryDirectory(prefix="bench-") as data:
        port, engine_port = free_port(), free_port()
        environment = {"DATA_DIR": data, "PORT": str(port), "SANDBOX_PORT": str(engine_port)}
        service, engine = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{engine_port}"
        with Process([PYTHON, "manage.py", "runstack", "--no-sample"], environment=environment):
            until(lambda: answers(f"{service}/readyz") and answers(f"{engine}/v1/status"))
            key = manage(environment, "create_api_key", "bench")
            audio = [little_endian(samples(path)) for path in spoken]
            rows = [row("engine", spoken, streamed(engine, key, audio))]
            rows.append(row("service, uncut", spoken, streamed(service, key, audio)))
            cuts = [{"fault": f"drop={cut_every};of=wall"}]
            httpx.put(f"{engine}/sandbox/faults", json=cuts).raise_for_status()
            httpx.delete(f"{engine}/sandbox/streams").raise_for_status()
            heard = streamed(service, key, audio)
            connections = httpx.get(f"{engine}/sandbox/streams").json()["total"]
            made = {"cut_every": cut_every, "cuts": connections - len(spoken)}
            rows.append({**row("service, cut", spoken, heard), **made})
    print(json.dumps(rows, indent=1))
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "live_accuracy.json").write_text(json.dumps(rows, indent=1))


def recordings() -> dict[Path, str]:
    """What is said in each."""
    references = json.loads((SHARED / "audio" / "references.json").read_text())
    said = {SHARED / "audio" / reference["file"]: reference["text"] for reference in references}
    return said | {Path(str(files("moonshine_voice") / "assets" / "two_cities.wav")): TWO_CITIES}


def streamed(address: str, key: str, recordings: list[bytes]) -> list[str]:
    """What is heard in each, all at once."""
    gone = threading.Event()
    with ThreadPoolExecutor(len(recordings)) as pool:
        return list(pool.map(lambda audio: listened(address, key, QUERY, audio, gone).text, recordings))


def row(system: str, spoken: dict[Path, str], heard: list[str]) -> dict[str, object]:
    said = [normalised(text) for text in spoken.values()]
    told = [normalised(text) for text in heard]
    counted = jiwer.process_words(said, told)
    return {
        "system": system,
        "words": sum(len(text.split()) for text in said),
        "wer": round(counted.wer, 4),
        "errors": [counted.substitutions, counted.deletions, counted.insertions],
        "each": {
            path.name: round(jiwer.wer(text, other), 4)
            for path, text, other in zip(spoken, said, told, strict=True)
        },
        "heard": heard,
    }


if __name__ == "__main__":
    main()
