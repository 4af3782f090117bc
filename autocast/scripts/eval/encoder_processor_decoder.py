"""Takes bare Hydra overrides: score a trained run."""

from autocast.scripts.overrides import run


def main() -> None:
    run("eval")


if __name__ == "__main__":
    main()
