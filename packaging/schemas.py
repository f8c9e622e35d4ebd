"""Write resources/schemas/*.json, the JSON schemas of what the program prints and writes.

Run: python packaging/schemas.py
"""

import json
from pathlib import Path

from ml_core.jobs.schemas import schemas

OUT = Path(__file__).resolve().parents[1] / "resources" / "schemas"

if __name__ == "__main__":
    OUT.mkdir(exist_ok=True)
    for name, schema in schemas().items():
        (OUT / name).write_text(json.dumps(schema, indent=1) + "\n", encoding="utf-8")
