"""``sha256sum`` and ``md5sum`` for systems without them (macOS): ``program.py ALGORITHM [FILE...]``."""

import hashlib
import sys
from pathlib import Path

algorithm, *names = sys.argv[1:]
for name in names or ["-"]:
    digest = hashlib.new(algorithm)
    with sys.stdin.buffer if name == "-" else Path(name).open("rb") as source:
        while chunk := source.read(1 << 20):
            digest.update(chunk)
    print(f"{digest.hexdigest()}  {name}")
