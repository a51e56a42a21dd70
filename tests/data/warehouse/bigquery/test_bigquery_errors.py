"""What the user is told when BigQuery, its credentials or its packages are not as they should be."""

import http.server
import json
import os
import signal
import subprocess
import sys
import threading
import time

import pyarrow
import pytest

from data.errors import UserError
from data.installing import extra_command
from data.warehouse.bigquery.warehouse import BigQueryWarehouse, plain_bytes
from data.warehouse.opening import open_warehouse
from tests import bigquery_emulator

ADDRESS = "bigquery:some-project.corpora"
SIGN_IN = "gcloud auth application-default login.*GOOGLE_APPLICATION_CREDENTIALS"


@pytest.fixture
def warehouse(dataset):
    """A table of 1000 rows, a view of it, and no limit."""
    with BigQueryWarehouse(dataset, create=True) as opened:
        opened.append("numbers", pyarrow.table({"n": list(range(1000)), "text": ["x"] * 1000}).to_reader())
        opened.run("CREATE VIEW odd AS SELECT * FROM numbers WHERE n % 2 = 1")
        yield opened


@pytest.fixture
def server():
    """A server that gives each request the same answer, and keeps what was asked."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append((self.path, self.headers))
            body = json.dumps(handler.answer).encode()
            self.send_response(handler.status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.wfile.write(body)

        do_POST = do_GET

        def log_message(self, *_):
            pass

    asked, handler = [], Handler
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        handler.asked, handler.address = asked, f"http://127.0.0.1:{running.server_port}"
        yield handler
        running.shutdown()


@pytest.fixture
def no_credentials(monkeypatch, tmp_path):
    """A machine on which nobody has signed in."""
    for name in ("BIGQUERY_EMULATOR_HOST", "GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_CLOUD_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path / "gcloud"))
    monkeypatch.setenv("NO_GCE_CHECK", "true")


def service_account(path, token_uri) -> str:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(65537, 2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_text(
        json.dumps(
            {
                "type": "service_account",
                "project_id": "some-project",
                "private_key_id": "1",
                "private_key": key.decode(),
                "client_email": "tests@some-project.iam.gserviceaccount.com",
                "token_uri": token_uri,
            }
        )
    )
    return str(path)


def test_without_credentials_the_user_is_told_how_to_sign_in(no_credentials):
    with pytest.raises(UserError, match=f"{ADDRESS}.*no usable Google credentials.*{SIGN_IN}"):
        open_warehouse(ADDRESS)


def test_a_key_file_that_is_missing_is_named(no_credentials, monkeypatch, tmp_path):
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "key.json"))
    with pytest.raises(UserError, match=f"{tmp_path}/key.json was not found.*{SIGN_IN}"):
        open_warehouse(ADDRESS)


@pytest.mark.parametrize("text", ["not JSON", "{}", '{"type": "service_account"}'])
def test_a_key_file_that_is_damaged_is_no_traceback(no_credentials, monkeypatch, tmp_path, text):
    (tmp_path / "key.json").write_text(text)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "key.json"))
    with pytest.raises(UserError, match=f"key.json.*{SIGN_IN}"):
        open_warehouse(ADDRESS)


def test_credentials_that_google_refuses(no_credentials, monkeypatch, tmp_path, server):
    server.status, server.answer = 400, {"error": "invalid_grant", "error_description": "Invalid JWT Signature."}
    key = service_account(tmp_path / "key.json", f"{server.address}/token")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", key)
    with pytest.raises(UserError, match=f"does not accept the credentials: .*Invalid JWT Signature.*{SIGN_IN}"):
        open_warehouse(ADDRESS)
    assert [path for path, _ in server.asked] == ["/token"]


def test_no_permission_names_the_roles_to_ask_for(monkeypatch, server):
    said = "Access Denied: Dataset some-project:corpora: Permission bigquery.datasets.get denied"
    server.status = 403
    server.answer = {"error": {"code": 403, "message": said, "errors": [{"reason": "accessDenied", "message": said}]}}
    monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", server.address)
    with pytest.raises(
        UserError, match=f"no permission for {ADDRESS}.*datasets.get denied.*BigQuery Job User"
    ) as error:
        open_warehouse(ADDRESS)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("quotaExceeded", "a quota of the project is used up"),
        ("billingNotEnabled", "billing is not enabled"),
        ("responseTooLarge", "larger than BigQuery keeps.*read parts of it"),
    ],
)
def test_other_refusals_say_what_to_do(monkeypatch, server, reason, words):
    server.status = 403
    server.answer = {"error": {"code": 403, "message": "No.", "errors": [{"reason": reason, "message": "No."}]}}
    monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", server.address)
    with pytest.raises(UserError, match=words):
        open_warehouse(ADDRESS)


def test_a_service_that_does_not_answer(monkeypatch):
    monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", "127.0.0.1:9")
    with pytest.raises(UserError, match="emulator at 127.0.0.1:9 did not answer for 0.5 seconds.*check the network"):
        BigQueryWarehouse(ADDRESS, patience=0.5)


def test_no_credentials_are_sent_to_an_emulator(no_credentials, monkeypatch, tmp_path, server):
    server.status, server.answer = 200, {"datasetReference": {"projectId": "some-project", "datasetId": "corpora"}}
    key = service_account(tmp_path / "key.json", f"{server.address}/token")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", key)
    monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", server.address)
    open_warehouse(ADDRESS).close()
    assert [(path.split("?")[0], headers.get("Authorization")) for path, headers in server.asked] == [
        ("/bigquery/v2/projects/some-project/datasets/corpora", None)
    ]


@pytest.mark.parametrize("address", ["bigquery:", "bigquery:corpora", "bigquery:a.b.c", "bigquery:p.d'; DROP"])
def test_an_address_of_another_form(address):
    with pytest.raises(UserError, match="expected bigquery:PROJECT.DATASET"):
        open_warehouse(address)


def test_a_missing_data_set_is_made_only_when_asked(dataset):
    with pytest.raises(UserError, match="no such data set, or no such project.*corpora load.*bq mk --dataset"):
        open_warehouse(dataset)
    with open_warehouse(dataset, create=True) as made:
        assert made.tables() == []
    with open_warehouse(dataset) as there:
        assert there.tables() == []


def test_missing_packages_name_what_to_install():
    script = (
        "import sys; sys.modules['google.cloud.bigquery'] = None\n"
        "from data.warehouse.opening import open_warehouse\n"
        f"open_warehouse({ADDRESS!r})"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert "UserError" in done.stderr
    assert extra_command("bigquery") in done.stderr


def test_the_cost_is_known_beforehand(warehouse):
    assert 8000 < warehouse.cost("SELECT * FROM numbers") < 20_000
    assert warehouse.cost("SELECT * FROM numbers AS a JOIN numbers AS b ON a.n = b.n") == 2 * warehouse.cost(
        "SELECT * FROM numbers"
    )


def test_the_cost_of_each_statement_is_told_before_it_runs(warehouse):
    told = []
    warehouse.on_cost = lambda cost: told.append((cost, warehouse.tables()))
    warehouse.run("CREATE TABLE copy AS SELECT n FROM numbers")
    list(warehouse.rows("SELECT * FROM numbers ORDER BY n"))
    size = warehouse.cost("SELECT * FROM numbers")
    assert told == [(size, ["numbers", "odd"]), (size, ["copy", "numbers", "odd"])]


def test_a_query_over_the_limit_is_refused_with_both_numbers(warehouse, dataset):
    limited = BigQueryWarehouse(dataset, byte_limit=5000)
    with pytest.raises(UserError, match="would read 1[0-9.]+ kB, more than the limit of 5 kB; .*raise the limit"):
        list(limited.rows("SELECT * FROM numbers"))
    with pytest.raises(UserError, match="would read 1[0-9.]+ kB, more than the limit of 5 kB"):
        limited.run("DELETE FROM numbers WHERE n = @n", {"n": 1})
    assert warehouse.tables() == ["numbers", "odd"]
    assert len([n for batch in warehouse.rows("SELECT n FROM numbers") for n in batch["n"]]) == 1000
    with BigQueryWarehouse(dataset, byte_limit=50_000) as enough:
        assert sum(batch.num_rows for batch in enough.rows("SELECT * FROM numbers")) == 1000
    limited.close()


def test_bigquery_holds_to_the_limit_itself(warehouse, dataset, monkeypatch):
    """Where more is billed than the dry run said."""
    with BigQueryWarehouse(dataset, byte_limit=5000) as limited:
        monkeypatch.setattr(limited, "cost", lambda *_: 0)
        with pytest.raises(UserError, match="would be billed for 1[0-9.]+ kB, more than the limit of 5 kB"):
            list(limited.rows("SELECT * FROM numbers"))


def test_views_are_tables_to_read(warehouse):
    assert warehouse.tables() == ["numbers", "odd"]
    assert warehouse.columns("odd") == {"n": "INT64", "text": "STRING"}
    assert sum(batch.num_rows for batch in warehouse.rows("SELECT * FROM odd ORDER BY n")) == 500


def test_a_wrong_column_or_type_is_explained_by_the_columns_there_are(warehouse):
    with pytest.raises(UserError, match=r'"?nope.*what it reads from: numbers \(n INT64, text STRING\)'):
        list(warehouse.rows("SELECT nope FROM numbers"))
    with pytest.raises(UserError, match=r"text.*numbers \(n INT64, text STRING\)|numbers \(n INT64, text STRING\)"):
        list(warehouse.rows("SELECT n + text AS sum FROM numbers ORDER BY n"))
    with pytest.raises(UserError, match="has no table or view 'numbres'; there is numbers, odd"):
        warehouse.run("DELETE FROM numbres WHERE TRUE")


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 bytes"), (999, "999 bytes"), (1500, "1.5 kB"), (12 * 10**9, "12 GB"), (10**12, "1 TB")]
)
def test_bytes_in_plain_units(count, text):
    assert plain_bytes(count) == text


def test_the_emulator_ends_with_the_process_that_started_it(emulator, tmp_path):
    script = (
        "import time\nfrom pathlib import Path\nfrom tests import bigquery_emulator\n"
        f"running = bigquery_emulator.start(Path({str(tmp_path / 'log.txt')!r}))\n"
        "print(running.process.pid, flush=True)\ntime.sleep(600)"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, cwd=bigquery_emulator.REPOSITORY)
    child = int(parent.stdout.readline())
    os.kill(child, 0)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            os.kill(child, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    pytest.fail("the emulator is still there")
