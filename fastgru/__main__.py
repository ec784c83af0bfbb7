"""`python -m fastgru` is the same as `fastgru`."""

from fastgru.cli import main

if __name__ == "__main__":
    main(prog_name="fastgru")
