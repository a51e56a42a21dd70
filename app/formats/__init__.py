"""Files of many formats: what is to be translated in them, and the same file with it translated."""
