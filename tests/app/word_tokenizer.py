"""A tokenizer whose pieces are words, so that every sequence of ids is a text and comes back from it."""

from data.tokenizer import UNK

FIRST = 4


class WordTokenizer:
    """Knows the words "w4", "w5" and so on up to "w39"; any other word is unknown."""

    vocabulary_size = 40
    ids = {f"w{number}": number for number in range(FIRST, 40)}

    @property
    def source(self):
        return self

    target = source

    def encode(self, texts):
        return [[self.ids.get(word, UNK) for word in text.split()] for text in texts]

    def decode(self, sequences):
        return [" ".join(self.piece(i) for i in ids if i >= FIRST) for ids in sequences]

    def decode_beginning(self, ids):
        return self.decode([ids])[0]

    def piece(self, number):
        return f"w{number}"


def words(ids) -> str:
    """The text of some ids."""
    return " ".join(f"w{i}" for i in ids)
