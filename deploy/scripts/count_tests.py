#!/usr/bin/env python3
"""count_tests.py JUNIT...: sums up test results.

Prints "N passed, N failed, N skipped". Exit code 1 if a test failed, a file is
missing or holds no test: a run that broke off must not look like a good one.
"""

import sys
import xml.etree.ElementTree as ElementTree


def outcome(case):
    """"passed", "failed" or "skipped" of one <testcase>."""
    if case.find("failure") is not None or case.find("error") is not None:
        return "failed"
    skipped = case.find("skipped")
    if skipped is not None:
        # ctest also calls a test "skipped" whose executable is missing or
        # whose fixture failed; only what the test itself asked for is one.
        message = skipped.get("message", "")
        from_ctest = case.get("status") == "notrun"
        asked = message.startswith("SKIP_")
        return "skipped" if asked or not from_ctest else "failed"
    if case.get("status", "run") not in ("run", "disabled"):
        return "failed"
    return "skipped" if case.get("status") == "disabled" else "passed"


def main(paths):
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    for path in paths:
        try:
            cases = list(ElementTree.parse(path).getroot().iter("testcase"))
        except (OSError, ElementTree.ParseError) as error:
            print(f"{path}: {error}")
            cases = []
        if not cases:
            print(f"{path}: no test ran")
            counts["failed"] += 1
        for case in cases:
            result = outcome(case)
            counts[result] += 1
            if result == "failed":
                print(f"FAILED {case.get('classname')} {case.get('name')}")
    print(", ".join(f"{count} {name}" for name, count in counts.items()))
    return 1 if counts["failed"] or not counts["passed"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
