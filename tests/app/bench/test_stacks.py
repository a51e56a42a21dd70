"""The costs of stacks are measured in processes of their own, and become tables and figures."""

import contextlib
import json

import pytest

from app.bench import report, stacks
from app.bench.__main__ import main


@pytest.mark.slow
def test_a_small_measurement_and_its_page(tmp_path, monkeypatch):
    monkeypatch.setattr(stacks, "DEPTHS", (1,))
    monkeypatch.setattr(stacks, "LENGTHS", (128,))
    monkeypatch.setattr(stacks, "ROUNDS", (0, 8))
    monkeypatch.setattr(stacks, "TOKENS", 256)
    monkeypatch.setattr(stacks, "PRECISIONS", ("float32",))
    monkeypatch.setattr(stacks, "BY_DEPTH", ("reversible",))
    monkeypatch.setattr(stacks, "BY_LENGTH", {"training": ("lsh",), "scoring": ("lsh",)})
    page = tmp_path / "page.md"
    page.write_text(f"{report.BEGIN}\n{report.END}\n", encoding="utf-8")
    options = ["--only", "stacks", "--repeat", "1", "--folder", str(tmp_path), "--write", str(page)]
    assert main(options) == 0
    found = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))["stacks"]
    (depth,), lengths = found["depth"], found["length"]
    assert depth["stack"] == "reversible" and depth["seconds"] > 0 and depth["megabytes"] > 1
    assert [row["what"] for row in lengths] == ["training", "scoring"]
    errors = {(row["stack"], row["precision"]): row["error"] for row in found["undone"]}
    assert errors["bdia", "bfloat16"] == 0 < errors["reversible, streams in float32", "float32"] < 1e-5
    assert errors["reversible, streams in bfloat16", "bfloat16"] > 1e-4
    few, many = (row["error"] for row in found["approached"])
    assert many < few
    text = page.read_text(encoding="utf-8")
    assert f"| reversible | float32 | {depth['seconds']:.2f} s, {depth['megabytes']:,.0f} |" in text
    assert (tmp_path / "figures" / "stacks-depth.svg").read_text(encoding="utf-8").startswith("<?xml")


class Exact:
    def answer(self):
        return {"undone": [], "approached": []}


def test_what_takes_too_long_is_left_out(tmp_path, monkeypatch):
    def one(spec, log):
        return {"seconds": spec["length"] / 10, "megabytes": 1.0}

    monkeypatch.setattr(stacks, "_one", one)
    monkeypatch.setattr(stacks, "Contestant", lambda *_, **__: contextlib.nullcontext(Exact()))
    steps = []
    found = stacks.measure(1, False, tmp_path / "log", steps.append)
    rows = [row for row in found["length"] if (row["stack"], row["what"]) == ("plain", "training")][:8]
    assert [("error" in row) for row in rows] == [False, False, *[True] * 6]
    assert rows[-1]["error"] == "left out, as 1,024 tokens took 102 s"
    assert len(steps) == stacks.units(False)
