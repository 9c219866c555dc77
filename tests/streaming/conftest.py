import pytest

from jobs.models import Project


@pytest.fixture
def project(db) -> Project:
    return Project.objects.create(name="Calls")
