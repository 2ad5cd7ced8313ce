"""``python -m fieldlab``: the command line."""

import sys

from fieldlab.apps.main import main

sys.exit(main())
