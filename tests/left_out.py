"""Says in red at the end of a test run what could not be tested."""

MARK = "IS NOT TESTED"


def pytest_terminal_summary(terminalreporter):
    """Collects the skipped tests whose reason is "SOMETHING IS NOT TESTED: why"."""
    left_out = {}
    for report in terminalreporter.stats.get("skipped", []):
        text = str(report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr)
        if MARK in text:
            what, _, why = text.removeprefix("Skipped: ").partition(MARK)
            reason = f"{what}{MARK}", why.strip(": ")
            left_out[reason] = left_out.get(reason, 0) + 1
    for (what, why), count in left_out.items():
        terminalreporter.write_sep("!", what, red=True, bold=True)
        terminalreporter.write_line(f"{count} tests were left out: {why}", red=True)
