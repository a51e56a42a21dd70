"""Pure Keras: masks, attention, encoder, decoder, Transformer and search. No files, no text."""
