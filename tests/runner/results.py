"""What the tests said: collected, printed as it comes, summed up in the closing line."""

import threading
import time

PASSED, FAILED, SKIPPED = "passed", "failed", "skipped"


class Results:
    """Counts outcomes from any thread and remembers failures and skips for the end."""

    def __init__(self):
        self.counts = {PASSED: 0, FAILED: 0, SKIPPED: 0}
        self.failures = []  # (name, detail)
        self.skips = []  # (name, reason)
        self.started = time.monotonic()
        self._lock = threading.Lock()

    def add(self, name, outcome, seconds=None, detail="", quiet=False):
        with self._lock:
            self.counts[outcome] += 1
            if outcome == FAILED:
                self.failures.append((name, detail))
            elif outcome == SKIPPED:
                self.skips.append((name, detail))
            if outcome != PASSED or not quiet:
                took = "" if seconds is None else f" ({seconds:.1f} s)"
                why = f": {detail}" if outcome == SKIPPED else ""
                note = detail if outcome == PASSED and detail else ""
                print(f"{outcome.upper():7} {name}{took}{why}{'  ' + note if note else ''}", flush=True)

    def say(self, text):
        with self._lock:
            print(text, flush=True)

    def close(self):
        """Failures with their output, skips by name, the closing line. The exit status."""
        for name, detail in self.failures:
            print(f"\n==== FAILED {name}")
            print(indented(detail))
        if self.skips:
            print()
        for name, reason in self.skips:
            print(f"SKIPPED {name}: {reason}")
        total = sum(self.counts.values())
        print(f"\n{time.monotonic() - self.started:.0f} s in all")
        skipped = f", {self.counts[SKIPPED]} skipped" if self.counts[SKIPPED] else ""
        print(f"{self.counts[PASSED]} passed, {self.counts[FAILED]} failed{skipped}", flush=True)
        return 1 if self.counts[FAILED] or total == 0 else 0


def indented(text, limit=200):
    """The last lines of what a test printed."""
    lines = (text or "").rstrip().splitlines()
    cut = [f"... {len(lines) - limit} lines before"] if len(lines) > limit else []
    return "\n".join("    " + line for line in cut + lines[-limit:])
