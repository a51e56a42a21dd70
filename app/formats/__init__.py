"""Files of many formats: finds the text to translate in them, and writes the same file with that text translated."""
