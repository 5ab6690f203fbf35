"""``python -m prefstrength``: the command line, for torchrun and accelerate launch."""

from prefstrength.pipeline.cli import main

if __name__ == "__main__":
    main()
