"""The names of the server: its own, those behind a proxy, and what is refused."""

import pytest
import requests
from starlette.datastructures import Headers

from app.serving.limits import RefusedError
from app.serving.names import Names, public_name
from app.serving.server import listen
from data.errors import UserError
from tests.app.serving.phrase_model import phrase_server

NAME = "translate.example.org"
OWN = ("localhost", "127.0.0.1", "[::1]")


def test_a_public_name_is_written_as_browsers_do():
    assert public_name("Translate.Example.org:443") == NAME and public_name(f"{NAME}:8443") == f"{NAME}:8443"
    for wrong in ("", "https://a.example", "a.example/path", "a b", "*", "a.example:x", "-a.example"):
        with pytest.raises(UserError, match="--name .*: expected the name of a host"):
            public_name(wrong)


@pytest.mark.parametrize("host", ["192.168..1", "a" * 64 + ".example", "192.0.2.1"])
def test_where_the_server_cannot_listen_is_said_in_one_line(host):
    with pytest.raises(UserError, match=f"--host {host} --port 0: cannot listen there"):
        listen(host, 0)


@pytest.mark.parametrize(
    "host, origin, by_name",
    [
        ("127.0.0.1:8000", None, False),
        ("[::1]:8000", "http://[::1]:8000", False),
        ("localhost:8000", "http://localhost:8000", False),
        (NAME, None, True),
        (NAME.upper(), f"https://{NAME}", True),
        ("other.example", "https://other.example:8443", True),
        ("other.example:8443", "https://other.example:8443", True),
        # A proxy that gives the server's own address in place of the public name.
        ("127.0.0.1:8000", f"https://{NAME}", False),
    ],
)
def test_requests_by_own_and_public_names_are_taken(host, origin, by_name):
    headers = Headers({"host": host} | ({"origin": origin} if origin else {}))
    assert Names(OWN, [NAME, "other.example:8443"]).check(headers) == by_name


@pytest.mark.parametrize(
    "host, origin",
    [
        ("evil.example", None),
        ("evil.example", "http://evil.example"),
        ("evil.example", f"https://{NAME}"),
        (f"{NAME}.evil.example", None),
        (NAME, "https://evil.example"),
        ("127.0.0.1:8000", "https://evil.example"),
        ("127.0.0.1:8000", f"http://{NAME}"),
        ("127.0.0.1:8000", f"https://{NAME}:8443"),
        ("127.0.0.1:8000", "null"),
        ("", None),
    ],
)
def test_all_others_are_refused(host, origin):
    with pytest.raises(RefusedError):
        Names(OWN, [NAME]).check(Headers({"host": host} | ({"origin": origin} if origin else {})))


def test_a_server_without_names_may_be_called_by_any_but_not_from_foreign_pages():
    assert Names().check(Headers({"host": "10.0.0.1:8000", "origin": "http://10.0.0.1:8000"})) is False
    with pytest.raises(RefusedError):
        Names().check(Headers({"host": "10.0.0.1:8000", "origin": "https://evil.example"}))


def test_behind_a_proxy_documents_are_opened_and_files_are_fetched_by_the_public_name():
    with phrase_server(public=[NAME]) as server:
        by_name = {"host": NAME, "origin": f"https://{NAME}", "x-forwarded-proto": "http"}
        assert requests.post(f"{server.url}/api/documents", json={}, headers=by_name).status_code == 201
        fields, files = {"source": "en", "target": "de"}, {"file": ("a.txt", b"One.")}
        answer = requests.post(f"{server.url}/translate_file", data=fields, files=files, headers=by_name)
        url = answer.json()["translatedFileUrl"]
        assert url.startswith(f"https://{NAME}/download_file/")
        assert requests.get(server.url + url.removeprefix(f"https://{NAME}"), headers=by_name).content == b"One."
        # Whoever calls it directly could say anything of a proxy.
        answer = requests.post(
            f"{server.url}/translate_file", data=fields, files=files, headers={"x-forwarded-proto": "https"}
        )
        assert answer.json()["translatedFileUrl"].startswith(server.url)


def test_only_a_key_that_would_help_is_asked_for():
    with phrase_server(keys=["0123456789abcdef"]) as server:
        missing = requests.get(f"{server.url}/api")
        assert missing.status_code == 403 and missing.headers["www-authenticate"] == "Bearer"
        foreign = requests.get(f"{server.url}/api", headers={"origin": "https://evil.example"})
        assert foreign.status_code == 403 and "www-authenticate" not in foreign.headers
        assert "--name" in foreign.json()["error"]
