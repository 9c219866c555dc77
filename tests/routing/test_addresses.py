import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing.addresses import ForbiddenURL, check_url, is_public
from tests.routing.corpus import FORBIDDEN_ADDRESSES, FORBIDDEN_URLS

PUBLIC = [
    "1.1.1.1",
    "8.8.8.8",
    "93.184.216.34",
    "100.63.255.255",
    "100.128.0.0",
    "172.15.255.255",
    "172.32.0.0",
    "192.167.255.255",
    "198.17.255.255",
    "198.20.0.0",
    "223.255.255.255",
    "::ffff:8.8.8.8",
    "2606:4700:4700::1111",
    "2a00:1450:4001::1",
    "2001:4860:4860::8888",
]


@pytest.mark.parametrize("address", PUBLIC)
def test_an_address_of_the_internet_is_public(address):
    assert is_public(address)


@pytest.mark.parametrize("address", FORBIDDEN_ADDRESSES)
def test_an_address_that_leads_elsewhere_is_not_public(address):
    assert not is_public(address)


@pytest.mark.parametrize(
    "text", ["", "localhost", "127.1", "0x7f000001", "2130706433", "8.8.8.8:80", "[::1]", "8.8.8.08"]
)
def test_what_is_no_address_is_not_public(text):
    assert not is_public(text)


@given(st.ip_addresses(v=4))
def test_a_mapped_address_is_judged_as_the_address_it_maps(address):
    assert is_public(f"::ffff:{address}") == is_public(str(address))


@given(st.ip_addresses())
def test_nothing_that_python_knows_to_be_internal_is_public(address):
    if is_public(str(address)):
        assert address.is_global
        assert not address.is_multicast


@pytest.mark.parametrize(("url", "code"), FORBIDDEN_URLS)
def test_a_url_that_must_not_be_called_is_refused(url, code):
    with pytest.raises(ForbiddenURL) as caught:
        check_url(url, allow_private=False, allow_http=False)

    assert caught.value.code == code


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com",
        "https://example.com/hook?x=1#part",
        "https://example.com:443/",
        "https://example.com:8443/",
        "HTTPS://EXAMPLE.COM/",
        "https://example.com./",
        "https://bücher.example/",
        "https://xn--bcher-kva.example/",
        "https://under_score.example.com/",
        "https://8.8.8.8/",
        "https://[2606:4700:4700::1111]/",
        "https://0xbeef.example/",
    ],
)
def test_a_public_https_url_is_allowed(url):
    check_url(url, allow_private=False, allow_http=False)


@pytest.mark.parametrize(
    "url", ["http://example.com/", "http://example.com:8080/", "https://example.com:80/"]
)
def test_plain_http_and_its_ports_are_allowed_only_if_asked_for(url):
    check_url(url, allow_private=False, allow_http=True)
    with pytest.raises(ForbiddenURL):
        check_url(url, allow_private=False, allow_http=False)


@pytest.mark.parametrize("url", ["https://localhost:9000/", "https://10.0.0.7:1234/", "https://[::1]:65535/"])
def test_private_receivers_may_use_any_port_if_they_are_allowed(url):
    check_url(url, allow_private=True, allow_http=False)


@pytest.mark.parametrize(
    "url", ["http://10.0.0.7/", "https://u:p@10.0.0.7/", "ftp://10.0.0.7/", "https://10.0.0.7:0/"]
)
def test_allowing_private_addresses_allows_nothing_else(url):
    with pytest.raises(ForbiddenURL):
        check_url(url, allow_private=True, allow_http=False)


def test_the_refusal_does_not_repeat_the_url():
    with pytest.raises(ForbiddenURL) as caught:
        check_url("https://10.0.0.7/audio?signature=SECRET", allow_private=False, allow_http=False)

    assert "SECRET" not in str(caught.value)


@given(st.text() | st.from_regex(r"\Ahttps?://[^/]*(:[0-9]*)?/?\Z"))
def test_any_text_is_allowed_or_refused_and_nothing_else(text):
    try:
        check_url(text, allow_private=False, allow_http=True)
    except ForbiddenURL as error:
        assert error.code.startswith("url_")
