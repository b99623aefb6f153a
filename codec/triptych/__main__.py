"""The command `triptych` and `python -m triptych`: takes signals over, then imports the command line."""

from triptych.interrupts import orderly_end


def main() -> None:
    """Run the command line and exit with its code."""
    with orderly_end():
        from triptych.cli import main as run

        run()


if __name__ == "__main__":
    main()
