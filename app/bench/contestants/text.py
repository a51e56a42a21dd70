"""Writes what all contestants train on: text, tokenizer, and the first batches of Weitblick's own training."""

import json
from pathlib import Path

import numpy as np

from app.bench.contestants.protocol import Channel


def main() -> None:
    """Makes a run folder, the cleaned text as plain files, and the batches, in the specification's folder."""
    channel = Channel()
    spec = channel.spec
    from app.presets.preset import load_preset
    from app.runs.run import Run
    from app.training.preparation import prepare

    folder = Path(spec["folder"])
    run = Run.create(folder / "run", load_preset(spec["preset"], spec["changes"]))
    note = _own_tokenizer(run)
    prepared = prepare(run)
    lines = _write_text(folder, prepared, run)
    about = _write_batches(folder, prepared.batches, spec["batches"])
    about |= {"pairs": lines, "vocabulary": prepared.tokenizer.vocabulary_size, "note": note}
    (folder / "text.json").write_text(json.dumps(about))
    channel.send(**about)


def _own_tokenizer(run) -> str:
    """If the text is too small for the vocabulary, trains a smaller one and fills it up with unused pieces."""
    from app.bench.vocabulary import filled_up
    from app.runs.run import TOKENIZER
    from data.cleaning import normalise
    from data.corpora.corpora import Corpora
    from data.errors import UserError
    from data.tokenizer import Tokenizer

    wanted, (name,) = run.preset.tokenizer.vocabulary, run.preset.data.corpora
    corpus = Corpora().open(name)
    size = wanted
    while True:
        lines = (normalise(text, run.preset.data.lowercase) for pair in corpus.pairs("train") for text in pair[:2])
        try:
            tokenizer = Tokenizer.train(lines, size, run.preset.tokenizer.kind, run.preset.training.seed)
            break
        except UserError:
            if size < 1000:
                raise
            size = size * 3 // 4
    filled_up(tokenizer, wanted).save(run.path / TOKENIZER)
    return "" if size == wanted else f"the text allows only {size:,} pieces; unused ones make up the rest of {wanted:,}"


def _write_text(folder: Path, prepared, run) -> int:
    """Writes the training pairs, a segment a line, to `train.*` (the first to `few.*`), those of validation to `dev.*`.

    Returns:
        How many pairs are trained on.
    """
    import data.cleaning as cleaning
    from app.training.preparation import cleaning_options
    from data.corpora.corpora import Corpora

    data = run.preset.data
    corpus = Corpora(source=data.source, target=data.target).open(data.corpora[0])
    pairs = cleaning.clean(corpus.pairs("train"), cleaning_options(run.preset), data.source, data.target)
    pairs = [pair for pair in pairs if _short(pair, prepared.tokenizer, data.max_length)]
    opened = [Corpora(source=data.source, target=data.target).open(name) for name in data.validation]
    dev = [pair for corpus in opened for pair in corpus.pairs("validation")]
    for name, own in {"train": pairs, "few": pairs[:8], "dev": dev}.items():
        for place, language in enumerate((data.source, data.target)):
            text = "".join(cleaning.normalise(pair[place], data.lowercase) + "\n" for pair in own)
            (folder / f"{name}.{language}").write_text(text, encoding="utf-8")
    return len(pairs)


def _short(pair, tokenizer, most: int) -> bool:
    return all(0 < len(ids) <= most for ids in tokenizer.source.encode(list(pair[:2])))


def _write_batches(folder: Path, batches, count: int) -> dict:
    """Writes the first `count` batches; returns sums from which their matrix products can be counted."""
    arrays, tokens = {}, []
    sums = dict.fromkeys(("source", "target", "source_source", "target_target", "source_target", "padded"), 0)
    for number, (inputs, labels) in zip(range(count), batches.stream(0), strict=False):
        arrays[f"source{number}"], arrays[f"labels{number}"] = inputs["source"], labels
        source, target = (np.count_nonzero(side, axis=1).astype(int) for side in (inputs["source"], labels))
        tokens.append(int(target.sum()))
        found = (source, target, source * source, target * target, source * target)
        for name, values in zip(sums, found, strict=False):
            sums[name] += int(values.sum())
        sums["padded"] += labels.size
    np.savez(folder / "batches.npz", tokens=np.array(tokens), **arrays)
    return {"sums": sums}


if __name__ == "__main__":
    main()
