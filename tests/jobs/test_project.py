"""Projects, and who they are."""

import threading

import pytest
from django.db import connection

from jobs.models import Project

pytestmark = pytest.mark.django_db(transaction=True)


def test_many_who_ask_for_a_shared_project_at_once_get_the_same():
    start, found = threading.Barrier(8), []

    def ask():
        start.wait()
        found.append(Project.objects.shared("Calls"))
        connection.close()

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert set(found) == {Project.objects.get(name="Calls")}
    assert len(found) == 8


def test_a_shared_project_is_nobody_s_own(django_user_model):
    personal = Project.objects.personal(django_user_model.objects.create_user("anna"))

    assert Project.objects.shared(personal.name) != personal
