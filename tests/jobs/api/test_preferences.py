import pytest

from jobs.api.preferences import Preferences, parse_prefer


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("", Preferences()),
        ("respond-async", Preferences(respond_async=True)),
        ("Respond-Async", Preferences(respond_async=True)),
        ("wait=10", Preferences(wait=10)),
        ("wait = 10", Preferences(wait=10)),
        ('wait="10"', Preferences(wait=10)),
        ("wait=0", Preferences(wait=0)),
        ("respond-async, wait=10", Preferences(True, 10)),
        ("foo; bar=baz, wait=5; x=1 ,respond-async", Preferences(True, 5)),
        ("wait=1, wait=2", Preferences(wait=1)),
        ("wait=soon", Preferences()),
        ("wait=-1", Preferences()),
        ("wait=1.5", Preferences()),
        ("wait", Preferences()),
        ("wait=" + "9" * 40, Preferences()),
        ("no-respond-async", Preferences()),
    ],
)
def test_preferences_are_read_as_rfc_7240_writes_them(header, expected):
    assert parse_prefer(header) == expected
