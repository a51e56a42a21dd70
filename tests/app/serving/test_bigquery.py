"""Rows of a query, as BigQuery sends them to a remote function."""

import pytest
import requests

ABOUT = {
    "requestId": "124ab1c",
    "caller": "//bigquery.googleapis.com/projects/a/jobs/a:US.bquxjob_1",
    "sessionUser": "someone@example.com",
    "userDefinedContext": {},
}


def post(server, calls, **others):
    return requests.post(server.url + "/bigquery/translate", json={**ABOUT, "calls": calls, **others})


def test_each_row_has_its_translation_and_null_stays_null(server, alone):
    rows = [["a dog"], [None], ["a cat\n\na dog"], [""], ["a dog"]]
    (dog,) = next(alone.translate_documents([["a dog"]]))
    answer = post(server, rows)
    assert answer.status_code == 200
    replies = answer.json()["replies"]
    assert (replies[0], replies[1], replies[3], replies[4]) == (dog, None, "", dog)
    assert replies[2].split("\n") == [*_two(alone)[:1], "", *_two(alone)[1:]]
    assert post(server, [[None]]).json() == {"replies": [None]}


def _two(alone):
    return next(alone.translate_documents([["a cat", "a dog"]]))


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({"calls": [["a", "b"]]}, 400, "one argument"),
        ({"calls": [[]]}, 400, "one argument"),
        ({"calls": [[7]]}, 400, "string"),
        ({"calls": None}, 400, "list"),
        ({"calls": [["a"]] * 1001}, 413, "1000 texts"),
    ],
)
def test_what_is_wrong_is_said_where_bigquery_looks_for_it(server, body, status, message):
    answer = post(server, body.pop("calls"), **body)
    assert answer.status_code == status
    assert set(answer.json()) == {"errorMessage"} and message in answer.json()["errorMessage"]
