"""Make the package of an older commit, also of one that has no deb/ yet: `python tests/e2e/older.py COMMIT FOLDER`.

The older program, its wheel and its unit, put through today's deb/; what that packs beside them, and the older commit
has not (dashboards, drop-ins), is today's. Its version is 0.0.9, so that today's follows it. Prints the package's path.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
TODAYS = ("deb", "mixin", "systemd/drop-ins")


def make(commit, folder):
    folder.mkdir(parents=True)
    tree = subprocess.run(["git", "archive", commit], cwd=REPOSITORY, stdout=subprocess.PIPE, check=True).stdout
    subprocess.run(["tar", "x", "-C", str(folder)], input=tree, check=True)
    for name in TODAYS:
        if not (folder / name).exists():
            shutil.copytree(REPOSITORY / name, folder / name)
    version = folder / "daemon/__init__.py"
    version.write_text(re.sub(r'__version__ = ".*"', '__version__ = "0.0.9"', version.read_text()))
    ask = ["git", "log", "-1", "--format=%ct", commit]
    time = subprocess.run(ask, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout.strip()
    environment = {**os.environ, "PYTHONPATH": str(folder), "SOURCE_DATE_EPOCH": time}
    for module in (["detectors.kernels.build", "dist", "x86_64"], ["deb", "dist"]):
        subprocess.run([sys.executable, "-P", "-m", *module], cwd=folder, env=environment, check=True)
    return folder / "dist/presaged_0.0.9_amd64.deb"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("commit")
    parser.add_argument("folder", type=Path)
    given = parser.parse_args()
    print(make(given.commit, given.folder.resolve()))
