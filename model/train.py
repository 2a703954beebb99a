"""`python -m model.train` trains one stage: see `model.training.gan_loop`."""

from model.training.gan_loop import main

if __name__ == "__main__":
    main()
