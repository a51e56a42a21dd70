"""`make bench`: Weitblick compared with what people would use instead, measured in turns; see `__main__.py`."""
