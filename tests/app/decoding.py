"""Decodes token ids, each as a document of one segment."""

from app.translation.decoder import Request


def decode(decoder, sources, count=1, progress=None, stored=()):
    """Up to `count` outputs of each source; `stored` gives what retrieval may read for each."""
    memory, stored = decoder.first_memory, stored or [None] * len(sources)
    requests = [Request([source], [], 0, memory, own) for source, own in zip(sources, stored, strict=True)]
    return decoder.decode_segments(requests, count, progress)
