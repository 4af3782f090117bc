"""Takes bare Hydra overrides: train an encoder-processor-decoder."""

from autocast.scripts.overrides import run


def main() -> None:
    run("epd")


if __name__ == "__main__":
    main()
