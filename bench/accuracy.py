"""Word error rate on real speech: through the whole service, and of the recognition engine alone.

    python -m bench accuracy

The service runs as `make run` does (embedded, its own sandbox with moonshine); recordings go in over the API
and the transcripts are read from it. The engine is asked directly, over the sandbox's own port. What differs
between the two is what the service adds. Case and punctuation do not count.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import httpx
import jiwer

from bench.processes import PYTHON, SHARED, Process, answers, manage, until
from jobs.quality.scores import normalised
from tests.services.process import free_port

RESULTS = Path(__file__).parent / "results"


def main() -> None:
    references = json.loads((SHARED / "audio" / "references.json").read_text())
    with tempfile.TemporaryDirectory(prefix="bench-") as data:
        port, sandbox_port = free_port(), free_port()
        environment = {"DATA_DIR": data, "PORT": str(port), "SANDBOX_PORT": str(sandbox_port)}
        base, engine = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{sandbox_port}"
        with Process([PYTHON, "manage.py", "runstack", "--no-sample"], environment=environment):
            until(lambda: answers(f"{base}/readyz") and answers(f"{engine}/v1/status"))
            key = manage(environment, "create_api_key", "bench")
            service, direct = [], []
            with httpx.Client(headers={"authorization": f"Token {key}"}, timeout=120) as client:
                for reference in references:
                    audio = (SHARED / "audio" / reference["file"]).read_bytes()
                    service.append(through_the_service(client, base, reference["file"], audio))
                    direct.append(by_the_engine(client, engine, audio))
    spoken = [normalised(reference["text"]) for reference in references]
    row = {
        "recordings": len(references),
        "words": sum(len(text.split()) for text in spoken),
        "service_wer": round(jiwer.wer(spoken, service), 4),
        "engine_wer": round(jiwer.wer(spoken, direct), 4),
        "same_text": service == direct,
        "each": {
            reference["file"]: round(jiwer.wer(text, heard), 4)
            for reference, text, heard in zip(references, spoken, service, strict=True)
        },
    }
    print(json.dumps(row, indent=1))
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "accuracy.json").write_text(json.dumps(row, indent=1))


def through_the_service(client: httpx.Client, base: str, name: str, audio: bytes) -> str:
    job = client.post(f"{base}/api/v1/jobs/", files={"file": (name, audio)}, data={"mode": "async"}).json()

    def ended() -> bool:
        job.update(client.get(f"{base}/api/v1/jobs/{job['id']}/").json())
        return job["status"] in ("completed", "failed", "dead", "cancelled")

    until(ended, 120)
    return normalised(job["transcript"]["text"])


def by_the_engine(client: httpx.Client, engine: str, audio: bytes) -> str:
    query = {"model": "nova-3", "smart_format": "true"}
    answer = client.post(f"{engine}/v1/listen", params=query, content=audio).raise_for_status().json()
    return normalised(answer["results"]["channels"][0]["alternatives"][0]["transcript"])


if __name__ == "__main__":
    main()
