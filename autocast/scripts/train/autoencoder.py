"""Takes bare Hydra overrides: train an autoencoder."""

from autocast.scripts.overrides import run


def main() -> None:
    run("ae")


if __name__ == "__main__":
    main()
