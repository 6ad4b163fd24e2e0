"""`python -m trimtab` is `trimtab`; so is `torchrun -m trimtab`."""

from trimtab.cli.main import main

if __name__ == "__main__":
    main()
