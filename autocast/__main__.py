"""`python -m autocast`."""

from autocast.cli.main import main

main()
