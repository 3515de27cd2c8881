"""Both programs of the client's archive: rportctl is a link to rport, so that they share one file."""

import os
import sys

if os.path.basename(sys.argv[0]) == "rportctl":
    from rport.ctl.__main__ import main
else:
    from rport.client.__main__ import main

sys.exit(main())
