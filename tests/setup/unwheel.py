"""Unpacks the files of some wheels that match the given patterns: unwheel.py WHEELS_FOLDER OUT PATTERN..."""

import fnmatch
import pathlib
import sys
import zipfile

folder, out, patterns = sys.argv[1], sys.argv[2], sys.argv[3:]
unused = set(patterns)
for wheel in sorted(pathlib.Path(folder).glob("*.whl")):
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            hits = [pattern for pattern in patterns if fnmatch.fnmatch(name, pattern)]
            if hits:
                archive.extract(name, out)
                unused.difference_update(hits)
if unused:
    sys.exit(f"no file matches {sorted(unused)} in the wheels of {folder}: the package has changed its layout")
