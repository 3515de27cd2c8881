import sys

from rport.client.cli import main

sys.exit(main())
