import pytest
from django.test import override_settings

from transcribe_project import checks


@pytest.mark.parametrize(
    ("check", "changed", "expected"),
    [
        (checks.leases_outlive_heartbeats, {}, []),
        (
            checks.leases_outlive_heartbeats,
            {"HEARTBEAT_SECONDS": 21, "LEASE_SECONDS": 60},
            ["transcribe.E001"],
        ),
        (checks.regions_are_described, {"REGIONS": []}, []),
        (checks.regions_are_described, {"REGIONS": [{"name": "eu", "max_attempts": 5}]}, []),
        (checks.regions_are_described, {"REGIONS": [{"name": "a"}, {"name": "a"}]}, ["transcribe.E003"]),
        (checks.regions_are_described, {"REGIONS": [{"name": "a", "key": "k"}]}, ["transcribe.E004"]),
        (
            checks.thresholds_are_in_order,
            {"SYNC_MAX_SECONDS": 400, "ASYNC_MIN_SECONDS": 300},
            ["transcribe.E005"],
        ),
        (checks.thresholds_are_in_order, {}, []),
        (checks.production_is_meant, {"USES_SANDBOX": True, "EMBEDDED": True}, ["transcribe.W001"]),
        (checks.production_is_meant, {"USES_SANDBOX": False, "EMBEDDED": True}, []),
        (
            checks.public_url_is_answered,
            {"PUBLIC_URL": "https://t.example.com", "ALLOWED_HOSTS": ["localhost"]},
            ["transcribe.E007"],
        ),
        (
            checks.public_url_is_answered,
            {"PUBLIC_URL": "https://t.example.com:8443", "ALLOWED_HOSTS": [".example.com"]},
            [],
        ),
        (
            checks.public_url_is_answered,
            {"PUBLIC_URL": "http://t.example.com", "ALLOWED_HOSTS": ["t.example.com"]},
            ["transcribe.W008"],
        ),
    ],
)
def test_contradictory_settings_are_told(check, changed, expected):
    with override_settings(**changed):
        assert [message.id for message in check()] == expected
