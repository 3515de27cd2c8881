"""The program of the server's archive."""

import sys

from rport.server.__main__ import main

sys.exit(main())
