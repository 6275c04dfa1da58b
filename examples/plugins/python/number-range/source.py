"""Counts, and goes on where it stopped: the smallest source with a state."""

import time

from millrace import StatefulSource


class RangeSource(StatefulSource):
    def run(self):
        settings = self.connection
        for number in range(self.state.get("current", 0) + 1, settings["to"] + 1):
            if not self.running:
                return
            self.state.set("current", number)
            self.produce(key="range", value=number)
            if number % settings.get("flushEvery", 10) == 0:
                # State and rows since the last flush are committed together, or not at all.
                self.flush()
            time.sleep(settings.get("pauseSeconds", 0))
