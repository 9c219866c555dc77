"""What the page of workers says of them."""

from datetime import timedelta

import pytest
from django.urls import reverse
from django.utils import timezone

from jobs.models import WorkerProcess

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("shows", "told"),
    [(0, "right"), (605, "10 min 5 s ahead: set it"), (-3600, "1 h behind: set it")],
)
def test_a_clock_that_is_off_is_told(staff_client, shows, told):
    seen = timezone.now()
    clock = seen + timedelta(seconds=shows)
    WorkerProcess.objects.create(name="w", concurrency=1, seen_at=seen, clock_at=clock)

    assert told in staff_client.get(reverse("admin:jobs_workerprocess_changelist")).content.decode()
