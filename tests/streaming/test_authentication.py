"""Who may open a live socket. Everybody else is refused before there is one (S5)."""

import json
import logging
from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from jobs import grants
from jobs.models import ApiKey, Membership, Project, Role, Scope

QUERY = "/v1/listen?model=nova-3"


@pytest.fixture(autouse=True)
def provider(upstream):
    return upstream()


def refusal(live, path=QUERY, **handshake):
    """Status, `dg-error` and body of the refused handshake."""
    with pytest.raises(InvalidStatus) as refused, connect(live.url + path, **handshake):
        pass
    response = refused.value.response
    body = json.loads(response.body)
    assert response.headers["dg-request-id"] == body["request_id"]
    assert response.headers["dg-error"] == body["err_msg"]
    return response.status_code, body["err_code"]


def by_header(value, **more):
    return {"additional_headers": {"Authorization": value} | more}


@pytest.mark.parametrize("scheme", ["Token", "token"])
def test_a_key_opens_a_socket(live, key, scheme):
    with connect(live.url + QUERY, **by_header(f"{scheme} {key}")) as socket:
        socket.send("hello")
        assert socket.recv(timeout=30) == "text hello"


@pytest.mark.parametrize("scheme", ["Bearer", "bearer"])
def test_a_grant_opens_a_socket(live, key, scheme):
    token = grants.grant(ApiKey.objects.get(), 30)

    with connect(live.url + QUERY, **by_header(f"{scheme} {token}")) as socket:
        socket.send("hello")
        assert socket.recv(timeout=30) == "text hello"


def test_a_browser_sends_key_or_grant_as_subprotocols_of_which_the_first_is_echoed(live, key):
    for scheme, secret in (("token", key), ("bearer", grants.grant(ApiKey.objects.get(), 30))):
        with connect(live.url + QUERY, subprotocols=[scheme, secret]) as socket:
            assert socket.subprotocol == scheme


def test_what_sdks_add_to_the_subprotocols_does_not_matter(live, key):
    offered = ["token", key, "x-deepgram-session-id", "0e1c8fd5-7b7c-4f5a-9a53-6b4b1b8f8a55"]

    with connect(live.url + QUERY, subprotocols=offered) as socket:
        assert socket.subprotocol == "token"


def test_the_provider_is_called_with_its_own_key_and_never_ours(live, key, provider):
    with connect(live.url + QUERY, **by_header(f"Token {key}")):
        pass

    (request,) = provider.requests
    assert request.headers["Authorization"] == "Token the-providers-key"
    assert key not in str(request)


@pytest.mark.parametrize("secret", ["", "nonsense", "abcdefgh." + "x" * 43, "Ünïcode"])
@pytest.mark.parametrize("scheme", ["Token", "Bearer", "Basic"])
def test_unknown_credentials_are_refused(live, scheme, secret):
    header = f"{scheme} {secret}".encode().decode("latin-1")

    assert refusal(live, **by_header(header)) == (401, "INVALID_AUTH")


def test_no_credentials_are_refused(live):
    assert refusal(live) == (401, "INVALID_AUTH")


@pytest.mark.parametrize("name", ["token", "key", "api_key", "access_token"])
def test_a_key_in_the_query_counts_for_nothing(live, key, name):
    assert refusal(live, f"{QUERY}&{name}={key}") == (401, "INVALID_AUTH")


def test_a_revoked_key_is_refused_and_what_it_granted_too(live, key):
    row = ApiKey.objects.get()
    token = grants.grant(row, 30)
    row.revoke()

    assert refusal(live, **by_header(f"Token {key}")) == (401, "INVALID_AUTH")
    assert refusal(live, **by_header(f"Bearer {token}")) == (401, "INVALID_AUTH")


def test_a_grant_expires(live, key):
    token = grants.grant(ApiKey.objects.get(), -0.001)

    assert refusal(live, **by_header(f"Bearer {token}")) == (401, "INVALID_AUTH")


def test_a_grant_that_was_tampered_with_is_refused(live, key):
    payload, signature = grants.grant(ApiKey.objects.get(), 30).split(".")
    other = grants.grant(ApiKey.objects.get(), 3600).split(".")[0]

    assert refusal(live, **by_header(f"Bearer {other}.{signature}")) == (401, "INVALID_AUTH")
    assert refusal(live, **by_header(f"Bearer {payload}")) == (401, "INVALID_AUTH")


def test_an_expired_key_is_refused(live, key):
    ApiKey.objects.update(expires_at=timezone.now() - timedelta(seconds=1))

    assert refusal(live, **by_header(f"Token {key}")) == (401, "INVALID_AUTH")


def test_a_key_needs_the_scope_to_write(live, project):
    _, text = ApiKey.objects.issue(project, "reader", scopes=[Scope.READ])

    assert refusal(live, **by_header(f"Token {text}")) == (403, "INSUFFICIENT_PERMISSIONS")


def test_a_key_without_requests_left_is_told_when_to_come_again(live, project):
    _, text = ApiKey.objects.issue(project, "slow", requests_per_minute=1)
    with connect(live.url + QUERY, **by_header(f"Token {text}")):
        pass

    with (
        pytest.raises(InvalidStatus) as refused,
        connect(live.url + QUERY, **by_header(f"Token {text}")),
    ):
        pass

    assert refused.value.response.status_code == 429
    assert 0 < int(refused.value.response.headers["retry-after"]) <= 60


FOREIGN = [
    "https://evil.example",
    "null",
    "http://127.0.0.1.evil.example",
    "http://evil.example/127.0.0.1",
    "https://allowed.example.evil.example",
    "http://allowed.example",
]


@pytest.mark.parametrize("origin", FOREIGN)
def test_a_foreign_page_may_not_use_a_key_that_does_not_allow_it(live, project, origin):
    row, text = ApiKey.objects.issue(project, "page", allowed_origins=["https://allowed.example"])
    for secret in (f"Token {text}", f"Bearer {grants.grant(row, 30)}"):
        assert refusal(live, **by_header(secret, Origin=origin)) == (403, "ORIGIN_NOT_ALLOWED")


def test_a_page_that_the_key_allows_may(live, project):
    _, text = ApiKey.objects.issue(project, "page", allowed_origins=["https://allowed.example"])

    with connect(live.url + QUERY, subprotocols=["token", text], origin="https://allowed.example") as socket:
        assert socket.subprotocol == "token"


@pytest.fixture
def signed_in(django_user_model, live) -> str:
    """The cookie of a person's session."""
    user = django_user_model.objects.create_user("ada")
    client = Client()
    client.force_login(user)
    return f"sessionid={client.cookies['sessionid'].value}"


def test_a_person_at_our_own_pages_needs_no_key(live, signed_in):
    headers = {"Cookie": signed_in}
    with connect(
        live.url + QUERY, additional_headers=headers, origin=f"http://127.0.0.1:{live.port}"
    ) as socket:
        socket.send("hello")
        assert socket.recv(timeout=30) == "text hello"


@pytest.mark.parametrize("origin", [None, *FOREIGN, "https://127.0.0.1:{port}", "http://127.0.0.1:{port}0"])
def test_a_session_counts_at_no_other_page(live, signed_in, origin):
    origin = origin and origin.format(port=live.port)
    headers = {"Cookie": signed_in}

    assert refusal(live, additional_headers=headers, origin=origin) == (403, "ORIGIN_NOT_ALLOWED")


def test_a_host_that_is_not_ours_makes_no_page_ours(live, signed_in):
    headers = {"Cookie": signed_in, "Host": "evil.example"}

    assert refusal(live, additional_headers=headers, origin="http://evil.example")[0] == 403


def test_a_session_that_is_over_counts_for_nothing(live, signed_in, django_user_model):
    django_user_model.objects.update(is_active=False)
    own = f"http://127.0.0.1:{live.port}"

    assert refusal(live, additional_headers={"Cookie": signed_in}, origin=own) == (401, "INVALID_AUTH")


@pytest.mark.parametrize(("role", "status"), [(None, 403), (Role.READER, 403), (Role.UPLOADER, 101)])
def test_a_person_speaks_for_a_project_as_its_member(live, signed_in, django_user_model, role, status):
    project = Project.objects.create(name="others'")
    if role:
        Membership.objects.create(project=project, user=django_user_model.objects.get(), role=role)
    own = f"http://127.0.0.1:{live.port}"
    handshake = {"additional_headers": {"Cookie": signed_in}, "origin": own}
    path = f"{QUERY}&project={project.pk}"

    if status == 101:
        with connect(live.url + path, **handshake) as socket:
            assert socket.response.status_code == 101
    else:
        assert refusal(live, path, **handshake) == (status, "INSUFFICIENT_PERMISSIONS")


def test_no_secret_is_logged(live, key, caplog):
    caplog.set_level(logging.DEBUG)
    token = grants.grant(ApiKey.objects.get(), 30)
    logging.getLogger("websockets").setLevel(logging.INFO)
    for handshake in (
        by_header(f"Token {key}"),
        by_header(f"Bearer {token}"),
        by_header(f"Token {key[:-1]}x"),
    ):
        try:
            with connect(live.url + QUERY, **handshake):
                pass
        except InvalidStatus:
            pass

    assert key not in caplog.text
    assert token not in caplog.text
    assert "the-providers-key" not in caplog.text
