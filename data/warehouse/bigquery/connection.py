"""Connects to BigQuery: credentials, the two services (REST and storage), and messages for what can go wrong."""

import contextlib
import os
import re
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

from data.errors import UserError
from data.installing import extra_command

REST_VARIABLE = "BIGQUERY_EMULATOR_HOST"
STORAGE_VARIABLE = "BIGQUERY_STORAGE_EMULATOR_HOST"
EMULATOR_STORAGE_PORT = 9060
# Without keepalives, a call would wait forever on a connection whose other end has vanished.
CHANNEL_OPTIONS = (
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
)
SIGN_IN = (
    "run `gcloud auth application-default login`, or set GOOGLE_APPLICATION_CREDENTIALS to the path of a service "
    "account's key file"
)
LONGEST_CALL = 600.0  # seconds within which the service must answer a call
LONGEST_QUOTE = 300  # characters of the service's message
ROLES = (
    "ask its owner for the roles BigQuery Job User and BigQuery Read Session User on the project and BigQuery Data "
    "Editor on the dataset"
)


def google() -> tuple[ModuleType, ModuleType]:
    """Google's packages, imported when they are first needed.

    Returns:
        The modules google.cloud.bigquery and google.cloud.bigquery_storage_v1.

    Raises:
        UserError: they are not installed.
    """
    try:
        from google.cloud import bigquery, bigquery_storage_v1
    except ImportError as error:
        raise UserError(
            f"a warehouse in BigQuery needs packages that are not installed ({error}): {extra_command('bigquery')}"
        ) from error
    return bigquery, bigquery_storage_v1


class Connection:
    """The clients of one project, made when they are first used.

    Args:
        project: the project that pays for queries.
        patience: seconds to keep retrying a lost connection before the user is told.
    """

    def __init__(self, project: str, patience: float):
        google()
        self.project = project
        self.patience = patience
        self._emulator = os.environ.get(REST_VARIABLE, "")
        self._credentials = None
        self._clients: dict[str, Any] = {}

    @property
    def place(self) -> str:
        """What errors call the service."""
        return f"the BigQuery emulator at {self._emulator}" if self._emulator else "BigQuery"

    @property
    def rest(self) -> Any:
        """google.cloud.bigquery.Client: jobs, datasets, tables."""
        return self._client("rest", self._make_rest)

    @property
    def reader(self) -> Any:
        """google.cloud.bigquery_storage_v1.BigQueryReadClient."""
        return self._client("reader", self._make_reader)

    def rest_limits(self) -> dict[str, Any]:
        """How long to wait for calls of the REST service and to retry them."""
        from google.cloud.bigquery.retry import DEFAULT_RETRY

        return {"retry": DEFAULT_RETRY.with_timeout(self.patience), "timeout": LONGEST_CALL}

    def close(self) -> None:
        """Closes every connection."""
        self.close_reader()
        if rest := self._clients.pop("rest", None):
            rest.close()

    def close_reader(self) -> None:
        """Closes the reader's connection, which ends its calls at once; the next use opens a new one."""
        if reader := self._clients.pop("reader", None):
            reader.transport.close()

    def _client(self, name: str, make: Callable[[], Any]):
        if name not in self._clients:
            self._clients[name] = make()
        return self._clients[name]

    def _sign_in(self):
        import google.auth
        from google.auth import credentials

        if self._credentials is None:
            if self._emulator:
                self._credentials = credentials.AnonymousCredentials()
            else:
                scopes = ["https://www.googleapis.com/auth/cloud-platform"]
                self._credentials, _ = google.auth.default(scopes=scopes, quota_project_id=None)
        return self._credentials

    def _make_rest(self):
        options = None
        if self._emulator:
            options = {"api_endpoint": self._emulator if "://" in self._emulator else f"http://{self._emulator}"}
        return google()[0].Client(project=self.project, credentials=self._sign_in(), client_options=options)

    def _make_reader(self):
        from google.api_core import retry

        storage = google()[1]
        transport = storage.services.big_query_read.transports.BigQueryReadGrpcTransport
        lost = retry.Retry(predicate=is_lost, initial=0.2, maximum=5.0, timeout=self.patience)
        patience = self.patience

        class Reader(storage.BigQueryReadClient):
            """The client, which here retries for `patience` seconds; by default it retries never or for a day."""

            def create_read_session(self, **keywords):
                return super().create_read_session(**keywords | {"retry": lost, "timeout": patience})

            def read_rows(self, name: str, **keywords):
                return super().read_rows(name, **keywords | {"retry": lost})

        if self._emulator:
            import grpc

            channel = grpc.insecure_channel(self._storage_address(), options=CHANNEL_OPTIONS)
            return Reader(transport=transport(channel=channel))

        def channel(host, *positional, **keywords):
            options = (*(keywords.pop("options", None) or ()), *CHANNEL_OPTIONS)
            return transport.create_channel(host, *positional, options=options, **keywords)

        return Reader(transport=transport(credentials=self._sign_in(), channel=channel))

    def _storage_address(self) -> str:
        given = os.environ.get(STORAGE_VARIABLE, "")
        if given:
            return given.removeprefix("http://").rstrip("/")
        host = self._emulator.split("://")[-1].split("/")[0].rsplit(":", 1)[0]
        return f"{host}:{EMULATOR_STORAGE_PORT}"


def is_lost(error: BaseException) -> bool:
    """Whether an error of the storage service says that the connection, not the request, is at fault."""
    from google.api_core import exceptions

    if isinstance(error, exceptions.InternalServerError | exceptions.Unknown):
        words = ("RST_STREAM", "unexpected EOS", "DATA frame", "GOAWAY", "Stream removed")
        return any(word in str(error) for word in words)
    return isinstance(error, exceptions.ServiceUnavailable | exceptions.Aborted | exceptions.GatewayTimeout)


@contextlib.contextmanager
def clear_errors(connection: Connection, address: str, what: str, explain: Callable | None = None) -> Iterator[None]:
    """Turns what Google's packages raise into one line for the user.

    Args:
        connection: to name the service.
        address: "PROJECT.DATASET", to name in messages.
        what: what was being done, as in "reading the table pairs".
        explain: called with the error of a refused or failed request and its message on one line; returns a better
            message or None.

    Raises:
        UserError: for every error of authentication, permission, request or network.
    """
    import requests
    from google.api_core import exceptions
    from google.auth import exceptions as credentials

    try:
        yield
    except credentials.DefaultCredentialsError as error:
        raise UserError(f"{what}: no usable Google credentials were found: {_line(error)}; {SIGN_IN}") from error
    except credentials.RefreshError as error:
        raise UserError(f"{what}: Google does not accept the credentials: {_line(error)}; {SIGN_IN}") from error
    except (exceptions.RetryError, credentials.TransportError, requests.RequestException, ConnectionError) as error:
        raise UserError(unreachable(connection, what, error)) from error
    except (exceptions.ServerError, exceptions.Aborted) as error:
        # BigQuery reports a query over its limit as an error of the server.
        better = explain(error, message_of(error)) if explain else None
        raise UserError(better or unreachable(connection, what, error)) from error
    except exceptions.Unauthorized as error:
        raise UserError(f"{what}: Google does not accept the credentials: {_line(error)}; {SIGN_IN}") from error
    except (exceptions.NotFound, exceptions.BadRequest) as error:
        better = explain(error, message_of(error)) if explain else None
        raise UserError(better or f"{what}: {connection.place} refuses: {message_of(error)}") from error
    except exceptions.Forbidden as error:
        raise UserError(_forbidden(error, address, what)) from error
    except exceptions.GoogleAPIError as error:
        raise UserError(f"{what}: {connection.place} refuses: {message_of(error)}") from error


def unreachable(connection: Connection, what: str, error: BaseException) -> str:
    """The message for a service that does not answer, or no longer does."""
    cause = getattr(error, "cause", None) or error
    return (
        f"{what}: {connection.place} did not answer for {connection.patience:g} seconds ({_line(cause)}); "
        "check the network and run the command again: nothing was left half written"
    )


def message_of(error: BaseException) -> str:
    """What the service said, on one line, without the request's address and without pointers into the SQL."""
    text = getattr(error, "message", None) or str(error)
    text = re.sub(r"\x1b\[[0-9;]*m", "", text)
    text = re.split(r"; reason: |\n\s*LINE \d+:|\n\nLocation:", text)[0]
    text = re.sub(r"^(GET|POST|PUT|DELETE|PATCH) \S+: ", "", text)
    return _short(" ".join(text.split()))


def reason_of(error: BaseException) -> str:
    """Google's short name for the reason, as in "bytesBilledLimitExceeded"; "" if none is given."""
    errors = getattr(error, "errors", None) or [{}]
    return errors[0].get("reason", "") if isinstance(errors[0], dict) else ""


def _forbidden(error: BaseException, address: str, what: str) -> str:
    reason = reason_of(error)
    if reason in ("quotaExceeded", "rateLimitExceeded"):
        return f"{what}: a quota of the project is used up: {message_of(error)}; wait, or raise it in Google's console"
    if reason == "billingNotEnabled":
        return f"{what}: billing is not enabled: {message_of(error)}; enable it for the project in Google's console"
    if reason == "responseTooLarge":
        return (
            f"{what}: the result is larger than BigQuery keeps for a query: {message_of(error)}; read parts of it, one "
            "corpus or split at a time"
        )
    return f"{what}: no permission for {address}, or no such thing: {message_of(error)}; check the name, or {ROLES}"


def _line(error: BaseException) -> str:
    return _short(" ".join(str(error.args[0] if error.args else error).split()))


def _short(text: str) -> str:
    return text if len(text) <= LONGEST_QUOTE else f"{text[:LONGEST_QUOTE]}..."
