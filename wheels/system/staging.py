"""staging.py rport|rportd TREE: what a package has beside the frozen program, as `service install` would write it.

Run with the source tree as the working directory. The configuration file is the program's own: `PROG config example`.
"""

import sys
from pathlib import Path

sys.path.insert(0, ".")
from rport.install.units import PROGRAMS, service_unit

program, tree = PROGRAMS[sys.argv[1]], Path(sys.argv[2])
unit = tree / program.packaged("service").lstrip("/")
unit.parent.mkdir(parents=True)
# Without a socket unit: that one's address comes from the configuration, and a package's units do not change with it.
unit.write_text(
    service_unit(
        program, f"/usr/bin/{program.name}", program.name, socket=False, mark=f"# Of the package {program.name}"
    )
)

VALUES = {"@NAME@": program.name, "@TITLE@": program.title, "@CONFIG@": program.config, "@STATE@": program.state}
for script in Path("wheels/system").glob("*.sh"):
    text = script.read_text()
    for name, value in VALUES.items():
        text = text.replace(name, value)
    (tree.parent / f"{program.name}.{script.name}").write_text(text)
