"""How many pictures ``soundsight serve`` should paint in one call, and how long a request should wait for company.

    python benchmarks/serve_tuning.py [--seconds 4]

The server with each size of a call and each window, under many clients and under few, each asking for one picture or
for eight; requests a second and the median of their times. Prints a table; promises nothing.
"""

from __future__ import annotations

import argparse
import sys

from serve import CORES, load, serving

BATCHES = (1, 4, 16, 64)
WINDOWS_MS = (0, 2, 5)
LOADS = ((64, 1), (64, 8), (2, 1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each measurement")
    options = parser.parse_args()
    heads = [f"{clients} clients, {num} each" for clients, num in LOADS]
    print(f"{'batch':>5} {'window':>7}  {'  '.join(f'{head:>22}' for head in heads)}")
    for batch in BATCHES:
        for window_ms in WINDOWS_MS:
            cells = []
            with serving(CORES, "--batch", str(batch), "--window", str(window_ms)) as server:
                for clients, num_images in LOADS:
                    same = {"kind": "png", "num_images": num_images, "num_clients": clients}
                    load(server, **same, seconds=1.0)
                    came = load(server, **same, seconds=options.seconds)
                    cells.append(f"{came['per_s']:.0f}/s {1000 * came['p50_s']:.1f} ms")
            print(f"{batch:>5} {window_ms:>4} ms  {'  '.join(f'{cell:>22}' for cell in cells)}")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
