"""`make bench`: Weitblick beside what people would use instead, measured in turns; see `__main__.py`."""
