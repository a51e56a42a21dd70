"""Counts how many wrong pairs `weitblick corpora aligned` would find: every tenth pair gets another one's translation.

python -m tests.app.scoring.wrong_pairs ../corpora/multi30k ../corpora/europarl
"""

import random
import sys

from app.scoring.aligned import alignment_scores, divided
from data.corpora.folder import FolderCorpus
from data.pairs import Pair

SHARE = 0.1


def exchange(pairs: list[Pair], share: float) -> tuple[list[Pair], set[int]]:
    """Gives a share of the pairs, drawn at random, each other's translations; also returns their places."""
    drawn = random.Random(1).sample(range(len(pairs)), round(len(pairs) * share))
    other = dict(zip(drawn, [*drawn[1:], drawn[0]], strict=True))
    return [pair._replace(target=pairs[other.get(place, place)].target) for place, pair in enumerate(pairs)], set(drawn)


def main() -> None:
    """Prints a line for each corpus folder."""
    for folder in sys.argv[1:]:
        pairs, wrong = exchange(list(FolderCorpus(folder).pairs("train")), SHARE)
        _, left_out = divided(alignment_scores(pairs, "en", "de"), 1 - SHARE)
        found = len(wrong & set(left_out.tolist()))
        print(f"{folder}: {found:,} of {len(wrong):,} wrong pairs are among the worst {len(left_out):,}")


if __name__ == "__main__":
    main()
