"""Text to batches: corpora, cleaning, tokenizer, word vectors, shards and batching. No Keras layers."""
