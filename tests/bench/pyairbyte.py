"""One sync by PyAirbyte into its own cache: `pyairbyte.py PROGRAM CONFIG STREAM DATABASE`."""

import json
import sys
from pathlib import Path

import airbyte
from airbyte.caches import DuckDBCache

program, config, stream, database = sys.argv[1:]
source = airbyte.get_source(
    "source-faker", config=json.loads(Path(config).read_text()), local_executable=program, streams=[stream]
)
result = source.read(cache=DuckDBCache(db_path=database), force_full_refresh=True)
print("rows", len(result[stream]))
