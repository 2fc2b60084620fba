"""Run time and peak memory of every page, for the site's page of costs.

    python -m benchmarks.costs

executes the pages one after the other at their defaults, on the CPU with one
thread, and records what it measured in benchmarks/costs.json. A page that
fails leaves the old record as it was.
"""

import datetime
import json
import os
import platform
import sys

import psutil
import torch

from tools import notebooks

RECORD = notebooks.ROOT / "benchmarks" / "costs.json"


def machine_facts(device: torch.device) -> dict[str, str]:
    """Today's date and what the pages run on: device, memory, versions."""
    name = f"{os.cpu_count()} CPU cores"
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    gigabytes = psutil.virtual_memory().total / 2**30
    return {
        "recorded": datetime.date.today().isoformat(),
        "machine": f"{name}, {gigabytes:.0f} GB",
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def main() -> int:
    """Measure, print a table, and write the record."""
    results = []
    for page, source in notebooks.all_pages().items():
        target = notebooks.ROOT / "_build" / "costs" / f"{page}.ipynb"
        with notebooks.page_environment(threads=1):
            results.append(notebooks.execute(source, target, {}))
        print(f"{results[-1].seconds:6.1f} s  {page}", flush=True)
    notebooks.print_table(results)
    if not all(result.ok for result in results):
        print("error: a page failed; nothing was recorded", file=sys.stderr)
        return 1
    record = {
        **machine_facts(torch.device("cpu")),
        "threads": 1,
        "pages": {
            result.page: {
                "seconds": round(result.seconds, 1),
                "peak_megabytes": round(result.peak_megabytes),
            }
            for result in results
        },
    }
    notebooks.write_whole(RECORD, json.dumps(record, indent=2) + "\n")
    print(f"recorded in {RECORD}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
