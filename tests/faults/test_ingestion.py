"""URLs that lead inside, given to a real worker."""

from collections import Counter

import pytest

from jobs.models import TranscriptionJob
from tests.faults.harness import open_jobs
from tests.faults.sabotage import PUBLIC, REBOUND, SABOTAGED
from tests.jobs.rows import build_job, make_project
from tests.routing.corpus import FORBIDDEN_URLS

# Looked up once for each connection: every other job finds this host.
REBINDING = 20


@pytest.mark.postgresql
def test_w4_a_worker_dials_no_internal_address_whatever_url_it_is_given(stack, tell, tmp_path):
    dialled = tmp_path / "dialled"
    watched = SABOTAGED | {"SABOTAGE": "rebinding", "DIALLED": str(dialled)}
    urls = [url for url, _ in FORBIDDEN_URLS if url] + [f"https://{REBOUND}/{n}" for n in range(REBINDING)]
    project = make_project()

    with stack.workers(1, FETCH_ALLOW_PRIVATE="0", MAX_ATTEMPTS="1", **watched) as supervisor:
        TranscriptionJob.objects.bulk_create(build_job(project=project, url=url) for url in urls)
        supervisor.wait_until(lambda: not open_jobs(), 90)

    assert set(TranscriptionJob.objects.values_list("status", flat=True)) == {"failed"}
    codes = Counter(
        TranscriptionJob.objects.filter(url__contains=REBOUND).values_list("error_code", flat=True)
    )
    assert codes == {"url_unreachable": REBINDING / 2, "url_address": REBINDING / 2}
    own = {stack.redis_url.rpartition(":")[2].split("/")[0], stack.provider.url.rpartition(":")[2]}
    addresses = Counter(
        address for address, port in map(str.split, dialled.read_text().splitlines()) if port not in own
    )
    tell("W4", urls=len(urls), internal_connections=sum(addresses.values()) - addresses[PUBLIC])
    assert addresses == {PUBLIC: REBINDING / 2}
