"""The batches that ours, keras-hub and Marian train on, as the benchmark wrote them; needs only numpy."""

import json
from pathlib import Path

import numpy as np

PAD, BOS, EOS = 0, 2, 3


class StoredBatches:
    """The first batches of a training, read from a folder that `contestants/text.py` wrote.

    Args:
        folder: holds `batches.npz` and `text.json`.
    """

    def __init__(self, folder: Path | str):
        self.folder = Path(folder)
        self.about = json.loads((self.folder / "text.json").read_text())
        with np.load(self.folder / "batches.npz") as stored:
            self.tokens = stored["tokens"].tolist()
            self._arrays = [tuple(stored[f"{side}{i}"] for side in ("source", "labels")) for i in range(len(self))]

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, number: int) -> dict[str, np.ndarray]:
        """{"source": (B, S), "target": (B, T), "labels": (B, T)}, int32; after the last batch comes the first."""
        source, labels = self._arrays[number % len(self)]
        target = np.roll(labels, 1, axis=1)
        target[:, 0] = BOS
        target[target == EOS] = PAD
        return {"source": source, "target": target, "labels": labels}

    def typical(self) -> int:
        """The number of a batch with a median number of tokens, for trials on one shape."""
        return int(np.argsort(self.tokens)[len(self) // 2])
