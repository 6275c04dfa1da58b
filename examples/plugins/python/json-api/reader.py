"""Reads a JSON API page by page: `GET {baseUrl}/{stream}?page=1&page_size=100`, answered by
`{"items": [...], "has_next": true, "total": 250}`. The state is the next page."""

import json
from urllib.parse import urlencode
from urllib.request import Request, urlopen

from millrace import BaseReader


class JsonApiReader(BaseReader):
    def extract(self, state_manager=None):
        page = state_manager.get("page", 1)
        while True:
            answer = self.get(page=page, page_size=self.options.get("pageSize", 100))
            page += 1
            # Before the yield: what is kept here is committed with the rows that are yielded next.
            state_manager.set("page", page)
            yield answer["items"]
            if not answer.get("has_next"):
                break
        # The next load begins at the first page again.
        state_manager.set("page", 1)

    def get_total_records_estimate(self):
        return self.get(page=1, page_size=1).get("total")

    def check(self):
        self.get(page=1, page_size=1)

    def get(self, **query):
        url = f"{self.connection['baseUrl']}/{self.objects[0]}?{urlencode(query)}"
        headers = {"Authorization": f"Bearer {self.credentials['token']}"}
        with urlopen(Request(url, headers=headers), timeout=60) as response:
            return json.load(response)
